"""Sign a bundle."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.reading import SIGNATURES_NAME
from edge_vseg.errors import OptionError, SignatureError
from edge_vseg.files import write_whole
from edge_vseg.trust.envelope import (
    MAX_SIGNATURES,
    Envelope,
    EnvelopeSignature,
    encode_envelope,
)
from edge_vseg.trust.keys import SigningKey
from edge_vseg.trust.release import Release, decode_release, encode_release
from edge_vseg.trust.release_index import ReleaseIndex, encode_index, plain_location
from edge_vseg.trust.verification import read_signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """How a bundle is signed.

    Attributes:
        version: Counts up from release to release; ``None`` signs what an earlier signature of this bundle says, too.
        lifetime: After so long it is not installed any more; ``None`` for never.
        index: File that tells devices which bundle is the newest; written beside the bundle. ``None`` for none.
    """

    version: int | None = None
    lifetime: dt.timedelta | None = None
    index: Path | None = None


def sign_bundle(bundle: Bundle, key: SigningKey, options: SignOptions, *, now: dt.datetime) -> Release:
    """Sign a bundle, whose files have been checked, into its ``signatures.json``.

    A second key without a version signs the same statement, so either signature is enough for a device. With a version
    the statement is new, and earlier signatures are dropped: they are over another one.

    Args:
        bundle: The bundle.
        key: Signs.
        options: Version, expiry, index.
        now: The time of signing, with a time zone.

    Returns:
        What was signed.

    Raises:
        OptionError: If there is no version, a file cannot be written, or the index lies elsewhere than the bundle.
        SignatureError: If an earlier signature cannot be read.
    """
    location = None if options.index is None else _location(bundle.root, options.index)
    earlier = read_signatures(bundle) if options.version is None else None
    if earlier is None:
        release = _new_release(bundle, options, now)
        envelope = Envelope(payload=encode_release(release), signatures=())
    else:
        release = decode_release(earlier.payload, str(bundle.root))
        envelope = earlier
        if (release.sha256, release.name) != (bundle.sha256, bundle.manifest.name):
            raise SignatureError(f"{bundle.root} was changed after it was signed; sign it with a new --version")
        if options.lifetime is not None:
            raise OptionError("another expiry is another statement; give --version, and sign with every key again")
    others = [each for each in envelope.signatures if each.key_id != key.public.key_id]
    own = EnvelopeSignature(key_id=key.public.key_id, signature=key.sign(envelope.signed_bytes))
    if len(others) >= MAX_SIGNATURES:
        raise OptionError(f"{bundle.root} has {len(others)} signatures already, which is as many as there may be")
    envelope = Envelope(payload=envelope.payload, signatures=(*others, own))
    _write(bundle.root / SIGNATURES_NAME, encode_envelope(envelope))
    if options.index is not None and location is not None:
        _write(options.index, encode_index(ReleaseIndex(location=location, envelope=envelope)))
    return release


def _new_release(bundle: Bundle, options: SignOptions, now: dt.datetime) -> Release:
    if options.version is None:
        raise OptionError("--version is needed: a number that grows from release to release, such as 1 for the first")
    created = now.replace(microsecond=0)
    return Release(
        name=bundle.manifest.name,
        sha256=bundle.sha256,
        version=options.version,
        created=created,
        expires=None if options.lifetime is None else created + options.lifetime,
    )


def _location(root: Path, index: Path) -> str:
    """Where the bundle lies, seen from the index."""
    relative = Path(os.path.relpath(root.resolve(), index.absolute().parent.resolve()))
    if ".." in relative.parts or relative == Path():
        raise OptionError(f"the index {index} must lie beside the bundle or above it; give a path there")
    try:
        return plain_location(relative.as_posix())
    except ValueError as exc:
        raise OptionError(f"{exc}; rename the bundle") from exc


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as exc:
        raise OptionError(f"{path} cannot be written: {exc.strerror or exc}; nothing was signed there") from exc
