"""``edge-vseg compare``: what it says, and by which exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand_made import make_profile, quantiles
from msgspec.structs import replace

Cli = Callable[..., Any]


@pytest.fixture
def profiles(tmp_path: Path) -> tuple[Path, Path]:
    """A profile, and one whose latency is a tenth more."""
    before = make_profile()
    paths = tmp_path / "a.json", tmp_path / "b.json"
    paths[0].write_bytes(before.to_json())
    paths[1].write_bytes(replace(before, latency_ms=quantiles(11.0)).to_json())
    return paths


@pytest.mark.parametrize(
    ("options", "code", "regressions"),
    [
        ((), 0, []),
        (("--max-regression", 10), 0, []),
        (("--max-regression", 9.9), 3, ["latency p50", "latency p95", "latency p99"]),
        (("--max-drop", 0), 0, []),
    ],
    ids=str,
)
def test_compare_tells_regressions_by_its_exit_code(
    options: tuple, code: int, regressions: list[str], cli: Cli, profiles: tuple[Path, Path]
) -> None:
    shown = cli("compare", *profiles, *options, "--json")
    assert (shown.code, shown.json()["regressions"]) == (code, regressions)
    rows = {row["name"]: row for row in shown.json()["rows"]}
    assert rows["latency p99"]["ratio"] == pytest.approx(1.1)
    table = cli("compare", *profiles, *options)
    assert table.code == code
    assert "10.00 % worse" in table.out
    assert ("worse than allowed: latency p50" in table.out) == bool(regressions)


def test_compare_gates_misses_by_default(cli: Cli, profiles: tuple[Path, Path]) -> None:
    profiles[1].write_bytes(make_profile(missed=10).to_json())  # 1 point
    assert cli("compare", *profiles).code == 0
    assert cli("compare", *profiles, "--max-regression", 50).code == 3
    assert cli("compare", *profiles, "--max-regression", 50, "--max-missed", 1.1).code == 0


def test_a_gate_needs_the_same_conditions(cli: Cli, profiles: tuple[Path, Path]) -> None:
    profiles[1].write_bytes(make_profile(video="other.mp4").to_json())
    assert cli("compare", *profiles).code == 0
    refused = cli("compare", *profiles, "--max-regression", 50)
    assert (refused.code, "fails: not comparable: video" in refused.out) == (3, True)
    assert cli("compare", *profiles, "--max-regression", 50, "--allow-different").code == 0


def test_compare_prints_differences(cli: Cli, profiles: tuple[Path, Path]) -> None:
    profiles[1].write_bytes(make_profile(variant="[red]other").to_json())
    assert "different variant: onnxruntime/int8 before, [red]other after" in cli("compare", *profiles).out
    assert len(cli("compare", *profiles, "--json").json()["differences"]) == 1
    profiles[1].write_text("{}")
    refused = cli("compare", *profiles, "--json")
    assert (refused.code, refused.json()["error"]["kind"]) == (1, "OptionError")
