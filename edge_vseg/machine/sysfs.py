"""Read the small files of ``/sys`` and ``/proc``, any of which may be missing, unreadable or malformed.

A sensor that cannot be read must not end a run of days, so every failure gives an absent value.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_MAX_BYTES = 4096


def read_text(path: Path | str) -> str | None:
    """A file's text, stripped of whitespace and NULs; ``None`` if it cannot be read or is empty."""
    # os.open takes a third of the time of Path.read_text, and a machine with 64 cores has 200 files to read.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.read(handle, _MAX_BYTES)
    except OSError:  # drivers report a sensor that is off as EIO, ENODATA or EAGAIN
        return None
    finally:
        os.close(handle)
    return data.decode(errors="replace").strip("\0 \t\r\n") or None


def read_int(path: Path | str, base: int = 10) -> int | None:
    """The integer in a file; ``None`` if there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def find(folder: Path, pattern: str) -> list[Path]:
    """Entries of a folder whose full name matches a regular expression, in natural order: ``hwmon2``, ``hwmon10``.

    Empty if the folder cannot be read.
    """
    expression = re.compile(pattern)
    try:
        entries = [entry for entry in folder.iterdir() if expression.fullmatch(entry.name)]
    except OSError:
        return []
    return sorted(entries, key=lambda entry: _natural(entry.name))


def unique(names: list[str]) -> list[str]:
    """The names made unique: the second ``name`` becomes ``name 2``."""
    counts: dict[str, int] = {}
    unique_names = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        unique_names.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return unique_names


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
