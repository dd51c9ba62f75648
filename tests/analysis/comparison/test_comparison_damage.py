"""Files that do not compare, or not in all that they should hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_comparison import EVALUATION, PROFILE

from edge_vseg.analysis.comparison import MEASURES, NO_LIMITS, Comparison, Limits, compare_files
from edge_vseg.errors import OptionError


def compared(folder: Path, before: object, after: object, limits: Limits = NO_LIMITS) -> Comparison:
    paths = folder / "a.json", folder / "b.json"
    for path, tree in zip(paths, (before, after), strict=True):
        path.write_bytes(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return compare_files(*paths, limits)


def test_two_kinds_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"a\.json is a profile and .*b\.json an evaluation"):
        compared(tmp_path, PROFILE, EVALUATION)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(b"", id="empty"),
        pytest.param(json.dumps(PROFILE).encode()[:-9], id="cut off"),
        pytest.param(b"\xff\xfe{}", id="binary"),
        pytest.param(b"[1, 2]", id="no object"),
        pytest.param({"kind": "manifest"}, id="another kind"),
        pytest.param({"kind": ["profile"]}, id="a kind that is no text"),
        pytest.param({}, id="no kind"),
        pytest.param(b'{"kind": "profile", "first_ms": NaN}', id="NaN"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_other_files_are_rejected(spoilt: object, place: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"b\.json" if place == "after" else r"a\.json"):
        compared(tmp_path, *((PROFILE, spoilt) if place == "after" else (spoilt, PROFILE)))


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_ms": 5, "memory": [1], "machine": "abacus"},
        {"steps_ms": ["infer"], "first_ms": "soon", "oldest_frames": True},
        {"steps_ms": 5, "frames": 0},
    ],
    ids=["no objects", "texts and lists", "no frames"],
)
def test_figures_of_another_type_count_as_missing(changes: dict[str, Any], tmp_path: Path) -> None:
    found = compared(tmp_path, PROFILE | changes, PROFILE, Limits(regression=0.0, drop=0.0, missed=0.0))
    names = {each.name for each in found.rows}
    assert names < {measure.name for measure in MEASURES["profile"]}
    assert found.regressions == ()


@pytest.mark.parametrize("number", ["1e999", "1" + 400 * "0", "NaN"])
def test_numbers_that_no_measurement_gives(number: str, tmp_path: Path) -> None:
    huge = json.dumps(PROFILE).replace("300.0", number).encode()
    with pytest.raises(OptionError, match="too large|not allowed"):
        compared(tmp_path, huge, PROFILE)


def test_numbers_whose_ratio_is_none(tmp_path: Path) -> None:
    large, small = (json.dumps(PROFILE).replace("300.0", each).encode() for each in ("1e300", "5e-324"))
    assert "first frame" not in {each.name for each in compared(tmp_path, large, PROFILE).rows}
    (row,) = (each for each in compared(tmp_path, small, PROFILE).rows if each.name == "first frame")
    assert row.ratio is None
    assert row.worse == 0


def test_a_negative_count_of_dropped_frames(tmp_path: Path) -> None:
    odd = PROFILE | {"dropped": -PROFILE["frames"]}
    assert compared(tmp_path, odd, PROFILE).regressions == ()


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.json cannot be read"):
        compare_files(tmp_path / "none.json", tmp_path / "none.json")
    with pytest.raises(OptionError, match="cannot be read"):
        compare_files(tmp_path, tmp_path)
