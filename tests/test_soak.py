"""The soak test finds what grows, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import soak_process

    return soak_process


def held(process: ModuleType, mib: np.ndarray, **last: int) -> list[object]:
    """Samples of a minute each; the last one may hold more of something."""
    usual = {"descriptors": 8, "threads": 12, "shared": 0}
    samples = [process.Holdings(seconds=60.0 * number, mib=float(value), **usual) for number, value in enumerate(mib)]
    samples[-1] = process.Holdings(seconds=60.0 * len(mib), mib=float(mib[-1]), **usual | last)
    return samples


def test_slope_is_that_of_the_line_in_spite_of_outliers(process: ModuleType) -> None:
    rng = np.random.default_rng(3)
    hours = np.arange(200) / 20
    values = 300 + 4.0 * hours + rng.normal(0, 3, 200)
    values[::17] += 80
    slope = process.Slope.of(list(hours), list(values))
    assert slope.low < 4.0 < slope.high
    assert slope.per_hour == pytest.approx(4.0, abs=0.3)
    assert np.polyfit(hours, values, 1)[0] != pytest.approx(4.0, abs=0.05), "least squares would be moved"


def test_noise_is_no_leak(process: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert process.leaks(held(process, 400 + rng.normal(0, 10, 60)), 2.0) == []


def test_start_up_is_no_leak(process: ModuleType) -> None:
    warm_up = 400 - 200 * np.exp(-np.arange(120) / 6)
    assert process.leaks(held(process, warm_up + np.random.default_rng(1).normal(0, 2, 120)), 2.0) == []


def test_a_slow_leak_is_found(process: ModuleType) -> None:
    growing = 400 + 12.0 * np.arange(240) / 60
    (found,) = process.leaks(held(process, growing + np.random.default_rng(2).normal(0, 5, 240)), 2.0)
    assert found.startswith("memory grows by 1")


@pytest.mark.parametrize("name", ["descriptors", "threads", "shared"])
def test_one_more_is_a_leak(process: ModuleType, name: str) -> None:
    (found,) = process.leaks(held(process, np.full(12, 400.0), **{name: 13}), 2.0)
    assert found.startswith(f"{name} grow")


def test_too_few_samples_prove_nothing(process: ModuleType) -> None:
    for count in (1, 2, 3, 5):
        assert process.leaks(held(process, 400 + 10.0 * np.arange(count)), 2.0) == []


@pytest.mark.slow
@pytest.mark.release
def test_a_planted_descriptor_is_found(sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "soak.py"), str(sliced_bundle), str(drive_video), "--rounds", "4"]
    command += ["--live-s", "0.6", "--leak", "descriptor", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tree = json.loads((tmp_path / "soak.json").read_text())
    assert done.returncode == 1, done.stderr
    assert tree["wrong"] == []
    assert [each for each in tree["grows"] if each.startswith("descriptors grow")]
    assert tree["counts"]["equality checks"] == tree["rounds"] == 4
