"""Streaming mIoU against a simulation of the worker that knows all latencies beforehand."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.analysis.metrics import Confusion, StreamingMiou
from edge_vseg.types import IGNORE_ID

CLASSES = 3


def simulated(periods: Sequence[Fraction]) -> tuple[list[int | None], int]:
    """Of every frame, whose map is shown at its capture; and how many frames were dropped by the last capture.

    Time is in frame periods. The worker, when free, takes the newest frame captured by then, or waits for the next.
    """
    finished: list[tuple[Fraction, int]] = []
    free, last = Fraction(0), len(periods) - 1
    while free <= last:
        newest = math.floor(free)
        if finished and newest <= finished[-1][1]:
            free = Fraction(newest + 1)
            continue
        free += periods[newest]
        finished.append((free, newest))
    ends = [end for end, _ in finished]
    done = [bisect.bisect_right(ends, now) for now in range(len(periods))]
    shown = [finished[number - 1][1] if number else None for number in done]
    begun = {seq for _, seq in finished}
    # What came after the last one begun waits, but for the newest of it, in vain.
    dropped = sum(seq not in begun and seq != last for seq in range(len(periods)))
    return shown, dropped


def maps(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    truth, labels = rng.integers(0, CLASSES, (2, frames, 4, 5), np.uint8)
    truth[rng.random(truth.shape) < 0.1] = IGNORE_ID
    labels[rng.random(truth.shape) < 0.1] = IGNORE_ID
    return truth, labels


def iou_by_sets(truth: np.ndarray, shown: np.ndarray) -> list[float]:
    counted = truth != IGNORE_ID
    result = []
    for class_id in range(CLASSES):
        true, found = (truth == class_id) & counted, (shown == class_id) & counted
        union = (true | found).sum()
        result.append((true & found).sum() / union if union else math.nan)
    return result


def streamed(truth: np.ndarray, labels: np.ndarray, latencies_ms: Sequence[float], rate: float = 10.0) -> StreamingMiou:
    metric = StreamingMiou(CLASSES, rate)
    for one in zip(truth, labels, latencies_ms, strict=True):
        metric.add(*one)
    return metric


def check_against_simulation(seed: int, periods: Sequence[Fraction], rate: float) -> None:
    truth, labels = maps(np.random.default_rng(seed), len(periods))
    metric = streamed(truth, labels, [float(p) * 1000 / rate for p in periods], rate)
    shown, dropped = simulated(periods)
    nothing = np.full_like(truth[0], IGNORE_ID)
    expected = iou_by_sets(truth, np.stack([nothing if seq is None else labels[seq] for seq in shown]))
    np.testing.assert_allclose(metric.iou, expected)
    assert metric.miou == pytest.approx(np.nanmean(expected))
    assert metric.dropped == dropped
    ages = [now - seq for now, seq in enumerate(shown) if seq is not None]
    assert metric.unanswered == len(periods) - len(ages)
    assert metric.mean_age_frames == (pytest.approx(np.mean(ages)) if ages else pytest.approx(math.nan, nan_ok=True))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.sampled_from([4, 12]),
    st.sampled_from([1.0, 7.5, 15.0, 29.97, 30.0, 1000.0]),
)
def test_against_simulation(seed: int, parts: list[int], parts_of_a_period: int, rate: float) -> None:
    """Latencies in quarters and twelfths of a period, so that ties are frequent, and up to 15 periods long."""
    check_against_simulation(seed, [Fraction(part, parts_of_a_period) for part in parts], rate)


@pytest.mark.parametrize("periods", [Fraction(3, 2), Fraction(4, 3), Fraction(1), Fraction(7, 3)], ids=str)
def test_ties_stay_ties_on_long_runs(periods: Fraction) -> None:
    """Milliseconds are rounded; after 1500 frames without a pause a tie is still one."""
    check_against_simulation(0, [periods] * 1500, 30.0)


def one_pixel(*ids: int) -> np.ndarray:
    return np.array(ids, np.uint8).reshape(-1, 1, 1)


def test_by_hand() -> None:
    """Ten frames a second, 150 ms for each map.

    Frame 0 is done at 150 ms, then frame 1, the newest, until 300 ms: exactly at the capture of frame 3, which is taken
    at once, so that frame 2 is dropped. It is done at 450 ms, and frame 4, captured at 400, is begun.
    """
    truth = one_pixel(0, 0, 0, 1, 1, 1)
    metric = streamed(truth, truth, [150.0] * 6)
    # Shown: nothing, nothing, map 0, map 1, map 1, map 3.
    assert metric.unanswered == 2
    assert metric.dropped == 1
    assert metric.mean_age_frames == (2 + 2 + 3 + 2) / 4
    # Class 0: missed twice, right once, and shown twice for 1. Class 1: right once, taken for 0 twice.
    np.testing.assert_allclose(metric.iou, [1 / 5, 1 / 3, np.nan])
    assert metric.miou == pytest.approx((1 / 5 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("latency_ms", "age", "unanswered", "dropped"),
    [
        (0.0, 0, 0, 0),
        (1.0, 1, 1, 0),
        (99.0, 1, 1, 0),
        (100.0, 1, 1, 0),
        (101.0, 2, 2, 0),
        (200.0, (2 + 3) / 2, 2, 9),
        (1e6, math.nan, 20, 18),
    ],
)
def test_constant_latencies(latency_ms: float, age: float, unanswered: int, dropped: int) -> None:
    """Even a fast network is seen one frame late; one that takes two periods drops every other frame."""
    truth = np.zeros((20, 1, 1), np.uint8)
    metric = streamed(truth, truth, [latency_ms] * 20)
    assert metric.mean_age_frames == pytest.approx(age, nan_ok=True)
    assert metric.unanswered == unanswered
    # A little over a period, the worker falls behind by one frame in a hundred.
    assert metric.dropped == dropped
    assert metric.miou == pytest.approx(1 - unanswered / 20)


def test_latency_zero_is_the_ordinary_miou() -> None:
    truth, labels = np.random.default_rng(0).integers(0, CLASSES, (2, 9, 6, 7), np.uint8)
    confusion = Confusion(CLASSES)
    for pair in zip(truth, labels, strict=True):
        confusion.add(*pair)
    metric = streamed(truth, labels, [0.0] * 9)
    assert metric.miou == confusion.mean_iou
    np.testing.assert_array_equal(metric.iou, confusion.iou)
    assert (metric.dropped, metric.unanswered, metric.mean_age_frames) == (0, 0, 0)


def test_slower_is_worse_however_good_the_maps() -> None:
    """A square that moves a pixel a frame, segmented without fault."""
    truth = np.zeros((40, 20, 60), np.uint8)
    for number, one in enumerate(truth):
        one[5:15, number : number + 10] = 1
    mious = [streamed(truth, truth, [100.0 * periods] * 40).miou for periods in (0, 0.5, 1.5, 3, 6, 12)]
    assert mious[0] == 1
    assert mious == sorted(mious, reverse=True)
    assert len(set(mious)) == len(mious)


def test_missed_pixels_burden_their_own_class_alone() -> None:
    metric = streamed(one_pixel(0, 1, 1, 1), one_pixel(1, 1, 1, 1), [50.0] * 4)
    np.testing.assert_array_equal(metric.iou, [0, 1, np.nan])


def test_nothing_counted() -> None:
    assert math.isnan(StreamingMiou(2, 30).miou)
    assert math.isnan(StreamingMiou(2, 30).mean_age_frames)
    assert np.isnan(StreamingMiou(2, 30).iou).all()


def test_cut_starts_another_video() -> None:
    truth = one_pixel(0, 0, 0)
    metric = streamed(truth, truth, [250.0, 0.0, 0.0])
    assert (metric.unanswered, metric.dropped) == (3, 1)
    metric.cut()
    metric.add(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8), 0.0)
    assert (metric.unanswered, metric.dropped, metric.mean_age_frames) == (3, 1, 0)
    np.testing.assert_array_equal(metric.iou, [9 / 12, np.nan, np.nan])


def test_maps_may_be_overwritten_after_the_call() -> None:
    """A segmenter reuses its memory."""
    metric, buffer = StreamingMiou(2, 10.0), np.zeros((1, 1), np.uint8)
    metric.add(np.zeros((1, 1), np.uint8), buffer, 50.0)
    buffer[:] = 1
    metric.add(np.zeros((1, 1), np.uint8), buffer, 50.0)
    np.testing.assert_array_equal(metric.iou, [1 / 2, np.nan])
