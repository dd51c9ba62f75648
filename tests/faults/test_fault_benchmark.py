"""The campaign as a command: it counts, goes on after a process that died or hangs, and says so by its status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.serial
def test_what_dies_and_what_hangs_is_counted_and_the_rest_is_played(tmp_path: Path) -> None:
    report = tmp_path / "faults.json"
    arguments = ["--cases", "3", "--plant", "--timeout", "8", "--json", str(report)]
    done = subprocess.run([sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, timeout=120)
    said = json.loads(report.read_text())
    assert done.returncode == 1, done.stderr
    assert said["counts"]["exit"] == {"died": 1}
    assert said["counts"]["never returns"] == {"hung": 1}
    rest = [kind for fault, count in said["counts"].items() for kind in count if fault not in ("exit", "never returns")]
    assert len(rest) == 3 or sum(sum(each.values()) for each in said["counts"].values()) == 5
    assert set(rest) <= {"right", "refused"}
    assert done.stdout.splitlines()[-1].split()[:2] == ["all", "5"]
