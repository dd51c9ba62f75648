"""Check a path before decoding, so that the error names the real cause."""

from __future__ import annotations

import difflib
import os
import re
import select
from pathlib import Path

from edge_vseg.errors import VideoDecodeError, VideoNotFoundError
from edge_vseg.input_files import open_regular
from edge_vseg.video.address import without_credentials

_PATTERN = re.compile(r"[*\[]|%[0-9]*d")
_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``frame9`` before ``frame10``; ties are sorted as text."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    keys = [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part.casefold()) for part in parts]
    return (*keys, (2, 0, name))


def check_exists(path: Path) -> None:
    """Check that a path exists.

    Raises:
        VideoNotFoundError: If not; the message suggests similar names in that folder.
    """
    shown = without_credentials(str(path))  # it may be an address with a slip at its beginning
    try:
        if path.exists():
            return
        folder = path.parent
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
    except OSError as exc:  # such as a name that is too long
        raise VideoNotFoundError(f"{shown} cannot be looked up: {exc.strerror}; check the path") from None
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise VideoNotFoundError(f"{shown} does not exist: ~ is for shells; give Path({shown!r}).expanduser()")
    if _PATTERN.search(path.name):
        raise VideoNotFoundError(
            f"{shown} does not exist, and patterns of names are not read; give the folder"
            f" {without_credentials(str(folder))}, or a list such as sorted(glob.glob(...))"
        )
    if names is None:
        where = without_credentials(str(folder))
        raise VideoNotFoundError(f"{shown} does not exist, nor does its folder {where}; check the path")
    similar = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "check the path"
    raise VideoNotFoundError(f"{shown} does not exist; {hint}")


def read_head(path: Path, size: int = 64) -> bytes:
    """Read the first bytes of a regular file, and check that it is neither empty nor a Git-LFS pointer.

    Raises:
        VideoDecodeError: If the file is unreadable, empty, or a Git-LFS pointer.
    """
    try:
        with open_regular(path) as file:
            head = file.read(size)
    except OSError as exc:
        raise VideoDecodeError(f"{path}: cannot be read: {exc.strerror}; check its permissions") from exc
    check_content(path, head)
    return head


def check_content(path: Path, head: bytes) -> None:
    """Check that the first bytes of a file may be media.

    Raises:
        VideoDecodeError: If the file is empty, or a Git-LFS pointer.
    """
    if not head:
        raise VideoDecodeError(f"{path}: the file is empty (0 bytes); copy or record it again")
    if head.startswith(_LFS_MAGIC):
        raise VideoDecodeError(
            f"{path}: this is a Git-LFS pointer, not the file itself; run 'git lfs pull' where it came from"
        )


def open_written_pipe(path: Path, timeout_s: float) -> int:
    """Wait until a program writes into a named pipe; nothing is read.

    Returns:
        Its descriptor, to read from and to close. Opening the pipe once more would wait again, for ever if the writer
        has left by then.

    Raises:
        VideoNotFoundError: If none does in time.
        VideoDecodeError: If it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as exc:
        raise VideoDecodeError(f"{path}: cannot be read: {exc.strerror}; check its permissions") from exc
    if not select.select([descriptor], [], [], timeout_s)[0]:
        os.close(descriptor)
        raise VideoNotFoundError(
            f"{path} is a named pipe, and no program wrote into it for {timeout_s:g} s; start one, or raise"
            " InputOptions.timeout_s"
        )
    os.set_blocking(descriptor, True)
    return descriptor
