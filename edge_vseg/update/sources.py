"""Where an update comes from: a folder, or a server over HTTPS.

Nothing here is trusted. The index is verified before anything else is fetched; then every file has a known size and
hash. Files are appended to what an earlier attempt left, so a cut costs only what was in flight.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from edge_vseg.bundle.reading import MANIFEST_NAME, SIGNATURES_NAME
from edge_vseg.errors import DownloadError, OptionError, UnsignedBundleError
from edge_vseg.input_files import read_regular
from edge_vseg.trust.envelope import MAX_ENVELOPE_BYTES, Envelope, decode_envelope
from edge_vseg.trust.release_index import MAX_INDEX_BYTES, decode_index

BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """What a transfer may take.

    Attributes:
        max_bytes: Size of the bundle.
        seconds: Duration of the whole transfer: a server that sends a byte a minute is a failure too.
        ca_file: PEM file of the certificate authorities of the server; ``None`` for the system's.
        clock: Gives seconds.
        pause: Waits for so many seconds between attempts.
    """

    max_bytes: int = 4 << 30
    seconds: float = 3600.0
    ca_file: Path | None = None
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Raise OptionError for a limit that is not positive."""
        if self.max_bytes <= 0 or self.seconds <= 0:
            raise OptionError(f"limits must be positive, got {self.max_bytes} bytes and {self.seconds:g} s")


class ReleaseSource(Protocol):
    """Has one release.

    Attributes:
        where: What messages call it.
        envelope: Its signatures, not yet verified.
    """

    where: str
    envelope: Envelope

    def fetch(self, relative: str, target: Path, max_bytes: int) -> None:
        """Append a file of the bundle to what ``target`` has of it.

        Args:
            relative: Its plain relative path in the bundle.
            target: The file to write.
            max_bytes: Its size, or more; no more than that is written.

        Raises:
            DownloadError: If it is not there, is larger, or cannot be read to its end.
        """
        ...


def open_release_source(origin: str, limits: TransferLimits) -> ReleaseSource:
    """Read what a place offers.

    Args:
        origin: A bundle's folder, the file of an index, or the HTTPS address of an index.
        limits: What the transfer may take.

    Raises:
        OptionError: If it is neither, or the address is not HTTPS or holds a password.
        DownloadError: If it cannot be read, or nothing is there: a stick may be plugged in later.
        SignatureError: If it is not signed, or the signatures cannot be read.
    """
    if "://" in origin:
        _check_address(origin)
        from edge_vseg.update.https_source import HttpsSource

        return HttpsSource(origin, limits)
    return FolderSource(Path(origin))


class FolderSource:
    """A bundle's folder, or the file of an index."""

    def __init__(self, origin: Path) -> None:
        self.where = str(origin)
        try:
            if origin.is_dir():
                self._root = origin
                data = read_regular(origin / SIGNATURES_NAME, MAX_ENVELOPE_BYTES)
                self.envelope = decode_envelope(data, str(origin / SIGNATURES_NAME))
            else:
                index = decode_index(read_regular(origin, MAX_INDEX_BYTES), str(origin))
                self._root = origin.parent / index.location
                self.envelope = index.envelope
        except FileNotFoundError as exc:
            if (origin / MANIFEST_NAME).exists():
                raise UnsignedBundleError(
                    f"{origin} is not signed, and an update must be; sign it with `edge-vseg sign` where the key is"
                ) from exc
            if _may_come_back(origin):
                raise DownloadError(
                    f"nothing is at {origin}; plug in or mount what it lies on, or check the path"
                ) from exc
            raise OptionError(f"{origin} is neither a signed bundle nor the index of one; check the path") from exc
        except OSError as exc:
            raise DownloadError(f"{origin} cannot be read: {exc.strerror or exc}") from exc

    def fetch(self, relative: str, target: Path, max_bytes: int) -> None:
        """See :meth:`ReleaseSource.fetch`."""
        path = self._root / relative
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise DownloadError(f"{path} cannot be read: {exc.strerror}; copy the whole bundle") from exc
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DownloadError(f"{path} is not a regular file; copy the whole bundle")
        with os.fdopen(descriptor, "rb") as stream, target.open("ab") as file:
            stream.seek(file.tell())

            def read(count: int) -> bytes:
                try:
                    return stream.read(count)
                except OSError as exc:
                    raise DownloadError(f"{path} cannot be read: {exc.strerror or exc}; copy it again") from exc

            append_blocks(read, file.write, max_bytes - file.tell(), str(path))


def _may_come_back(origin: Path) -> bool:
    """Whether nothing is at a path, or an empty folder, as where nothing is mounted."""
    try:
        return not origin.exists() or (origin.is_dir() and not any(origin.iterdir()))
    except OSError:
        return False


def append_blocks(
    read: Callable[[int], bytes],
    write: Callable[[bytes], object],
    max_bytes: int,
    where: str,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Copy until the end, a block at a time.

    Raises:
        DownloadError: If there is more than ``max_bytes``.
    """
    left = max_bytes
    while True:
        check()
        block = read(min(BLOCK, left + 1))
        if not block:
            return
        if len(block) > left:
            raise DownloadError(f"{where} is larger than it may be; the server has another file, or the limit is small")
        write(block)
        left -= len(block)


def _check_address(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        secure, has_user = parts.scheme.lower() == "https" and bool(parts.hostname), "@" in parts.netloc
    except ValueError as exc:
        raise OptionError(
            f"the address of the update cannot be read: {exc}; give https://host/path/index.json"
        ) from exc
    if has_user:
        raise OptionError("an address with a password stands in process lists and logs; give one without")
    if not secure:
        raise OptionError(f"updates come from a folder or over https://, got {parts.scheme}://; serve them with TLS")
    if parts.query or parts.fragment:
        raise OptionError("the address of an index has no '?' and no '#'; give https://host/path/index.json")
