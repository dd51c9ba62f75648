"""Run other people's native code in a process of its own, where it may crash, hang, or take all memory.

A converter or runtime that dies is an error of ours like any other; what it prints is logged and never reaches the
terminal. Both ``multiprocessing`` and ``concurrent.futures`` were examined and not used: their children import the
caller's ``__main__`` again, which runs a script without a guard a second time; neither watches memory.
"""

from __future__ import annotations

import builtins
import logging
import pickle
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from edge_vseg.child_process.child_server import (
    PACKAGE,
    Call,
    LogLine,
    Message,
    Raised,
    Ready,
    Reported,
    Returned,
    Warned,
)
from edge_vseg.child_process.process_limits import ProcessLimits
from edge_vseg.child_process.process_memory import resident_memory
from edge_vseg.child_process.running_child import RunningChild, how_it_ended, last_lines, spawn
from edge_vseg.errors import EdgeVsegError

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

POLL_S = 0.05
_END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFailures:
    """What is raised for a child that fails, and what its messages advise.

    Attributes:
        died: The process died, or was stopped at its limit of memory.
        late: It was stopped at its limit of time.
        other: The function raised what is neither ours nor built in.
        more_memory: How to give it more memory, as the end of a sentence.
        more_time: How to give it more time.
    """

    died: type[EdgeVsegError]
    late: type[EdgeVsegError]
    other: type[EdgeVsegError]
    more_memory: str
    more_time: str


class _DiedError(Exception):
    """The process died, or was stopped at a limit."""


class _LateError(_DiedError):
    """The process was stopped, because it took too long."""


class _InChildError(Exception):
    """What was raised there, as text."""


class ChildProcess:
    """A process that runs functions one after the other; it starts when it is needed, and again after it has died.

    Args:
        name: What it is, for messages: "the converter".
        limits: What one call may take.
        failures: What is raised when it fails.
        clock: Gives seconds.

    Example:
        >>> import math
        >>> from edge_vseg.child_process import ChildFailures, ChildProcess, ProcessLimits
        >>> from edge_vseg.errors import EdgeVsegError
        >>> error = EdgeVsegError
        >>> failures = ChildFailures(died=error, late=error, other=error, more_memory="", more_time="")
        >>> with ChildProcess("the calculator", ProcessLimits(seconds=60), failures) as child:
        ...     print(child.call(math.hypot, 3, 4))
        5.0
    """

    def __init__(
        self,
        name: str,
        limits: ProcessLimits,
        failures: ChildFailures,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress: Callable[[str], None] = lambda line: None
        """Called with each line that the function reports."""
        self._name = name
        self._limits = limits
        self._failures = failures
        self._clock = clock
        self._running: RunningChild | None = None
        self._used = False

    def __enter__(self) -> ChildProcess:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    @property
    def pid(self) -> int | None:
        """Id of the process; ``None`` while there is none."""
        return None if self._running is None else self._running.process.pid

    def close(self) -> None:
        """End the process, if it runs."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in the process.

        Args:
            function: A function of a module, found there by its name.
            *args: Its arguments; anything that can be pickled.
            **kwargs: Its keyword arguments.

        Returns:
            What it gives.

        Raises:
            EdgeVsegError: As the function raised it; or the kind of ``failures``, if the process died, was stopped at a
                limit, or the function raised a kind that is neither ours nor built in.
            Exception: A built-in kind, as the function raised it.
        """
        if function.__module__ == "__main__":
            raise ValueError(f"{function.__qualname__} is of the script; give a function of a module")
        work = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        level = logging.getLogger(PACKAGE).getEffectiveLevel()
        call = pickle.dumps(Call(work=work, log_level=level), pickle.HIGHEST_PROTOCOL)
        used = self._used
        try:
            try:
                return cast("R", self._run(call))
            except _DiedError as exc:
                if not used or isinstance(exc, _LateError):
                    raise
                # What earlier calls left behind may be why, and no call depends on another.
                log.info("%s; once more in a new process", exc)
            return cast("R", self._run(call))
        except _LateError as exc:
            raise self._failures.late(str(exc)) from None
        except _DiedError as exc:
            raise self._failures.died(str(exc)) from None

    def _run(self, call: bytes) -> Any:
        if self._running is None:
            self._running, self._used = spawn(), False
        running = self._running
        deadline = self._clock() + self._limits.seconds
        memory = self._limits.memory(resident_memory(running.process.pid))
        begin = running.printed_bytes()
        try:
            if not self._used:
                self._await(running, deadline, memory, begin)
                self._used = True
            try:
                running.connection.send_bytes(call)
            except OSError:
                raise self._died(running, begin) from None
            answer = self._await(running, deadline, memory, begin)
        except BaseException:  # also Ctrl-C: nothing may go on without us
            self.close()
            raise
        for line in running.printed(begin).splitlines():
            log.info("%s: %s", self._name, line)
        if isinstance(answer, Raised):
            raise self._as_raised(answer)
        assert isinstance(answer, Returned)
        return answer.value

    def _await(
        self, running: RunningChild, deadline: float, memory: int | None, begin: int
    ) -> Ready | Returned | Raised:
        """Pass on what the process says until it has an answer, or dies, or is at a limit."""
        while True:
            if running.connection.poll(POLL_S):
                try:
                    message: Message = pickle.loads(running.connection.recv_bytes())
                except (EOFError, OSError):
                    raise self._died(running, begin) from None
                match message:
                    case Reported():
                        self.progress(message.line)
                    case LogLine():
                        logging.getLogger(message.logger).log(message.level, "%s", message.text)
                    case Warned():
                        warnings.warn(message.text, getattr(builtins, message.category), stacklevel=4)
                    case _:
                        return message
            taken = resident_memory(running.process.pid)
            if memory is not None and taken > memory:
                reason = f"was stopped at {taken / 1e9:.1f} GB; {self._failures.more_memory}"
                raise self._stopped(_DiedError, reason, running, begin)
            if self._clock() > deadline:
                reason = f"was stopped after {self._limits.seconds:.0f} s; {self._failures.more_time}"
                raise self._stopped(_LateError, reason, running, begin)

    def _died(self, running: RunningChild, begin: int) -> _DiedError:
        try:
            code = running.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return self._stopped(_DiedError, "no longer answers", running, begin)
        return self._stopped(_DiedError, how_it_ended(code), running, begin)

    def _stopped(self, kind: type[_DiedError], reason: str, running: RunningChild, begin: int) -> _DiedError:
        text = running.printed(begin)
        for line in text.splitlines():
            log.info("%s: %s", self._name, line)
        return kind(f"{self._name} {reason}{last_lines(text)}")

    def _as_raised(self, raised: Raised) -> Exception:
        """The exception that stands for the child's, with the traceback there as its cause."""
        exc = raised.exact if raised.exact is not None else self._failures.other(raised.text)
        exc.__cause__ = _InChildError(f"in the child:\n{raised.trace}")
        return exc
