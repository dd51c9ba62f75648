"""The index: which release is the newest, and where it lies.

The location is not signed. The signature fixes every byte of the bundle, so a wrong location can only make a download
fail, and a folder of bundles can be moved to another server as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from edge_vseg.errors import SignatureError
from edge_vseg.trust.envelope import MAX_ENVELOPE_BYTES, Envelope, EnvelopeRecord, envelope_record, open_record

SCHEMA = 1
MAX_INDEX_BYTES = 2 * MAX_ENVELOPE_BYTES


class _IndexRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: int
    location: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    signed: EnvelopeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIndex:
    """The newest release.

    Attributes:
        location: Plain relative path of the bundle, from the folder of the index.
        envelope: The bundle's signatures.
    """

    location: str
    envelope: Envelope


def encode_index(index: ReleaseIndex) -> bytes:
    """The index as JSON."""
    record = _IndexRecord(schema_version=SCHEMA, location=index.location, signed=envelope_record(index.envelope))
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode_index(data: bytes, where: str) -> ReleaseIndex:
    """Read an index; its signatures are not verified.

    Raises:
        SignatureError: If it is not an index, or the location leads outside its folder.
    """
    try:
        record = msgspec.json.decode(data, type=_IndexRecord)
        if record.schema_version != SCHEMA:
            raise ValueError(f"its schema version is {record.schema_version}, and this edge-vseg reads {SCHEMA}")
        return ReleaseIndex(location=plain_location(record.location), envelope=open_record(record.signed))
    except (ValueError, RecursionError) as exc:
        raise SignatureError(
            f"{where} is not an index of releases: {exc}; `edge-vseg sign --index` writes one"
        ) from exc


def plain_location(text: str) -> str:
    """A relative path that stays in the index's folder, and means the same in an address.

    Raises:
        ValueError: If it is another.
    """
    path = PurePosixPath(text)
    odd = any(mark in text for mark in "\\:?#%") or not text.isprintable()
    if path.is_absolute() or ".." in path.parts or not path.parts or text.rstrip("/") != str(path) or odd:
        raise ValueError(f"the location {text!r} is not a plain relative path")
    return str(path)
