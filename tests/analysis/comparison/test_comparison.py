"""Two files side by side: what got worse, by how much, and whether that is more than is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand_made import make_profile, quantiles
from msgspec.structs import replace

from edge_vseg.analysis.comparison import MEASURES, Comparison, Limits, Row, compare_files
from edge_vseg.errors import OptionError

FIGURES = ("mean", "p50", "p95", "p99", "p99_9", "max")
PROFILE: dict[str, Any] = {
    "kind": "profile",
    "schema": 3,
    "bundle_sha256": "ab",
    "variant": "onnxruntime/int8",
    "provider": "cpu",
    "policy": "",
    "video": "drive.mp4",
    "rate": 30.0,
    "machine": {"cpu": "abacus"},
    "latency_ms": dict.fromkeys(FIGURES, 100.0),
    "age_ms": dict.fromkeys(FIGURES, 120.0),
    "first_ms": 300.0,
    "frames": 100,
    "dropped": 0,
    "missed": 10,
    "limit_ms": 90.0,
    "oldest_frames": 3,
    "cpu_share": 0.5,
    "process_cpu_share": 0.6,
    "memory": {"max": 200.0, "slope_per_hour": 1.0},
    "complete": True,
    "steps_ms": {"infer": {"p50": 80.0}},
}
EVALUATION: dict[str, Any] = {
    "kind": "evaluation",
    "schema": 2,
    "bundle_sha256": "ab",
    "variant": "onnxruntime/int8",
    "settings": "Fixed(period_frames=3)",
    "data": "camvid",
    "frames": 101,
    "machine": {"cpu": "abacus"},
    "miou": 0.7,
    "agreement": 0.9,
    "fidelity_miou": 0.8,
    "quality": {"boundary_f": 0.5, "consistency": 0.6, "flicker": 0.05, "streaming_miou": 0.4},
    "timing": dict.fromkeys(FIGURES, 50.0),
    "cpu_share": 0.5,
    "process_cpu_share": 0.6,
    "cost": 0.5,
    "misses": 0.1,
}
KINDS = {"profile": PROFILE, "evaluation": EVALUATION}


def changed(tree: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy in which one figure, such as ``memory.max``, is another; ``None`` takes it out."""
    copy = json.loads(json.dumps(tree))
    *path, last = key.split(".")
    place = copy
    for name in path:
        place = place[name]
    place[last] = value
    if value is None:
        del place[last]
    return copy


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Comparison]:
    def compare(
        before: object, after: object, *, max_regression: float | None = None, max_drop: float | None = None,
        max_missed: float | None = None, allow_different: bool = False,
    ) -> Comparison:  # fmt: skip
        limits = Limits(regression=max_regression, drop=max_drop, missed=max_missed, different=allow_different)
        paths = tmp_path / "a.json", tmp_path / "b.json"
        for path, tree in zip(paths, (before, after), strict=True):
            path.write_bytes(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
        return compare_files(*paths, limits)

    return compare


def row(found: Comparison, name: str) -> Row:
    (only,) = [each for each in found.rows if each.name == name]
    return only


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_no_worse_than_itself(kind: str, compared) -> None:
    found = compared(KINDS[kind], KINDS[kind], max_regression=0.0, max_drop=0.0)
    assert (found.kind, found.regressions, found.differences) == (kind, (), ())
    assert [each.name for each in found.rows] == [measure.name for measure in MEASURES[kind]]
    assert {each.worse for each in found.rows} == {0}
    assert {each.ratio for each in found.rows} <= {1, None}


@pytest.mark.parametrize(
    ("kind", "key", "value", "name", "before", "ratio", "worse"),
    [
        ("profile", "latency_ms.p99", 125.0, "latency p99", 100, 1.25, 25),
        ("profile", "latency_ms.p50", 80.0, "latency p50", 100, 0.8, -20),
        ("profile", "memory.max", 250.0, "memory", 200, 1.25, 25),
        ("profile", "missed", 12, "missed", 10, None, 2),
        ("profile", "missed", 5, "missed", 10, None, -5),
        ("profile", "dropped", 100, "dropped", 0, None, 50),
        ("evaluation", "miou", 0.65, "mIoU", 70, None, 5),
        ("evaluation", "miou", 0.75, "mIoU", 70, None, -5),
        ("evaluation", "quality.flicker", 0.08, "flicker", 5, None, 3),
        ("evaluation", "quality.boundary_f", 0.55, "boundary F", 50, None, -5),
        ("evaluation", "timing.p95", 60.0, "p95 ms", 50, 1.2, 20),
        ("evaluation", "misses", 0.0, "missed", 10, None, -10),
        ("evaluation", "cost", 0.6, "mean cost", 0.5, 1.2, 20),
    ],
)
def test_worse_is_positive_for_both_directions(
    kind: str, key: str, value: float, name: str, before: float, ratio: float | None, worse: float, compared
) -> None:
    found = compared(KINDS[kind], changed(KINDS[kind], key, value))
    one = row(found, name)
    assert one.before == pytest.approx(before)
    assert one.ratio == (None if ratio is None else pytest.approx(ratio))
    assert one.worse == pytest.approx(worse)
    assert {each.name for each in found.rows if each.worse} == {name}
    assert found.regressions == (), "nothing was asked to be gated"


@pytest.mark.parametrize(
    ("kind", "key", "value", "name", "limits"),
    [
        ("profile", "latency_ms.p99", 110.0, "latency p99", {"max_regression": 10.0}),
        ("profile", "memory.max", 220.0, "memory", {"max_regression": 10.0}),
        ("profile", "latency_ms.p95", 100.7, "latency p95", {"max_regression": 0.7}),
        ("profile", "missed", 12, "missed", {"max_missed": 2.0}),
        ("profile", "age_ms.p99", 132.0, "capture to map p99", {"max_regression": 10.0}),
        ("evaluation", "miou", 0.695, "mIoU", {"max_drop": 0.5}),
        ("evaluation", "quality.consistency", 0.592, "temporal consistency", {"max_drop": 0.8}),
        ("evaluation", "agreement", 0.895, "pixels as every frame", {"max_drop": 0.5}),
        ("evaluation", "fidelity_miou", 0.795, "mIoU against every frame", {"max_drop": 0.5}),
        ("evaluation", "quality.flicker", 0.055, "flicker", {"max_drop": 0.5}),
        ("evaluation", "timing.p50", 55.0, "p50 ms", {"max_regression": 10.0}),
    ],
)
def test_a_regression_at_the_limit_passes_and_above_fails(
    kind: str, key: str, value: float, name: str, limits: dict[str, float], compared
) -> None:
    tree = KINDS[kind]
    assert compared(tree, changed(tree, key, value), **limits).regressions == ()
    tighter = {limit: percent - 0.01 for limit, percent in limits.items()}
    assert [each.name for each in compared(tree, changed(tree, key, value), **tighter).regressions] == [name]
    other = {"max_drop": 0.0} if "max_drop" not in limits else {"max_regression": 0.0}
    assert compared(tree, changed(tree, key, value), **other).regressions == ()
    better = compared(changed(tree, key, value), tree, max_drop=0.0, max_regression=0.0, max_missed=0.0)
    assert better.regressions == ()


@pytest.mark.parametrize("key", ["latency_ms.max", "latency_ms.p99_9", "age_ms.max", "first_ms", "oldest_frames"])
def test_extremes_are_shown_but_not_gated(key: str, compared) -> None:
    found = compared(PROFILE, changed(PROFILE, key, 9999.0), max_regression=0.0, max_drop=0.0)
    assert any(each.worse > 100 for each in found.rows)
    assert found.regressions == ()


@pytest.mark.parametrize(
    ("kind", "key", "name"),
    [
        ("profile", "limit_ms", "missed"),
        ("profile", "latency_ms.p99", "latency p99"),
        ("evaluation", "miou", "mIoU"),
        ("evaluation", "misses", "missed"),
    ],
)
def test_a_missing_figure_fails_the_gate(kind: str, key: str, name: str, compared) -> None:
    whole, without = KINDS[kind], changed(KINDS[kind], key, None)
    found = compared(whole, without, max_regression=50.0)
    assert [measure.name for measure in MEASURES[kind] if measure.name not in {r.name for r in found.rows}] == [name]
    assert (found.regressions, found.failures) == ((), (f"the second file has no {name}",))
    assert compared(without, whole, max_regression=50.0).failures == ()
    assert compared(whole, without).failures == (), "nothing was asked to be gated"


@pytest.mark.parametrize("key", ["machine.cpu", "threads", "policy", "video", "pace", "rate", "provider"])
def test_other_conditions_fail_the_gate(key: str, compared) -> None:
    other = changed(PROFILE | {"threads": 2, "pace": "recording"}, key, "another")
    before = PROFILE | {"threads": 2, "pace": "recording"}
    assert [text.split(":")[1].strip() for text in compared(before, other, max_drop=9.0).failures] == [key]
    assert compared(before, other, max_drop=9.0, allow_different=True).failures == ()
    assert compared(before, other).failures == ()
    released = changed(before, "bundle_sha256", "cd") | {"variant": "onnxruntime/float"}
    assert compared(before, released, max_drop=9.0).failures == (), "that is what is compared"


EVALUATED_UNDER = {"provider": "cpu", "threads": 2, "rate": 30.0, "replay": "pi.json", "network_scale": 1.0}


@pytest.mark.parametrize("key", [*EVALUATED_UNDER, "machine.cpu", "settings", "data", "against"])
def test_other_conditions_of_an_evaluation_fail_the_gate(key: str, compared) -> None:
    before = EVALUATION | EVALUATED_UNDER
    other = changed(before, key, "another")
    assert [text.split(":")[1].strip() for text in compared(before, other, max_drop=9.0).failures] == [key]
    assert compared(before, other, max_drop=9.0, allow_different=True).failures == ()


@pytest.mark.parametrize("key", ["provider", "network_scale"])
def test_evaluations_from_before_a_condition_was_recorded(key: str, compared) -> None:
    whole = EVALUATION | EVALUATED_UNDER
    older = changed(whole, key, None)
    for pair in ((older, whole), (whole, older), (older, older)):
        assert compared(*pair, max_drop=0.0).failures == ()


def test_a_run_cut_short_fails_the_gate(compared) -> None:
    broken = PROFILE | {"complete": False, "stopped": "the camera is gone"}
    assert compared(PROFILE, broken, max_regression=99.0).failures == (
        "the second run was cut short: the camera is gone",
    )
    assert compared(PROFILE, broken).failures == ()


@pytest.mark.parametrize("schema", [None, 1, 2, 4, "3"])
def test_other_schemas_are_refused(schema: object, compared) -> None:
    with pytest.raises(OptionError, match="this version reads 3"):
        compared(PROFILE, changed(PROFILE, "schema", schema))


def test_files_without_figures_are_refused(compared) -> None:
    with pytest.raises(OptionError, match="no figure in common"):
        compared({"kind": "profile", "schema": 3}, PROFILE)


def test_null_counts_as_missing(compared) -> None:
    tree = EVALUATION | {"miou": None, "misses": None}
    assert {"mIoU", "missed"}.isdisjoint(each.name for each in compared(tree, EVALUATION).rows)


def test_no_ratio_to_zero(compared) -> None:
    one = row(compared(changed(PROFILE, "first_ms", 0.0), PROFILE, max_regression=0.0), "first frame")
    assert (one.before, one.after, one.ratio) == (0, 300, None)


@pytest.mark.parametrize(
    ("kind", "key", "value", "told"),
    [
        ("profile", "machine.cpu", "slide rule", "machine.cpu: abacus before, slide rule after"),
        ("profile", "rate", 15.0, "rate: 30.0 before, 15.0 after"),
        ("profile", "bundle_sha256", "cd", "bundle_sha256: ab before, cd after"),
        ("profile", "policy", "x" * 99, "policy:  before, " + "x" * 57 + "... after"),
        ("profile", "machine", None, "machine.cpu: abacus before, None after"),
        ("evaluation", "settings", "Every()", "settings: Fixed(period_frames=3) before, Every() after"),
        ("evaluation", "data", "kitti", "data: camvid before, kitti after"),
    ],
)
def test_differences_are_reported(kind: str, key: str, value: object, told: str, compared) -> None:
    assert compared(KINDS[kind], changed(KINDS[kind], key, value)).differences == (told,)


def test_steps_of_both_are_shown(compared) -> None:
    after = changed(PROFILE, "steps_ms", {"tile": {"p50": 9.0}, "infer": {"p50": 70.0}, "broken": {}})
    assert compared(PROFILE, after).steps == {"infer": (80, 70), "tile": (None, 9), "broken": (None, None)}
    assert compared(EVALUATION, EVALUATION).steps == {}


def test_profiles_as_they_are_written(compared) -> None:
    before = make_profile()
    slower = replace(before, latency_ms=quantiles(12.0), missed=20)
    found = compared(before.to_json(), slower.to_json(), max_regression=15.0, max_drop=0.5, max_missed=0.5)
    assert [each.name for each in found.regressions] == ["latency p50", "latency p95", "latency p99", "missed"]
    assert len(found.rows) == len(MEASURES["profile"])
    assert row(found, "missed").before == pytest.approx(100 * before.miss_share)
    assert row(found, "dropped").before == pytest.approx(100 * 25 / 125)
    assert (row(found, "memory").before, found.steps["infer"]) == (before.memory.max, (8, 8))
