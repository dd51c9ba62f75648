"""Fail each file operation of a process in turn, with what the kernel would say. Used by ``write_faults.py``.

A seccomp filter stops the process at each system call that changes files; this process listens to the filter and lets
the call through, fails it, or kills the process. So it sees what Python, FFmpeg, OpenCV and any other library do, and
needs neither root nor a compiler nor a disk of its own. Linux 5.5 or newer, on x86-64 or 64-bit Arm.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Effect = Literal["ENOSPC", "EIO", "EROFS", "kill"]
Span = Literal["once", "on"]
Ending = Literal["returned", "raised", "killed", "died", "hung"]

_MACHINES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}
"""Audit architecture, and number of ``seccomp``."""
_NEEDS_SPACE = {"write", "open", "mkdir", "link", "symlink", "fsync", "copy", "allocate"}
"""What fails on a disk that stays full; names can still be removed and changed."""
_AT_FDCWD, _CONTINUE, _EXCHANGE, _RENAMEAT2 = -100, 1, 2, 316
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_OPEN_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A system call: its kind, its numbers, and which arguments are paths, or a descriptor."""

    kind: str
    x86_64: int | None
    aarch64: int | None
    paths: tuple[tuple[int | None, int], ...] = ()
    descriptor: int = -1
    flags: int = -1


def _at(kind: str, old: int | None, at: tuple[int, int], *paths: tuple[int, int]) -> list[_Call]:
    """A call with a path relative to a folder's descriptor, and its older form without on x86-64."""
    new = _Call(kind=kind, x86_64=at[0], aarch64=at[1], paths=paths or ((0, 1),))
    plain = tuple((None, number) for number in range(len(new.paths)))
    return [new, *([_Call(kind=kind, x86_64=old, aarch64=None, paths=plain)] if old is not None else [])]


