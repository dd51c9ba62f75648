"""The side of :class:`~edge_vseg.child_process.ChildProcess` that runs in the child."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from edge_vseg.errors import EdgeVsegError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PACKAGE = "edge_vseg"
_PR_SET_PDEATHSIG = 1
_connection: _Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The child can take a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A line of progress."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A record of one of our loggers."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A warning of our own code."""

    category: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Returned:
    """What the function gave."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raised:
    """What the function raised.

    Attributes:
        exact: The error itself, if it is ours or a built-in one; others need modules that the parent may not have.
        text: Kind and message.
        trace: Its traceback.
    """

    exact: Exception | None
    text: str
    trace: str


Message: TypeAlias = Ready | Reported | LogLine | Warned | Returned | Raised


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """What the child is asked to run.

    Attributes:
        work: The function, its arguments and its keyword arguments, pickled.
        log_level: Least level of the records that the parent wants.
    """

    work: bytes
    log_level: int


def report(line: str) -> None:
    """Tell the parent a line of progress; does nothing in a process that is no child."""
    if _connection is not None:
        _connection.send(Reported(line=line))


def serve(descriptor: int, parent: int) -> None:
    """Run what the parent asks for, until it is gone.

    Args:
        descriptor: The socket to it.
        parent: Its process id.
    """
    from multiprocessing.connection import Connection

    global _connection  # one in a process
    _end_with(parent)
    faulthandler.enable()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here, gigabytes of it on disk are not
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # this process goes, not its parent
    _connection = link = _Link(Connection(descriptor))
    link.send(Ready())
    while True:
        try:
            call: Call = pickle.loads(link.connection.recv_bytes())
        except (EOFError, OSError):
            return
        link.send(_run(call, link))


class _Link:
    """Messages to the parent, from any thread."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        try:
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        except Exception as exc:  # a result that cannot be pickled is the function's mistake
            data = pickle.dumps(_raised(exc), pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self.connection.send_bytes(data)


class _Forward(logging.Handler):
    """Sends records of our loggers to the parent."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        self._link.send(LogLine(logger=record.name, level=record.levelno, text=self.format(record)))


def _run(call: Call, link: _Link) -> Returned | Raised:
    logger, handler = logging.getLogger(PACKAGE), _Forward(link)
    logger.setLevel(call.log_level)
    logger.propagate = False
    logger.addHandler(handler)
    show = warnings.showwarning

    def forward(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if f"/{PACKAGE}/" in filename and category.__module__ == "builtins":
            link.send(Warned(category=category.__name__, text=str(message)))
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = forward
    try:
        function, arguments, keywords = pickle.loads(call.work)
        return Returned(value=function(*arguments, **keywords))
    except BaseException as exc:  # whatever it is, the parent decides
        return _raised(exc)
    finally:
        warnings.showwarning = show
        logger.removeHandler(handler)


def _raised(exc: BaseException) -> Raised:
    return Raised(
        exact=_portable(exc),
        text=f"{type(exc).__qualname__}: {exc}",
        trace="".join(traceback.format_exception(exc)),
    )


def _portable(exc: BaseException) -> Exception | None:
    if not isinstance(exc, Exception):
        return None
    ours = isinstance(exc, EdgeVsegError)
    if not ours and type(exc).__module__ != "builtins":
        return None
    try:
        copy: Exception = pickle.loads(pickle.dumps(exc))
    except Exception:  # it holds something that cannot be sent, such as a module
        return type(exc)(str(exc)) if ours else None
    return copy


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent; elsewhere the closed socket does, after the call."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
