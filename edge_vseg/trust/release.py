"""What a signature says about a bundle: which one it is, its version, and until when it holds.

The payload is an in-toto statement (https://github.com/in-toto/attestation, version 1) with one subject: the bundle's
name and the SHA-256 of its ``manifest.json``, which holds the hashes of all other files. So a signature fits one bundle
only, and other tools read it. The predicate has the version counter, the time of signing, and the expiry.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec

from edge_vseg.errors import OptionError, SignatureError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:edge-vseg:release:v1"
MAX_VERSION = 2**53 - 1
"""The largest whole number that every JSON reader gives back unchanged."""
CLOCK_TOLERANCE = dt.timedelta(days=1)
"""A clock that is further behind the time of signing is wrong, and says nothing about expiry."""

_Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Moment: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class _Digest(msgspec.Struct, frozen=True, kw_only=True):
    sha256: _Sha256


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    digest: _Digest


class _Terms(msgspec.Struct, frozen=True, kw_only=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    created: _Moment
    expires: _Moment | None = None


class _Statement(msgspec.Struct, frozen=True, kw_only=True, rename={"type": "_type", "kind": "predicateType"}):
    # Unknown fields are passed over, as the specification asks of readers.
    type: str
    subject: Annotated[list[_Subject], msgspec.Meta(min_length=1, max_length=1)]
    kind: str
    predicate: _Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A bundle in one version, as its signers describe it.

    Attributes:
        name: The bundle's name, as in its manifest.
        sha256: Of ``manifest.json``, in hex.
        version: Counts up from release to release; devices do not go back.
        created: When it was signed, with a time zone.
        expires: After this moment it is not installed any more; ``None`` for never.
    """

    name: str
    sha256: str
    version: int
    created: dt.datetime
    expires: dt.datetime | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if the version is not from 1 to 2**53 - 1, or it expires before it is signed."""
        if not 1 <= self.version <= MAX_VERSION:
            raise OptionError(f"a version counts up from 1 to {MAX_VERSION}, got {self.version}")
        if self.expires is not None and self.expires <= self.created:
            raise OptionError(f"a signature of {self.created:%Y-%m-%d %H:%M} cannot expire at {self.expires}")

    def is_expired(self, now: dt.datetime) -> bool:
        """Whether it has expired, by a clock that may be right.

        Robots without a battery-backed clock begin in 1970; a clock that is before the signing cannot tell.
        """
        return self.expires is not None and now >= self.expires

    def is_from_the_future(self, now: dt.datetime) -> bool:
        """Whether the clock is so far behind the time of signing that expiry cannot be judged."""
        return now < self.created - CLOCK_TOLERANCE


def encode_release(release: Release) -> bytes:
    """The in-toto statement, as JSON with sorted keys."""
    terms = _Terms(version=release.version, created=release.created, expires=release.expires)
    statement = _Statement(
        type=STATEMENT,
        subject=[_Subject(name=release.name, digest=_Digest(sha256=release.sha256))],
        kind=PREDICATE,
        predicate=terms,
    )
    return msgspec.json.encode(statement, order="sorted")


def decode_release(payload: bytes, where: str) -> Release:
    """Read a statement.

    Raises:
        SignatureError: If it is not a statement about a bundle.
    """
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        if (statement.type, statement.kind) != (STATEMENT, PREDICATE):
            raise ValueError(f"it is a {statement.type!r} with {statement.kind!r}")
        (subject,), terms = statement.subject, statement.predicate
        return Release(
            name=subject.name,
            sha256=subject.digest.sha256,
            version=terms.version,
            created=terms.created,
            expires=terms.expires,
        )
    except (ValueError, RecursionError) as exc:  # msgspec's errors and OptionError are ValueErrors
        raise SignatureError(f"{where}: what is signed is not a release of a bundle: {exc}; sign it again") from exc
