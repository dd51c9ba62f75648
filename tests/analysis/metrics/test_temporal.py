"""Temporal consistency: by hand, against plain indexing and scikit-learn, and on rendered streets with true motion."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from edge_vseg.analysis.metrics import TemporalConsistency
from edge_vseg.export.reference.scenes import NO_EFFECTS, SceneFrame, StreetOptions, render_street
from edge_vseg.export.reference.scenes.geometry import PAVEMENT, ROAD, SKY
from edge_vseg.types import IGNORE_ID


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.uint8)


def by(dx: float, dy: float, size_hw: tuple[int, int] = (1, 4)) -> np.ndarray:
    return np.full((*size_hw, 2), (dx, dy), np.float32)


STILL = by(0, 0)


def test_by_hand() -> None:
    metric = TemporalConsistency(3)
    metric.add(row(0, 0, 1, 1), None)
    metric.add(row(0, 1, 1, 1), STILL)
    assert metric.consistency == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metric.flicker_rate == 1 / 4
    metric.add(row(0, 1, 1, 1), STILL)
    assert metric.consistency == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert metric.flicker_rate == 1 / 8
    assert metric.pairs == 2
    assert math.isnan(metric.needless_flicker)


def test_what_moves_as_it_should_is_steady() -> None:
    """All goes one pixel to the right; what comes in at the left came from outside and does not count."""
    metric = TemporalConsistency(3)
    metric.add(row(0, 0, 1, 1), None)
    metric.add(row(2, 0, 0, 1), by(-1, 0))
    assert (metric.consistency, metric.flicker_rate) == (1, 0)
    still = TemporalConsistency(3)
    still.add(row(0, 0, 1, 1), None)
    still.add(row(2, 0, 0, 1), STILL)
    assert still.flicker_rate == 1 / 2
    assert still.consistency == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)


def test_only_visible_pixels_count() -> None:
    metric = TemporalConsistency(2)
    metric.add(row(0, 0, 1, 1), None)
    metric.add(row(0, 1, 1, 1), STILL, np.array([[True, False, True, True]]))
    assert (metric.consistency, metric.flicker_rate) == (1, 0)
    metric.add(row(1, 0, 0, 0), STILL, np.zeros((1, 4), np.bool_))
    assert metric.pairs == 1


def test_pixels_without_a_class_do_not_count() -> None:
    metric = TemporalConsistency(2)
    metric.add(row(0, IGNORE_ID, 1, 1), None)
    metric.add(row(0, 1, 1, IGNORE_ID), STILL)
    assert (metric.consistency, metric.flicker_rate) == (1, 0)


def test_nothing_is_compared_over_a_cut() -> None:
    metric = TemporalConsistency(2)
    # The first frame has none before it, whatever motion comes with it.
    metric.add(row(0, 0, 0, 0), STILL)
    metric.add(row(1, 1, 1, 1), None)
    assert metric.pairs == 0
    assert math.isnan(metric.consistency)
    assert math.isnan(metric.flicker_rate)
    metric.add(row(1, 1, 1, 1), STILL)
    assert (metric.consistency, metric.flicker_rate, metric.pairs) == (1, 0, 1)
    metric.add(np.zeros((5, 6), np.uint8), None)
    metric.add(np.zeros((5, 6), np.uint8), by(0, 0, (5, 6)))
    assert metric.pairs == 2


def test_needless_flicker_by_hand() -> None:
    """The truth changes in the third pixel; of the other three, the prediction changes in one."""
    metric = TemporalConsistency(2)
    metric.add(row(0, 0, 0, 1), None, truth=row(0, 0, 0, 1))
    metric.add(row(0, 1, 1, 1), STILL, truth=row(0, 0, 1, 1))
    assert metric.flicker_rate == 2 / 4
    assert metric.needless_flicker == 1 / 3
    # A frame without truth is in no such pair, and a pixel without truth, or not visible, neither.
    metric.add(row(1, 0, 0, 0), STILL)
    metric.add(row(0, 1, 1, 1), STILL, truth=row(0, 0, IGNORE_ID, 1))
    assert metric.needless_flicker == 1 / 3
    metric.add(row(0, 0, 0, 0), STILL, np.array([[True, True, True, False]]), row(0, 0, 0, 1))
    assert metric.needless_flicker == 2 / 5


def test_pixels_of_unknown_truth_are_not_needless() -> None:
    metric = TemporalConsistency(2)
    metric.add(row(0, 0, 0, 0), None, truth=row(0, 0, IGNORE_ID, IGNORE_ID))
    metric.add(row(0, 1, 1, 1), STILL, truth=row(0, 0, IGNORE_ID, IGNORE_ID))
    assert metric.flicker_rate == 3 / 4
    assert metric.needless_flicker == 1 / 2


def test_maps_may_be_overwritten_after_the_call() -> None:
    """A segmenter reuses its memory."""
    metric, buffer, truth = TemporalConsistency(2), row(0, 0, 1, 1), row(0, 0, 1, 1)
    metric.add(buffer, None, truth=truth)
    buffer[:], truth[:] = row(0, 1, 1, 1), row(0, 0, 1, 1)
    metric.add(buffer, STILL, truth=truth)
    assert metric.flicker_rate == metric.needless_flicker == 1 / 4
    assert buffer.tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize("seed", range(4))
def test_against_plain_indexing_and_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent reference")
    rng = np.random.default_rng(seed)
    maps, truths = rng.integers(0, 3, (2, 5, 20, 30), np.uint8)
    maps[1:] = np.where(rng.random(maps[1:].shape) < 0.8, maps[:-1], maps[1:])
    truths[1:] = np.where(rng.random(maps[1:].shape) < 0.8, truths[:-1], truths[1:])
    # A tenth off the whole number: far enough from where rounding would be a matter of taste.
    motions = (rng.integers(-4, 5, (5, 20, 30, 2)) + rng.choice([-0.1, 0.1], (5, 20, 30, 2))).astype(np.float32)
    visible = rng.random(maps.shape) < 0.9
    metric = TemporalConsistency(4)
    mious, changes, needless = [], [], []
    for number in range(5):
        motion = motions[number] if number else None
        metric.add(maps[number], motion, visible[number], truths[number])
        if motion is None:
            continue
        y, x = np.mgrid[0:20, 0:30]
        u, v = (np.rint(c + motion[..., i]).astype(int) for i, c in enumerate((x, y)))
        there = (u >= 0) & (u < 30) & (v >= 0) & (v < 20) & visible[number]
        pair = maps[number - 1][v[there], u[there]], maps[number][there]
        mious.append(metrics.jaccard_score(*pair, average="macro"))
        changes.append(pair[0] != pair[1])
        needless.append(changes[-1][truths[number - 1][v[there], u[there]] == truths[number][there]])
    assert metric.consistency == pytest.approx(np.mean(mious))
    assert metric.flicker_rate == pytest.approx(np.concatenate(changes).mean())
    assert metric.needless_flicker == pytest.approx(np.concatenate(needless).mean())


@pytest.fixture(scope="module")
def street() -> list[SceneFrame]:
    return rendered("driving")


def rendered(camera: str) -> list[SceneFrame]:
    options = StreetOptions(size_hw=(180, 240), seed=4, camera=camera, rate=30.0, effects=NO_EFFECTS)
    return list(render_street(options, 6))


def three_classes(labels: np.ndarray) -> np.ndarray:
    """Sky, ground and the rest: far poles and signs, of which a few pixels jump even in the truth, are gone."""
    return np.where(labels == SKY, 0, np.where(np.isin(labels, (ROAD, PAVEMENT)), 1, 2)).astype(np.uint8)


def watched(street: list[SceneFrame], maps: list[np.ndarray], *, moving: bool = True) -> TemporalConsistency:
    metric = TemporalConsistency(11)
    for number, (frame, labels) in enumerate(zip(street, maps, strict=True)):
        motion = frame.motion if moving else np.zeros_like(frame.motion)
        metric.add(labels, motion if number else None, ~frame.occluded, frame.labels)
    return metric


def noisy(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(labels.shape) < share, rng.integers(0, 11, labels.shape, np.uint8), labels)


def test_the_truth_is_steady_along_the_true_motion(street: list[SceneFrame]) -> None:
    metric = watched(street, [three_classes(frame.labels) for frame in street])
    assert metric.consistency > 0.97
    assert metric.flicker_rate < 0.01
    standing = watched(street, [three_classes(frame.labels) for frame in street], moving=False)
    assert standing.flicker_rate > 1.5 * metric.flicker_rate
    assert standing.consistency < metric.consistency


def test_all_classes_are_steady_before_a_fixed_camera() -> None:
    street = rendered("fixed")
    metric = watched(street, [frame.labels for frame in street])
    assert metric.consistency > 0.97
    assert metric.flicker_rate < 0.002
    assert metric.needless_flicker == 0


def test_noise_of_every_frame_is_seen(street: list[SceneFrame]) -> None:
    rng = np.random.default_rng(0)
    seen = [watched(street, [noisy(f.labels, share, rng) for f in street]) for share in (0.0, 0.01, 0.05, 0.2)]
    for better, worse in pairwise(seen):
        assert better.consistency > worse.consistency
        assert better.flicker_rate < worse.flicker_rate
        assert better.needless_flicker < worse.needless_flicker
    for share, metric in zip((0.0, 0.01, 0.05, 0.2), seen, strict=True):
        wrong = share * 10 / 11
        differ = 1 - ((1 - wrong) ** 2 + wrong**2 / 10)
        assert metric.needless_flicker == pytest.approx(differ, rel=0.05)
