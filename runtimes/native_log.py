"""Keeping a native library's chatter off standard error, without losing anything that matters."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

CHATTER = (b"INFO: ", b"VERBOSE: ")
_STDERR = 2
_lock = threading.Lock()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, then log the chatter and write out the rest.

    TFLite announces its delegates on standard error and offers no switch for it in Python, so the
    descriptor itself is turned round for a moment. Lines that begin with ``INFO:`` become debug records;
    every other line, whoever wrote it, comes out on standard error at the end, errors included.

    The turn is made by one thread at a time; a second one waits, since crossed turns would leave
    descriptor 2 pointing at a deleted file.
    """
    with _lock, contextlib.ExitStack() as stack:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # a daemon without standard error has none to keep quiet
            yield
            return
        stack.callback(os.close, kept)
        held = stack.enter_context(tempfile.TemporaryFile())
        _flush()
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, _STDERR)
            held.seek(0)
            _sort_out(held.read())


def _flush() -> None:
    # The interpreter's own buffer must land on the side where it was written.
    if sys.stderr is not None:
        with contextlib.suppress(ValueError, OSError):
            sys.stderr.flush()


def _sort_out(text: bytes) -> None:
    rest = b""
    for line in text.splitlines(keepends=True):
        if line.startswith(CHATTER):
            logger.debug("%s", line.decode(errors="replace").strip())
        else:
            rest += line
    if rest:
        os.write(_STDERR, rest)
