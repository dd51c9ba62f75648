"""Looking at a path before anything tries to decode it, so that the error names the real cause."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from edge_vseg.errors import VideoDecodeError, VideoNotFoundError

_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``frame9`` comes before ``frame10``; ties go by the text itself."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    keys = [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part.casefold()) for part in parts]
    return (*keys, (2, 0, name))


def check_exists(path: Path) -> None:
    """Refuse a path with nothing behind it.

    Raises:
        VideoNotFoundError: The message suggests files of the same folder with a similar name.
    """
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise VideoNotFoundError(f"{path}: there is no such file, and no folder {folder}; check the path")
    names = sorted(entry.name for entry in folder.iterdir())
    similar = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "check the path"
    raise VideoNotFoundError(f"{path}: there is no such file; {hint}")


def read_head(path: Path, size: int = 64) -> bytes:
    """The first bytes of a regular file, which has to have some and to be no Git-LFS pointer.

    Raises:
        VideoDecodeError: If the file is unreadable, empty, or a Git-LFS pointer.
    """
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError as exc:
        raise VideoDecodeError(f"{path}: cannot be read: {exc.strerror}; check its permissions") from exc
    check_content(path, head)
    return head


def check_content(path: Path, head: bytes) -> None:
    """Refuse the first bytes of a file that holds no media at all.

    Raises:
        VideoDecodeError: If they are empty or those of a Git-LFS pointer.
    """
    if not head:
        raise VideoDecodeError(f"{path}: the file is empty (0 bytes); copy or record it again")
    if head.startswith(_LFS_MAGIC):
        raise VideoDecodeError(
            f"{path}: this is a Git-LFS pointer, not the file itself; run 'git lfs pull' where it came from"
        )
