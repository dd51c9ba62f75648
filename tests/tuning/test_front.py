"""The front of a study and what is recommended of it, against brute force and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.errors import OptionError
from edge_vseg.tuning.front import StudyTrial, dominated_volume, front_of, pareto_front, recommend
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.wish import Figures, Wish

SETTING = Setting(network="n", variant="v", policy="fixed", parameters={"period_frames": 2})
WISH = Wish(rate=30.0, deadline_ms=20.0, cpu_share=0.5)


def figures(quality: float, p99_ms: float, cpu_share: float, *, stopped: bool = False) -> Figures:
    return Figures(
        quality=quality, accuracy=90.0, p50_ms=p99_ms / 2, p99_ms=p99_ms, cpu_share=cpu_share, misses=0.0,
        age_frames=1.0, oldest_frames=3, frames=60, stopped=stopped,
    )  # fmt: skip


def trials(*rows: tuple[float, float, float]) -> list[StudyTrial]:
    return [StudyTrial(number=number, setting=SETTING, figures=figures(*row)) for number, row in enumerate(rows)]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12))
def test_the_front_by_brute_force(points: list[tuple[int, int, int]]) -> None:
    front = pareto_front(points, lambda point: point)
    for point in points:
        beaten = any(all(o <= p for o, p in zip(other, point, strict=True)) and other != point for other in points)
        assert (point in front) == (not beaten)


def test_limits_are_hard() -> None:
    rows = trials((99.0, 20.1, 0.1), (98.0, 20.0, 0.51), (60.0, 20.0, 0.5))
    assert [trial.number for trial in front_of(rows, WISH)] == [2]
    late = StudyTrial(number=9, setting=SETTING, figures=figures(99.0, 5.0, 0.1, stopped=True))
    failed = StudyTrial(number=8, setting=SETTING, figures=None, failure="no costs")
    assert front_of([late, failed], WISH) == []
    assert recommend([late, failed], WISH) == []
    assert WISH.excess(figures(90.0, 30.0, 0.25)) == pytest.approx((0.5, -0.5))
    assert Wish(rate=30.0).excess(figures(90.0, 30.0, 0.25)) == ()


def test_three_recommendations() -> None:
    rows = trials((70.0, 18.0, 0.5), (69.5, 17.0, 0.45), (69.2, 10.0, 0.3), (60.0, 8.0, 0.05), (65.0, 9.0, 0.12))
    named = {each.name: each.trial.number for each in recommend(rows, WISH)}
    # Thrifty is the smallest share within a point of the best; the bend is nearest to (70, 8 ms, 5 %).
    assert named == {"best": 0, "balanced": 4, "thrifty": 2}
    (only,) = recommend(trials((70.0, 18.0, 0.5)), WISH)
    assert only.names == ("best", "balanced", "thrifty"), "one setting may be all three"
    equal = trials((70.0, 18.0, 0.5), (60.0, 8.0, 0.1), (70.0, 18.0, 0.5))
    assert [trial.number for trial in front_of(equal, WISH)] == [0, 1], "of equal ones the first"


@pytest.mark.parametrize(
    ("points", "volume"),
    [
        ([], 0.0),
        ([(0.0, 0.0)], 1.0),
        ([(0.5, 0.5)], 0.25),
        ([(0.5, 0.0), (0.0, 0.5)], 0.75),
        ([(1.0, 0.0)], 0.0),
    ],
)
def test_the_dominated_volume(points: list[tuple[float, float]], volume: float) -> None:
    assert dominated_volume(points, worst=(1.0, 1.0), best=(0.0, 0.0)) == pytest.approx(volume, abs=0.005)


def test_the_dominated_volume_by_inclusion_and_exclusion() -> None:
    a, b = np.array((0.2, 0.6, 0.5)), np.array((0.7, 0.1, 0.3))
    exact = (1 - a).prod() + (1 - b).prod() - (1 - np.maximum(a, b)).prod()
    assert dominated_volume([a, b], (1, 1, 1), (0, 0, 0)) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": float("inf")}, "rate must be positive"),
        ({"rate": 30.0, "deadline_ms": -1.0}, "deadline must be positive"),
        ({"rate": 30.0, "cpu_share": 50.0}, r"in \(0, 1\], got 50.0; 0.5 is half"),
    ],
)
def test_impossible_wishes(wish: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Wish(**wish)
