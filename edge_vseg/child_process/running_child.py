"""A child while it runs: its process, its socket, and what it has printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory, TemporaryFile
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_TAIL_BYTES, _TAIL_LINES = 65536, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunningChild:
    """A child.

    Attributes:
        process: It, the leader of a group of its own.
        connection: Calls go in, messages come out.
        output: What it has printed.
        scratch: The folder for its temporary files, which a process that dies cannot remove.
    """

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    output: IO[bytes]
    scratch: TemporaryDirectory[str]

    def stop(self) -> None:
        """End it, and whatever it has started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        self.output.close()
        self.scratch.cleanup()

    def printed_bytes(self) -> int:
        """How many bytes it has printed."""
        return os.fstat(self.output.fileno()).st_size

    def printed(self, begin: int = 0) -> str:
        """The end of what it has printed from byte ``begin`` on; does not move its own place in the file."""
        number, end = self.output.fileno(), self.printed_bytes()
        begin = max(begin, end - _TAIL_BYTES)
        return os.pread(number, end - begin, begin).decode(errors="replace")


def spawn(defaults: Mapping[str, str] = MappingProxyType({})) -> RunningChild:
    """Start a child without waiting for it.

    Args:
        defaults: Variables of its environment, where this process has none of that name.
    """
    from multiprocessing.connection import Pipe  # not before a child is needed: it would delay every start

    ours, theirs = Pipe()
    output = TemporaryFile()  # noqa: SIM115  # closed with the process
    scratch = TemporaryDirectory(prefix="edge-vseg-child-")
    number = theirs.fileno()
    # The path first: the package may stand where only this process looks.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from edge_vseg.child_process.child_server import serve;"
        f" serve({number}, {os.getpid()})"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(number,),
        env={**defaults, **os.environ, "TMPDIR": scratch.name},
        start_new_session=True,  # Ctrl-C is for the parent, which ends the group
    )
    theirs.close()
    return RunningChild(process=process, connection=ours, output=output, scratch=scratch)


def how_it_ended(code: int) -> str:
    """How a process ended, as the end of a sentence.

    Args:
        code: Its exit code, or a signal's number, negative.
    """
    if code >= 0:
        return f"ended by itself with exit code {code}"
    name = signal.Signals(-code).name
    if name == "SIGKILL":
        return "was killed by SIGKILL, as the kernel does when memory is short; use a machine with more of it"
    return f"died by {name}"


def last_lines(text: str) -> str:
    """The last lines that a process printed, before what Python's fault handler adds, as the end of a message."""
    said = text.partition("Fatal Python error:")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()][-_TAIL_LINES:]
    return f"; its last lines: {' | '.join(lines)}" if lines else ""
