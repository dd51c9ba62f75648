"""What a converter may do to its process; and a script that is stopped while one of them runs.

Nothing of the exporter is imported here: each child would take seconds to.
"""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.child_process.child_server import report
from edge_vseg.errors import UnsupportedOperatorError

CALLS = 0


class ForeignError(Exception):
    """Of a kind that only the child knows."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"code {code} in {where}")


def abort(text: str = "") -> None:
    os.write(2, text.encode())
    os.abort()


def convert_and_abort(*arguments: object, **keywords: object) -> None:
    """In place of a converter."""
    abort("F0000 converter.cc:7] Check failed: rank == 4\n")


def convert_and_grow(*arguments: object, **keywords: object) -> None:
    allocate(20_000)


def convert_and_trip(*arguments: object, **keywords: object) -> None:
    raise KeyError("permute_1.u8")


def segfault(*arguments: object) -> None:
    ctypes.string_at(0)


def allocate(megabytes: int) -> int:
    held = []
    for _ in range(megabytes // 20):
        held.append(b"x" * 20_000_000)
        time.sleep(0.01)
    return len(held)


def hang(pid_file: Path | None = None) -> None:
    if pid_file is not None:
        pid_file.write_text(str(os.getpid()), encoding="ascii")
    time.sleep(600)


def hang_in_a_grandchild(pid_file: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pid_file.write_text(str(process.pid), encoding="ascii")
    process.wait()


def leave(code: int) -> None:
    os._exit(code)


def kill_itself() -> None:
    os.kill(os.getpid(), 9)


def refuse() -> None:
    raise UnsupportedOperatorError("operator Foo of node 'bar' is not known") from ForeignError(1, "bar")


def fail(kind: str) -> None:
    if kind == "foreign":
        raise ForeignError(7, "a tool")
    if kind == "unicode":
        b"\xff".decode()
    raise {"key": KeyError, "value": ValueError, "exit": SystemExit}[kind]("permute_1.u8")


def unpicklable() -> object:
    return lambda: None


def noisy() -> str:
    os.write(1, b"from C on stdout\n")
    os.write(2, b"W0000 absl on stderr\n")
    sys.stdout.write("torch on stdout\n")
    sys.stderr.write("torch on stderr\n")
    logging.getLogger("absl").error("an error of absl")
    warnings.warn("a tool warns", stacklevel=1)
    return "done"


def talkative() -> None:
    report("half way")
    logging.getLogger("edge_vseg.export.quantization").warning("one layer stays in %s", "float")
    logging.getLogger("edge_vseg.export.quantization").debug("nobody wants to know")


def count_calls() -> int:
    global CALLS
    CALLS += 1
    return CALLS


def die_unless_new() -> int:
    """Dies in a process that has run anything before."""
    if CALLS:
        os.abort()
    return os.getpid()


def scratch_file() -> Path:
    import tempfile

    descriptor, name = tempfile.mkstemp()
    os.close(descriptor)
    return Path(name)


if __name__ == "__main__":
    from deadly_functions import hang as imported_hang

    from edge_vseg.export.conversion_limits import FAILURES

    with ChildProcess("the converter", ProcessLimits(), FAILURES) as child:
        child.call(imported_hang, Path(sys.argv[1]))
