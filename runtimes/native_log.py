"""Keep a native library's log lines off standard error, without losing its errors."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

INFO_PREFIXES = (b"INFO: ", b"VERBOSE: ")
_STDERR = 2
_lock = threading.Lock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Capture file descriptor 2; at the end, log info lines at debug level and write the others out.

    TFLite announces its delegates on standard error, and its Python package cannot turn that off, so the descriptor is
    redirected for a moment. Lines that begin with ``INFO:`` or ``VERBOSE:`` become debug records; all others, also
    those of other threads, appear on standard error at the end.

    One thread at a time may redirect; others wait, since interleaved redirections would leave descriptor 2 on a deleted
    file.
    """
    with _lock, contextlib.ExitStack() as stack:
        try:
            original = os.dup(_STDERR)
        except OSError:  # a daemon without standard error
            yield
            return
        stack.callback(os.close, original)
        captured = stack.enter_context(tempfile.TemporaryFile())
        _flush()
        os.dup2(captured.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(original, _STDERR)
            captured.seek(0)
            _forward(captured.read())


def _flush() -> None:
    # Python's own buffer belongs to the side where it was written.
    if sys.stderr is not None:
        with contextlib.suppress(ValueError, OSError):
            sys.stderr.flush()


def _forward(text: bytes) -> None:
    rest = b""
    for line in text.splitlines(keepends=True):
        if line.startswith(INFO_PREFIXES):
            logger.debug("%s", line.decode(errors="replace").strip())
        else:
            rest += line
    if rest:
        os.write(_STDERR, rest)
