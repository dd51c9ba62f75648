"""Keep what other tools print during an export off the terminal, where it would tear the progress bar."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy

from edge_vseg.errors import EdgeVsegError

log = logging.getLogger(__name__)
_STDOUT, _STDERR = 1, 2


class Terminal:
    """Standard error as a stream, also while descriptor 2 is redirected.

    It looks ``sys.stderr`` up at every use, as :class:`rich.console.Console` does by itself.
    """

    def __init__(self) -> None:
        self.target: TextIO | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target or sys.stderr, name)


@contextlib.contextmanager
def collected(terminal: Terminal) -> Iterator[None]:
    """Collect descriptors 1 and 2: TensorFlow, absl and torch write there from C++ and past Python's streams.

    Meanwhile ``terminal`` and the handlers of the root logger, which are ours, write to the real standard error. What
    was collected is logged line by line at info level at the end, for ``--debug``; an unexpected exception shows it.

    Args:
        terminal: What the progress bar writes to.
    """
    if not _stands_on(sys.stderr, _STDERR) or not _stands_on(sys.stdout, _STDOUT):
        yield  # a test or another program has streams of its own
        return
    with contextlib.ExitStack() as stack:
        captured = stack.enter_context(tempfile.TemporaryFile())
        real = stack.enter_context(os.fdopen(os.dup(_STDERR), "w", buffering=1, errors="replace"))
        try:
            with _redirected(captured, terminal, real):
                yield
        except BaseException as exc:
            if not isinstance(exc, EdgeVsegError | KeyboardInterrupt):
                sys.stderr.write(_text(captured))
            raise
        finally:
            for line in _text(captured).splitlines():
                log.info("%s", line)


@contextlib.contextmanager
def log_above(console: Console, terminal: Terminal) -> Iterator[None]:
    """Print log lines above the progress bar of the console."""
    with _log_to(FileProxy(console, cast("IO[str]", terminal))):
        yield


@contextlib.contextmanager
def _redirected(captured: IO[bytes], terminal: Terminal, real: TextIO) -> Iterator[None]:
    saved = [(number, os.dup(number)) for number in (_STDOUT, _STDERR)]
    _flush()
    for number, _ in saved:
        os.dup2(captured.fileno(), number)
    terminal.target = real
    try:
        with _log_to(terminal):
            yield
    finally:
        _flush()
        terminal.target = None
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def _log_to(stream: Any) -> Iterator[None]:
    """Let those handlers of the root logger that write to standard error write to a stream."""
    replaced = []
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler and (
            handler.stream is sys.stderr or isinstance(handler.stream, Terminal)
        ):
            replaced.append((handler, handler.setStream(stream)))
    try:
        yield
    finally:
        for handler, before in replaced:
            handler.setStream(before)


def _text(captured: IO[bytes]) -> str:
    captured.seek(0)
    return captured.read().decode(errors="replace")


def _stands_on(stream: TextIO | None, number: int) -> bool:
    try:
        return stream is not None and stream.fileno() == number
    except (OSError, ValueError):
        return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
