"""How much memory a process holds, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def resident_memory(pid: int) -> int:
    """Resident bytes of a process; 0 if it has ended, or on systems without ``/proc``."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken without swapping, by the machine and by every control group above this process.

    Args:
        root: Where ``proc`` and ``sys`` are.

    Returns:
        The least of them; ``None`` on systems without ``/proc``.
    """
    found = [*_of_machine(root / "proc/meminfo"), *_of_groups(root)]
    return min(found, default=None)


def _of_machine(meminfo: Path) -> Iterator[int]:
    if (kib := _table(meminfo).get("MemAvailable:")) is not None:
        yield kib * 1024


def _of_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the path may be that of the host; its own group is then at the top.
        inner = Path(path.lstrip("/"))
        for folder in (base / inner, *(base / parent for parent in inner.parents)):
            yield from _of_group(folder, names)


def _of_group(folder: Path, names: tuple[str, str, str]) -> Iterator[int]:
    limit, usage = _number(folder / names[0]), _number(folder / names[1])
    if limit is None or usage is None:
        return
    # Pages of files that were read once are given back before anything is refused.
    cache = _table(folder / "memory.stat").get(names[2], 0)
    yield max(0, limit - max(0, usage - cache))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # no such group, or "max"


def _table(path: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
