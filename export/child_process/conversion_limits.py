"""How much memory and time a conversion may take, and how much memory there is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import OptionError

AVAILABLE_SHARE = 0.8
"""Share of the memory that is available when a conversion begins, which it may take by default."""
SECONDS = 900.0
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionLimits:
    """What one conversion may take before it is stopped.

    Attributes:
        memory_bytes: Resident memory of the process that converts; ``None`` for 80 % of what is available when the
            conversion begins.
        seconds: Duration.
    """

    memory_bytes: int | None = None
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Raise OptionError for a limit that is not positive."""
        if self.seconds <= 0 or (self.memory_bytes is not None and self.memory_bytes <= 0):
            raise OptionError(
                f"limits of a conversion must be positive, got {self.memory_bytes} bytes, {self.seconds} s"
            )

    @classmethod
    def parse(cls, memory: str | None = None, time: str | None = None) -> ConversionLimits:
        """Read limits such as ``4GB`` and ``30min``; ``None`` for the default.

        Raises:
            OptionError: If they look otherwise.
        """
        return cls(
            memory_bytes=None if memory is None else int(_measure("memory", memory, _BYTES, "4GB or 900MB")),
            seconds=SECONDS if time is None else _measure("time", time, _SECONDS, "30min or 90s"),
        )

    def memory(self, resident: int) -> int | None:
        """Bytes that a process may take, which holds ``resident`` bytes now; ``None`` where that is not known."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        available = available_memory()
        return None if available is None else int(AVAILABLE_SHARE * (available + resident))


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


def _measure(what: str, text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in units or float(match[1]) == 0:
        raise OptionError(f"a limit of {what} looks like {example}, got {text!r}")
    return float(match[1]) * units[match[2]]
