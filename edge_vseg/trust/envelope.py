"""The DSSE envelope: a payload and signatures over it.

The format is that of https://github.com/secure-systems-lab/dsse, version 1.0, so that cosign, in-toto and
securesystemslib can verify what is signed here. What is signed is the pre-authentication encoding
``DSSEv1 LEN(type) type LEN(payload) payload``, which keeps a payload of one type from passing as another.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated

import msgspec

from edge_vseg.errors import SignatureError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 64 * 1024
MAX_SIGNATURES = 16


class _SignatureRecord(msgspec.Struct, frozen=True, kw_only=True):
    keyid: Annotated[str, msgspec.Meta(max_length=200)] = ""
    sig: Annotated[str, msgspec.Meta(max_length=1000)]


class EnvelopeRecord(msgspec.Struct, frozen=True, kw_only=True, rename={"payload_type": "payloadType"}):
    """An envelope as JSON, with base64 in ``payload`` and ``sig``; unknown fields are passed over, as DSSE asks."""

    payload: str
    payload_type: str
    signatures: Annotated[list[_SignatureRecord], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """A signature, and the id of the key that is said to have made it."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload and the signatures over it."""

    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are over."""
        return pre_authentication_encoding(self.payload)


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's encoding of a payload and its type, which is what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope as JSON, indented, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(envelope_record(envelope)), indent=1) + b"\n"


def envelope_record(envelope: Envelope) -> EnvelopeRecord:
    """The envelope as a JSON object."""
    return EnvelopeRecord(
        payload=base64.b64encode(envelope.payload).decode(),
        payload_type=PAYLOAD_TYPE,
        signatures=[
            _SignatureRecord(keyid=each.key_id, sig=base64.b64encode(each.signature).decode())
            for each in envelope.signatures
        ],
    )


def decode_envelope(data: bytes, where: str) -> Envelope:
    """Read an envelope.

    Raises:
        SignatureError: If it is not one, is too large, or has a payload of another type.
    """
    try:
        if len(data) > MAX_ENVELOPE_BYTES:
            raise ValueError(f"it is larger than {MAX_ENVELOPE_BYTES} bytes")
        return open_record(msgspec.json.decode(data, type=EnvelopeRecord))
    except (ValueError, RecursionError) as exc:  # msgspec's errors, binascii.Error and UnicodeError are ValueErrors
        raise SignatureError(f"{where} is not a signature envelope: {exc}; sign the bundle again") from exc


def open_record(record: EnvelopeRecord) -> Envelope:
    """The envelope in a JSON object.

    Raises:
        ValueError: If its payload is of another type, or something is not base64.
    """
    if record.payload_type != PAYLOAD_TYPE:
        raise ValueError(f"its payload is {record.payload_type!r}, not {PAYLOAD_TYPE!r}")
    return Envelope(
        payload=_decode_base64(record.payload),
        signatures=tuple(
            EnvelopeSignature(key_id=each.keyid, signature=_decode_base64(each.sig)) for each in record.signatures
        ),
    )


def _decode_base64(text: str) -> bytes:
    """Standard or URL-safe base64: DSSE lets writers choose."""
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error as exc:
        raise ValueError(f"not base64: {exc}") from exc
