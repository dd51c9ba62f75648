"""Farthest-point sampling against the definition and against the optimum."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_vseg.calibration.frames.farthest_point import fair_shares, farthest_point

COORDINATES = st.integers(-50, 50).map(float)
POINTS = st.integers(1, 9).flatmap(lambda n: arrays(np.float32, (n, 2), elements=COORDINATES))


def naive(points: np.ndarray, count: int, first: int) -> list[int]:
    """The definition, without optimizations."""
    chosen = [first]
    while len(chosen) < min(count, len(points)):
        rest = [index for index in range(len(points)) if index not in chosen]
        gaps = [min(float(np.linalg.norm(points[index] - points[other])) for other in chosen) for index in rest]
        chosen.append(rest[int(np.argmax(np.float32(gaps)))])
    return chosen


def radius(points: np.ndarray, centers: tuple[int, ...] | list[int]) -> float:
    """The largest distance from a point to its nearest center."""
    return max(min(float(np.linalg.norm(point - points[center])) for center in centers) for point in points)


@given(POINTS, st.integers(1, 10), st.integers(0, 99))
def test_matches_the_definition(points, count, seed):
    chosen = farthest_point(points, count, rng=np.random.default_rng(seed)).tolist()
    assert chosen == naive(points, count, chosen[0])


@given(POINTS, st.integers(1, 4), st.integers(0, 99))
def test_is_at_most_twice_the_optimum(points, count, seed):
    chosen = farthest_point(points, count, rng=np.random.default_rng(seed))
    best = min(radius(points, centers) for centers in combinations(range(len(points)), min(count, len(points))))
    assert radius(points, chosen.tolist()) <= 2 * best + 1e-4


@given(POINTS, st.integers(0, 99))
def test_a_prefix_is_a_sample_of_fewer(points, seed):
    whole = farthest_point(points, len(points), rng=np.random.default_rng(seed))
    part = farthest_point(points, len(points) // 2, rng=np.random.default_rng(seed))
    assert whole[: len(part)].tolist() == part.tolist()
    assert sorted(whole.tolist()) == list(range(len(points)))


def test_one_of_each_cluster_comes_first():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [100, 0], [0, 100], [100, 100]])
    points = np.concatenate([center + rng.normal(0, 1, (50, 2)) for center in centers]).astype(np.float32)
    chosen = farthest_point(points, 4, rng=rng)
    assert sorted((chosen // 50).tolist()) == [0, 1, 2, 3]


def test_the_generator_draws_the_first_point():
    points = np.random.default_rng(0).random((200, 3), dtype=np.float32)
    again = [farthest_point(points, 20, rng=np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_of_zero_gives_no_points(count):
    assert farthest_point(np.zeros((3, 2), np.float32), count, rng=np.random.default_rng(0)).size == 0


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.data())
def test_fair_shares(sizes, data):
    count = data.draw(st.integers(1, sum(sizes)))
    shares = fair_shares(np.array(sizes), count)
    assert shares.sum() >= count
    assert (shares <= sizes).all()
    # Lower by one for all, and it would not be enough.
    assert np.minimum(sizes, shares.max() - 1).sum() < count


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_groups_give_at_most_their_fair_share(sizes, data):
    total = sum(sizes)
    count = data.draw(st.integers(1, total))
    groups = np.repeat(np.arange(len(sizes)), sizes) * 7
    points = np.random.default_rng(total).random((total, 3), dtype=np.float32)
    chosen = farthest_point(points, count, rng=np.random.default_rng(0), groups=groups)
    assert len(set(chosen.tolist())) == count
    given_by = np.bincount(groups[chosen] // 7, minlength=len(sizes))
    assert (given_by <= fair_shares(np.array(sizes), count)).all()
