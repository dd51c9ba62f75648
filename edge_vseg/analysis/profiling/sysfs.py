"""Reading the kernel's small files, where anything may be missing, unreadable or nonsense.

A sensor that cannot be read is no error of a run that lasts for days: whatever goes wrong, the value is absent.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_MAX_BYTES = 4096


def read_text(path: Path | str) -> str | None:
    """A file's contents without surrounding blanks and NULs; ``None`` if it cannot be read or is empty."""
    # os.open takes a third of the time of Path.read_text, and a machine with 64 cores has 200 files to read.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.read(handle, _MAX_BYTES)
    except OSError:  # EIO, ENODATA and EAGAIN are how drivers say that a sensor is off
        return None
    finally:
        os.close(handle)
    return data.decode(errors="replace").strip("\0 \t\r\n") or None


def read_int(path: Path | str, base: int = 10) -> int | None:
    """The whole number in a file; ``None`` if there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def find(folder: Path, pattern: str) -> list[Path]:
    """Entries of a folder whose whole name matches a regular expression, ``hwmon2`` before ``hwmon10``.

    Empty if the folder is missing or may not be read.
    """
    wanted = re.compile(pattern)
    try:
        entries = [entry for entry in folder.iterdir() if wanted.fullmatch(entry.name)]
    except OSError:
        return []
    return sorted(entries, key=lambda entry: _natural(entry.name))


def unique(names: list[str]) -> list[str]:
    """The same names, the second of a kind as ``name 2``, so that none hides another."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return result


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
