"""Fetch a release over HTTPS, with nothing but the standard library."""

from __future__ import annotations

import errno
import http.client
import ssl
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from edge_vseg.errors import DownloadError, OptionError
from edge_vseg.input_files import whole_number
from edge_vseg.trust.release_index import MAX_INDEX_BYTES, decode_index
from edge_vseg.update.sources import TransferLimits, append_blocks

SILENCE_S = 30.0
"""A server that sends nothing for so long has gone."""
ATTEMPTS = 4
_HEADERS = {"User-Agent": "edge-vseg", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES)


class HttpsSource:
    """The index at an address, and the bundle that it names.

    Args:
        address: ``https://…/index.json``.
        limits: What the transfer may take.
    """

    def __init__(self, address: str, limits: TransferLimits) -> None:
        self.where = address
        self._limits = limits
        self._end_s = limits.clock() + limits.seconds
        self._opener = build_opener(HTTPSHandler(context=_context(limits.ca_file)), _SecureRedirects())
        index = bytearray()
        self._with_attempts(lambda: self._read_index(address, index))
        found = decode_index(bytes(index), address)
        self._base = f"{address.rpartition('/')[0]}/{quote(found.location)}/"
        self.envelope = found.envelope

    def fetch(self, relative: str, target: Path, max_bytes: int) -> None:
        """See :meth:`~edge_vseg.update.sources.ReleaseSource.fetch`."""
        self._with_attempts(lambda: self._append(self._base + quote(relative), target, max_bytes))

    def _read_index(self, address: str, index: bytearray) -> None:
        index.clear()
        with self._open(address, 0) as answer:
            append_blocks(answer.read, index.extend, MAX_INDEX_BYTES, address, self._check_time)
            _check_length(answer, len(index))

    def _append(self, address: str, target: Path, max_bytes: int) -> None:
        begin = target.stat().st_size if target.exists() else 0
        if 0 < begin == max_bytes:
            return
        with self._open(address, begin) as answer, target.open("ab") as file:
            if begin and not _continues_at(answer, begin):
                begin = 0
                file.truncate(0)
            append_blocks(answer.read, file.write, max_bytes - begin, address, self._check_time)
            _check_length(answer, file.tell() - begin)

    def _open(self, address: str, begin: int) -> Any:
        headers = _HEADERS | ({"Range": f"bytes={begin}-"} if begin else {})
        return self._opener.open(Request(address, headers=headers), timeout=SILENCE_S)

    def _check_time(self) -> None:
        if self._limits.clock() > self._end_s:
            raise DownloadError(
                f"{self.where} took more than {self._limits.seconds:g} s; try again, it goes on where it stopped, or"
                " allow more time"
            )

    def _lost(self, exc: Exception) -> DownloadError:
        if isinstance(exc, URLError):  # before the first byte; later ones come as they are
            reason = getattr(exc.reason, "strerror", None) or exc.reason
            return DownloadError(f"{self.where} cannot be reached: {reason}; check the address and the network")
        return DownloadError(f"{self.where} was cut off: {exc}; try again, it goes on there")

    def _with_attempts(self, transfer: Any) -> None:
        """Try again after a cut; what the server refuses stays refused."""
        for attempt in range(ATTEMPTS):
            self._check_time()
            try:
                transfer()
            except HTTPError as exc:
                if exc.code < 500 or attempt == ATTEMPTS - 1:
                    raise DownloadError(f"{exc.url}: the server answers {exc.code} {exc.reason}") from exc
            except (OSError, http.client.HTTPException) as exc:
                reason = exc.reason if isinstance(exc, URLError) else exc
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise DownloadError(
                        f"{self.where}: the server's certificate is not trusted: {reason.verify_message}; give the"
                        " authority's certificate with --ca-file"
                    ) from exc
                if isinstance(exc, OSError) and (exc.filename is not None or exc.errno in _DISK):
                    raise  # our own disk, which the network is not to blame for
                if attempt == ATTEMPTS - 1:
                    raise self._lost(exc) from exc
            else:
                return
            self._limits.pause(2.0**attempt)


class _SecureRedirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Follow to HTTPS only."""
        if urlsplit(newurl).scheme.lower() != "https":
            raise DownloadError(f"{req.full_url} leads to an address without TLS; correct the server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as exc:
        raise OptionError(f"--ca-file {ca_file} has no certificates in PEM: {exc}") from exc


def _continues_at(answer: Any, begin: int) -> bool:
    return answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {begin}-")


def _check_length(answer: Any, received: int) -> None:
    """Raise ConnectionError if the answer is shorter than announced: http.client ends without a word."""
    announced = whole_number(answer.headers.get("Content-Length", ""))
    if announced is not None and received < announced:
        raise ConnectionError(f"{received} of {announced} bytes came")
