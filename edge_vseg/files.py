"""Write files so that a reader sees the old content or the new one, whole, whatever fails meanwhile.

A file is written beside its target under a hidden name, ``.NAME.XXXXXXXX.part``, and renamed when it is complete. While
it is written it is locked with ``flock``: a lock ends with its process, so what a killed process left is told from what
a living one is writing, and the next writer of the same target removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError, OutputError

log = logging.getLogger(__name__)

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system says of a disk that is full, broken or not to be written; any other error is a mistake of ours."""
Flush: TypeAlias = Literal["disk", "system"]
Lock: TypeAlias = Literal["locked", "taken", "impossible"]
_PART, _PARTIAL = ".part", ".partial"
_HELD: set[Path] = set()
"""Folders that this process is in."""
_PROBE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_whole(path: Path, data: bytes, *, mode: int = 0o644, flush: Flush = "disk") -> None:
    """Replace a file, or make it; pipes and devices are written directly.

    Args:
        path: The target; a link is followed.
        data: Its content.
        mode: Its permissions; nobody else can read it before it has them.
        flush: ``disk`` waits until it would survive a power cut; ``system`` leaves that to the system, for one of many
            files in a folder of their own, and does not look for leftovers.

    Raises:
        OutputError: If it cannot be written; the old file is then unchanged.
    """
    if _is_stream(path):
        try:
            path.write_bytes(data)
        except OSError as exc:
            raise cannot_write(path, exc, needed=len(data)) from exc
        return
    with StagedFile(path, flush=flush) as staged:
        staged.write(data)
        staged.commit(mode)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder and its parents, if they are not there.

    Args:
        folder: The folder.
        mode: Permissions of the folder itself, of which the umask is taken away.

    Raises:
        OutputError: If that fails.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as exc:
        raise cannot_write(folder, exc) from exc


@contextlib.contextmanager
def hold_folder(folder: Path, busy: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if it is not there; this one may come in again.

    Args:
        folder: The folder.
        busy: What to say if another process is in it, and what to do.

    Raises:
        OptionError: If another process is in it.
        OutputError: If it cannot be made or opened.
    """
    make_folder(folder)
    place = folder.resolve()
    if place in _HELD:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise cannot_write(folder, exc) from exc
    try:
        if lock(descriptor) == "taken":
            raise OptionError(busy)
        _HELD.add(place)
        try:
            yield
        finally:
            _HELD.discard(place)
    finally:
        os.close(descriptor)


class StagedFile:
    """A hidden file beside its target, which it replaces at :meth:`commit`; without that it is removed.

    Attributes:
        target: Where it goes; a link is followed.
        path: Where it is, for libraries that open files by themselves.
    """

    def __init__(self, target: Path, *, flush: Flush = "disk") -> None:
        """Create it, and remove what killed processes left of the same target.

        Args:
            target: Where it goes.
            flush: See :func:`write_whole`.

        Raises:
            OutputError: If it cannot be created.
        """
        self.target = Path(os.path.realpath(target))
        self._flush = flush
        if flush == "disk":
            remove_leftovers(self.target)
        try:
            self.path, self._descriptor = _create_locked(self.target)
        except OSError as exc:
            raise cannot_write(target, exc) from exc
        self._open, self._finished = True, False

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OutputError: If the disk is full or fails.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as exc:
            raise cannot_write(self.target, exc, needed=len(data)) from exc

    def finish(self, mode: int = 0o644) -> None:
        """Give it its permissions and flush it to the disk: what is left is a new name.

        Raises:
            OutputError: If that fails; the file is then removed.
        """
        with self._or_discard():
            os.fchmod(self._descriptor, mode)
            if self._flush == "disk":
                os.fsync(self._descriptor)
        self._finished = True

    def commit(self, mode: int = 0o644) -> None:
        """Finish it, if that was not done before, and move it to the target.

        Raises:
            OutputError: If that fails; the target is then unchanged, and the file is removed.
        """
        if not self._finished:
            self.finish(mode)
        with self._or_discard():
            self.path.replace(self.target)
        self._close()
        if self._flush == "disk":
            settle(self.target)

    @contextlib.contextmanager
    def _or_discard(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            needed = _size(self.path)
            self.discard()
            raise cannot_write(self.target, exc, needed=needed) from exc
        except BaseException:  # such as Ctrl-C
            self.discard()
            raise

    def discard(self) -> None:
        """Remove it. Does nothing after :meth:`commit`, and the second time."""
        if self._open:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._close()

    def keep(self) -> None:
        """Leave it where it is, for whoever wants what was written until then; the next writer removes it."""
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                os.close(self._descriptor)

    def __enter__(self) -> StagedFile:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it unless it is in place."""
        self.discard()


def settle(target: Path) -> None:
    """Make the name of a file or folder that is in place survive a power cut, if the disk can."""
    try:
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        # It is in place: saying that it could not be written would be wrong.
        log.warning("%s is in place, but a power cut may undo it: %s; look at the disk", target, exc.strerror)


def remove_leftovers(target: Path) -> tuple[Path, ...]:
    """Remove what killed processes left of a target.

    Args:
        target: The file or folder that they were writing.

    Returns:
        What living processes are writing, which stays.
    """
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-z_]{{8}}({_PART}|{_PARTIAL})")
    living = []
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and _remove_unlocked(Path(entry.path)) == "taken":
                living.append(Path(entry.path))
    return tuple(living)


def lock(descriptor: int) -> Lock:
    """Lock an open file or folder until it is closed, or the process ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:  # a network file system may have no locks
        return "impossible"
    return "locked"


def cannot_write(path: Path, exc: OSError, *, needed: int | None = None) -> OutputError:
    """The error for a file that cannot be written.

    Args:
        path: The file, as the user knows it.
        exc: What the system said.
        needed: Bytes that it takes, if they are known.
    """
    match exc.errno:
        case errno.ENOSPC | errno.EDQUOT:
            advice = f"{_space(path, needed)}free space there, or choose another place"
        case errno.EROFS:
            advice = "make the disk writable, or choose another place"
        case errno.EIO:
            advice = "the disk or its cable fails (see dmesg); choose another place"
        case errno.EACCES | errno.EPERM:
            advice = "choose a place that you may write to"
        case _:
            advice = "choose another place"
    return OutputError(f"{path} cannot be written: {exc.strerror or exc}; {advice}", cause=exc, path=path)


def bytes_text(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _create_locked(target: Path) -> tuple[Path, int]:
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Another process may have taken it for a leftover before it was locked.
        if lock(descriptor) != "taken" and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def _remove_unlocked(path: Path) -> Lock:
    """Remove a leftover that nobody has locked; whether somebody has."""
    try:
        descriptor = os.open(path, _PROBE)
    except OSError:  # gone, a link, or somebody else's
        return "impossible"
    try:
        found = lock(descriptor)
        if found == "locked" and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif found == "locked":
            with contextlib.suppress(OSError):
                path.unlink()
        return found
    finally:
        os.close(descriptor)


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or device, or a name of this process's own output, such as ``/dev/stdout``."""
    if path.exists() and not path.is_file():
        return True
    behind = str(path.readlink()) if path.is_symlink() else ""
    return behind.startswith("/proc/") or os.path.realpath(path.parent).startswith("/proc/")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _space(path: Path, needed: int | None) -> str:
    if needed is None:
        return ""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        return f"it takes {bytes_text(needed)}, and {bytes_text(free)} are free; "
    return f"it takes {bytes_text(needed)}; "
