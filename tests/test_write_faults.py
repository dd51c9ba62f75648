"""A part of the campaign of ``benchmarks/write_faults.py``, and a writer that it must find wanting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
QUICK = "file;bundle;bundle, new;bundle, renamed;video;recording;calibrate;runtime cache"
CARELESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import write_faults
from write_checks import FIGURES, figures
from write_scenario import Scenario

def act(folder):
    half = len(FIGURES) // 2
    with (folder / "figures.json").open("wb", buffering=0) as file:
        file.write(FIGURES[:half])
        file.write(FIGURES[half:])

scenario = Scenario(name="careless", act=act, outputs={"figures.json": figures})
scratch = Path(sys.argv[2])
tally = write_faults.attack(scenario, scratch)
print(tally.counts["wrong"], tally.counts["uncaught"], tally.counts["tried"], tally.operations)
"""


@pytest.fixture(autouse=True, scope="module")
def able() -> None:
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import file_faults; print(file_faults.missing())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if reason := shown.stdout.strip():
        pytest.skip(reason)


def test_old_or_new_and_whole_whatever_the_disk_does(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    words = (str(BENCHMARKS / "write_faults.py"), "--only", QUICK, "--every", "15", "--json", str(path))
    shown = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = {row["scenario"]: row for row in json.loads(path.read_text())["rows"]}
    assert set(rows) == set(QUICK.split(";"))
    assert sum(row["tried"] for row in rows.values()) > 50
    for row in rows.values():
        counted = sum(row.get(name, 0) for name in ("refused", "right", "killed"))
        assert counted == row["tried"] > 0, row


def test_a_careless_writer_is_found_out(tmp_path: Path) -> None:
    """Opened, cut, and written in two pieces: all but a failing first operation leaves half a file or nothing."""
    words = ("-c", CARELESS, str(BENCHMARKS), str(tmp_path))
    shown = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    wrong, uncaught, tried, operations = map(int, shown.stdout.split())
    assert operations == 3
    assert tried == 18
    assert uncaught == 15
    assert wrong == 2, "killed before the first and the second piece"
