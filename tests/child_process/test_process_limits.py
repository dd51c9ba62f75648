"""How much memory and time a child process may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_vseg.child_process import ProcessLimits
from edge_vseg.child_process.process_memory import available_memory, resident_memory
from edge_vseg.errors import OptionError
from edge_vseg.export import ConversionLimits

GIB = 2**30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


MACHINE = {"proc/meminfo": f"MemTotal: {32 * 2**20} kB\nMemAvailable:   {16 * 2**20} kB\nHugePages_Total: 0\n"}
V2 = {
    "proc/self/cgroup": "0::/user/session\n",
    "sys/fs/cgroup/user/memory.max": str(6 * GIB),
    "sys/fs/cgroup/user/memory.current": str(3 * GIB),
    "sys/fs/cgroup/user/memory.stat": f"anon {2 * GIB}\ninactive_file {1 * GIB}\n",
    "sys/fs/cgroup/user/session/memory.max": "max\n",
    "sys/fs/cgroup/user/session/memory.current": str(GIB),
}
V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
    "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
}


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        (MACHINE, 16),
        (MACHINE | V2, 4),
        (MACHINE | V1, 1),
        ({}, None),
        (MACHINE | V2 | {"sys/fs/cgroup/user/memory.current": str(9 * GIB)}, 0),
    ],
    ids=["machine", "groups of version 2", "version 1 in a container", "no proc", "above its limit"],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], gib: int | None) -> None:
    found = available_memory(write(tmp_path, files))
    assert found == (None if gib is None else gib * GIB)


def test_this_machine() -> None:
    available = available_memory()
    assert available is not None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available <= total
    assert ProcessLimits().memory(resident=10**9) == pytest.approx(0.8 * (available + 10**9), rel=0.2)
    assert ProcessLimits(memory_bytes=5).memory(resident=10**9) == 5


def test_resident_memory() -> None:
    before = resident_memory(os.getpid())
    held = b"x" * 200_000_000
    assert resident_memory(os.getpid()) - before > 150_000_000
    assert len(held)
    assert resident_memory(2**22 + 1) == 0, "no such process"


@pytest.mark.parametrize(("text", "number"), [("4GB", 4e9), ("900 mb", 9e8), ("1.5GiB", 1.5 * GIB)])
def test_memory_as_text(text: str, number: float) -> None:
    assert ConversionLimits.parse(memory=text) == ConversionLimits(memory_bytes=int(number))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30min", 1800.0), ("1.5h", 5400.0)])
def test_time_as_text(text: str, seconds: float) -> None:
    assert ConversionLimits.parse(time=text).seconds == seconds


@pytest.mark.parametrize("text", ["4", "GB", "-1GB", "0GB", "4 elephants", ""])
def test_text_that_is_no_limit(text: str) -> None:
    with pytest.raises(OptionError, match="4GB or 900MB"):
        ConversionLimits.parse(memory=text)
    with pytest.raises(OptionError, match="30min or 90s"):
        ConversionLimits.parse(time=text)


def test_limits_are_positive() -> None:
    with pytest.raises(OptionError, match="positive"):
        ProcessLimits(seconds=0)
    with pytest.raises(OptionError, match="positive"):
        ProcessLimits(memory_bytes=-1)