_CALLS = [
    _Call(kind="open", x86_64=2, aarch64=None, paths=((None, 0),), flags=1),
    _Call(kind="open", x86_64=257, aarch64=56, paths=((0, 1),), flags=2),
    _Call(kind="open", x86_64=85, aarch64=None, paths=((None, 0),)),  # creat
    _Call(kind="write", x86_64=1, aarch64=64, descriptor=0),
    _Call(kind="write", x86_64=18, aarch64=68, descriptor=0),  # pwrite64
    _Call(kind="write", x86_64=20, aarch64=66, descriptor=0),  # writev
    _Call(kind="write", x86_64=296, aarch64=70, descriptor=0),  # pwritev
    _Call(kind="write", x86_64=328, aarch64=287, descriptor=0),  # pwritev2
    _Call(kind="copy", x86_64=40, aarch64=71, descriptor=0),  # sendfile
    _Call(kind="copy", x86_64=326, aarch64=285, descriptor=2),  # copy_file_range
    _Call(kind="allocate", x86_64=285, aarch64=47, descriptor=0),
    _Call(kind="fsync", x86_64=74, aarch64=82, descriptor=0),
    _Call(kind="fsync", x86_64=75, aarch64=83, descriptor=0),  # fdatasync
    _Call(kind="truncate", x86_64=76, aarch64=45, paths=((None, 0),)),
    _Call(kind="truncate", x86_64=77, aarch64=46, descriptor=0),
    _Call(kind="chmod", x86_64=91, aarch64=52, descriptor=0),
    *_at("chmod", 90, (268, 53)),
    *_at("chmod", None, (452, 452)),
    *_at("times", None, (280, 88)),
    *_at("mkdir", 83, (258, 34)),
    *_at("unlink", 87, (263, 35)),
    _Call(kind="rmdir", x86_64=84, aarch64=None, paths=((None, 0),)),
    *_at("rename", 82, (264, 38), (0, 1), (2, 3)),
    *_at("rename", None, (_RENAMEAT2, 276), (0, 1), (2, 3)),
    *_at("link", 86, (265, 37), (0, 1), (2, 3)),
    _Call(kind="symlink", x86_64=266, aarch64=36, paths=((1, 2),)),
    _Call(kind="symlink", x86_64=88, aarch64=None, paths=((None, 1),)),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong.

    Attributes:
        at: Number of the operation, from 0.
        effect: What the system says, or the end of the process.
        span: Whether only that operation fails, or the disk stays as it is: full, broken or read-only.
    """

    at: int
    effect: Effect
    span: Span = "once"

    def __str__(self) -> str:
        """For tables."""
        return f"{self.effect}{' from then on' if self.span == 'on' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A file operation: its kind, and its paths below the watched folder."""

    kind: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        return f"{self.kind} {' -> '.join(self.paths)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a process ended that was watched.

    Attributes:
        operations: What it did to files below the watched folder.
        ending: How it ended.
        code: Exit code; of an action that raised, 1.
        error: Kind of its error; empty for none.
        message: Text of its error, or what it printed on standard error.
    """

    operations: list[Operation] = field(default_factory=list)
    ending: Ending = "returned"
    code: int = 0
    error: str = ""
    message: str = ""


def missing() -> str:
    """Why this machine cannot do it; empty if it can."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return f"no filter for {platform.system()} on {platform.machine()}"
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists() or "user_notif" not in actions.read_text():
        return "this kernel has no seccomp listeners"
    probe = run(lambda: None, Path("/nowhere"))
    return f"seccomp is not allowed here: {probe.message}" if probe.ending == "died" else ""


def run(
    action: Callable[[], object],
    root: Path,
    fault: Fault | None = None,
    *,
    exchange: bool = True,
    timeout_s: float = 120.0,
    stdout: Path | None = None,
) -> Run:
    """Run an action in a process of its own, watched.

    Args:
        action: What to do; SystemExit is an exit code.
        root: Operations on what is below this folder are counted, and fail.
        fault: What goes wrong; ``None`` for nothing.
        exchange: Whether the file system can exchange two names.
        timeout_s: Longer is hung.
        stdout: File for what it prints; ``None`` drops it.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as printed:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _child(action, theirs, printed.fileno(), stdout)
        theirs.close()
        with ours:
            watcher = _Watcher(pid, root, fault, exchange=exchange)
            ending, report = watcher.follow(ours, timeout_s)
        _, status = os.waitpid(pid, 0)
        printed.seek(0)
        said = printed.read().decode(errors="replace")
    if ending == "returned" and not report:
        ending = "killed" if watcher.killed else "died"
    tree = json.loads(report) if report else {"code": status, "error": "", "message": ""}
    if tree["error"]:
        ending = "raised"
    return Run(
        operations=watcher.operations,
        ending=ending,
        code=tree["code"],
        error=tree["error"],
        message=tree["message"] or said,
    )


class _Watcher:
    """Answers the filter of one process."""

    def __init__(self, pid: int, root: Path, fault: Fault | None, *, exchange: bool) -> None:
        self.operations: list[Operation] = []
        self.killed = False
        self._pid, self._fault, self._exchange = pid, fault, exchange
        self._root = f"{root.resolve()}/"
        machine = platform.machine()
        self._calls = {number: call for call in _CALLS if (number := getattr(call, machine)) is not None}

    def follow(self, link: socket.socket, timeout_s: float) -> tuple[Ending, bytes]:
        """Answer until the process ends; how it did, and what it reported."""
        try:
            _, (listener, *_), _, _ = socket.recv_fds(link, 1, 1)
        except ValueError:  # no filter, and so no listener
            return "died", b""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(link, select.POLLIN)
        until, report = time.monotonic() + timeout_s, b""
        try:
            while True:
                ready = dict(poll.poll(max(0.0, until - time.monotonic()) * 1000))
                if not ready:
                    os.kill(self._pid, signal.SIGKILL)
                    return "hung", b""
                if ready.get(listener, 0) & select.POLLIN:
                    self._answer(listener)
                elif ready.get(link.fileno()):
                    data = link.recv(65536)
                    if not data:
                        return "returned", report
                    report += data
        finally:
            os.close(listener)

    def _answer(self, listener: int) -> None:
        notice = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except OSError:  # the process was killed meanwhile
            return
        key, thread, _, number, _, _, *arguments = struct.unpack("<QIIiIQ6Q", notice)
        error = self._judge(thread, self._calls[number], arguments)
        if error is None:
            os.kill(self._pid, signal.SIGKILL)
            return
        answer = bytearray(struct.pack("<QqiI", key, 0, -error, 0 if error else _CONTINUE))
        try:
            fcntl.ioctl(listener, _SEND, answer)
        except OSError as exc:
            if exc.errno != errno.ENOENT:
                raise

    def _judge(self, thread: int, call: _Call, arguments: Sequence[int]) -> int | None:
        """The error to give, 0 for none, ``None`` to kill."""
        try:
            paths = self._paths(thread, call, arguments)
        except OSError:
            return 0
        below = tuple(path.removeprefix(self._root) for path in paths if f"{path}/".startswith(self._root))
        if not below:
            return 0
        number = len(self.operations)
        self.operations.append(Operation(kind=call.kind, paths=below))
        if not self._exchange and call.x86_64 == _RENAMEAT2 and arguments[4] == _EXCHANGE:
            return errno.EINVAL
        fault = self._fault
        if fault is None or number < fault.at or (fault.span == "once" and number > fault.at):
            return 0
        if fault.effect == "kill":
            self.killed = True
            return None
        if number > fault.at and fault.effect == "ENOSPC" and call.kind not in _NEEDS_SPACE:
            return 0
        return int(getattr(errno, fault.effect))

    def _paths(self, thread: int, call: _Call, arguments: Sequence[int]) -> list[str]:
        if call.descriptor >= 0:
            return [str(Path(f"/proc/{thread}/fd/{_signed(arguments[call.descriptor])}").readlink())]
        return [
            self._path(thread, _AT_FDCWD if folder is None else _signed(arguments[folder]), arguments[name])
            for folder, name in call.paths
        ]

    @staticmethod
    def _path(thread: int, folder: int, address: int) -> str:
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            name, page = b"", 4096 - address % 4096
            while b"\0" not in name and len(name) < 4096:
                name += memory.read(page)
                page = 4096
        text = os.fsdecode(name.partition(b"\0")[0])
        if text.startswith("/"):
            return os.path.normpath(text)
        base = Path(f"/proc/{thread}/{'cwd' if folder == _AT_FDCWD else f'fd/{folder}'}").readlink()
        return os.path.normpath(f"{base}/{text}")


def _signed(value: int) -> int:
    return ctypes.c_int32(value & 0xFFFFFFFF).value


def _child(action: Callable[[], object], link: socket.socket, printed: int, stdout: Path | None) -> None:
    """Run the action behind the filter, report, and end; never returns."""
    tree = {"code": 0, "error": "", "message": ""}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(printed, 2)
        out = os.open(stdout or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        socket.send_fds(link, [b"f"], [_install()])
        try:
            action()
        except SystemExit as exc:
            tree["code"] = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        except BaseException as exc:
            names = [kind.__name__ for kind in type(exc).__mro__]
            known = "EdgeVsegError" in names
            text = str(exc) if known else "".join(traceback.format_exception(exc))
            tree = {"code": 1, "error": names[0] if known else f"uncaught {names[0]}", "message": text}
        sys.stderr.flush()
        link.sendall(json.dumps(tree).encode())
    finally:
        os._exit(0)


def _install() -> int:
    """Filter this process; gives the listener."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = _program()
    lines = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(lines)))
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: then nobody needs to be root
    listener = libc.syscall(_MACHINES[platform.machine()][1], 1, 8, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(listener)


def _program() -> list[tuple[int, int, int, int]]:
    """The filter: calls of the table ask the listener, of those that open files only those that may change one."""
    load, equal, masked, give = 0x20, 0x15, 0x45, 0x06
    allow, ask = 0x7FFF0000, 0x7FC00000
    machine = platform.machine()
    calls = [(number, call.flags) for call in _CALLS if (number := getattr(call, machine)) is not None]
    flags = sorted({argument for _, argument in calls if argument >= 0})
    checks = {argument: len(calls) + 1 + 2 * place for place, argument in enumerate(flags)}
    end = len(calls) + 1 + 2 * len(flags)
    body = []
    for place, (number, argument) in enumerate(calls):
        target = end if argument < 0 else checks[argument]
        body.append((equal, target - place - 1, 0, number))
    body.append((give, 0, 0, allow))
    for argument in flags:
        body.append((load, 0, 0, 16 + 8 * argument))
        here = len(body)
        body.append((masked, end - here - 1, end - here, _OPEN_FLAGS))
    body += [(give, 0, 0, ask), (give, 0, 0, allow)]
    head = [(load, 0, 0, 4), (equal, 0, len(body), _MACHINES[machine][0]), (load, 0, 0, 0)]
    return head + body
