"""The cost meter: medians, the margin of whole frames, first runs, and decay."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.scheduling import steps
from edge_vseg.scheduling.costs import HALF_LIFE_FRAMES, SAFETY_FACTOR, WINDOW_SAMPLES, CostMeter
from edge_vseg.scheduling.latency_margin import MAX_MARGIN, UNMEASURED, LatencyMargin
from edge_vseg.scheduling.steps import Step, motion_step, slice_step


def fill(meter: CostMeter, step: Step, milliseconds: list[float]) -> None:
    for value in milliseconds:
        meter.add(step, round(value * 1e6))


def test_unmeasured_costs_get_a_safety_factor() -> None:
    assert CostMeter(0, {steps.INFER: 10.0}).usual_ms(steps.INFER) == pytest.approx(10 * SAFETY_FACTOR)
    assert CostMeter(0, {steps.INFER: 10.0}, safety_factor=1.0).usual_ms(steps.INFER) == 10
    assert CostMeter(0).usual_ms(steps.INFER) == 0


def test_a_cost_is_the_median_of_recent_samples_times_the_margin() -> None:
    meter, samples = CostMeter(0), list(np.random.default_rng(0).uniform(1, 9, 3 * WINDOW_SAMPLES))
    fill(meter, steps.INFER, samples)
    expected = np.quantile(samples[-WINDOW_SAMPLES:], 0.5, method="higher")
    assert meter.usual_ms(steps.INFER) == pytest.approx(expected, rel=1e-6)
    assert meter.expected_ms(steps.INFER) == pytest.approx(UNMEASURED * expected, rel=1e-6)


def test_the_margin_covers_99_of_100_frames_and_wastes_little() -> None:
    """Ten steps that vary independently: the sum of their own high quantiles would be far too much."""
    rng, meter = np.random.default_rng(1), CostMeter(10)
    late, sums, tails = 0, [], []
    for number in range(2000):
        meter.begin_frame()
        expected = sum(meter.expected_ms(slice_step(part)) for part in range(10))
        durations = rng.lognormal(0, 0.3, 10)
        for part, duration in enumerate(durations):
            meter.add(slice_step(part), round(duration * 1e6))
        meter.end_frame(float(durations.sum()), expected)
        if number > 200:
            late += durations.sum() > expected
            sums.append(expected)
            tails.append(durations.sum())
    assert late < 0.015 * len(sums)
    of_each = 10 * float(np.quantile(rng.lognormal(0, 0.3, 10000), 0.9))
    assert np.mean(sums) < of_each
    assert np.mean(sums) < 1.15 * np.quantile(tails, 0.99)


def test_jitter_on_cheap_frames_makes_nothing_else_dearer() -> None:
    """A still scene of 0.35 ms a frame, with 0.4 ms of jitter now and then, under a deadline of 20 ms."""
    meter = CostMeter(1)
    for number in range(400):
        meter.begin_frame()
        meter.add(steps.PROPAGATE, 350_000)
        meter.end_frame(0.35 + 0.4 * (number % 50 == 0), 20.0)
    assert meter.margin.factor <= UNMEASURED
    for number in range(400):  # where they take their share of it they tell
        meter.begin_frame()
        meter.add(slice_step(0), 10_000_000)
        meter.end_frame(10.0 + 5.0 * (number % 50 == 0), 20.0)
    assert meter.margin.factor == pytest.approx(1.5, abs=0.01)


def test_misses_widen_the_margin_and_frames_in_time_narrow_it() -> None:
    margin = LatencyMargin()
    for _ in range(64):
        margin.add(1.0, missed=False)
    assert margin.factor == 1
    for _ in range(4):
        margin.add(1.0, missed=True)
    wide = margin.factor
    assert wide > 1.15
    for _ in range(400):
        margin.add(1.0, missed=False)
    assert 1 < margin.factor < wide
    for _ in range(400):
        margin.add(9.0, missed=True)
    assert margin.factor == MAX_MARGIN


def test_a_first_run_counts_only_until_the_second() -> None:
    meter = CostMeter(0)
    fill(meter, steps.INFER, [90.0])
    assert meter.usual_ms(steps.INFER) == pytest.approx(90 * SAFETY_FACTOR)
    fill(meter, steps.INFER, [10.0] * 5)
    assert meter.usual_ms(steps.INFER) == 10


def test_an_unmeasured_network_costs_no_less_than_its_slices() -> None:
    meter = CostMeter(2, {steps.INFER: 4.0})
    fill(meter, slice_step(0), [20.0] * 5)
    fill(meter, slice_step(1), [30.0] * 5)
    assert meter.costs().infer_ms == pytest.approx(50 * UNMEASURED)
    fill(meter, steps.INFER, [40.0] * 5)
    assert meter.costs().infer_ms == pytest.approx(40 * UNMEASURED)


def test_the_network_takes_what_it_takes_here_and_not_where_it_was_exported() -> None:
    meter = CostMeter(2, {steps.INFER: 4.0})
    assert meter.network_ms() == pytest.approx(4 * SAFETY_FACTOR)
    fill(meter, slice_step(0), [20.0] * 5)
    fill(meter, slice_step(1), [30.0] * 5)
    assert meter.network_ms() == 50
    assert not meter.has_measured(steps.BACKGROUND)
    for _ in range(5):
        meter.record(steps.BACKGROUND, 70_000_000)
    assert meter.network_ms() == 70, "beside other work, and with waits"
    assert meter.has_measured(steps.BACKGROUND)
    fill(meter, steps.INFER, [90.0] * 5)
    assert meter.network_ms() == 90
    fill(meter, slice_step(0), [100.0] * 40)
    assert meter.network_ms() == 90, "it was run whole"


def test_costs_decay_while_a_step_is_not_run() -> None:
    meter = CostMeter(0)
    fill(meter, steps.INFER, [5.0] * 12 + [50.0] * 20)
    bad = meter.usual_ms(steps.INFER)
    assert bad == 50
    for _ in range(HALF_LIFE_FRAMES):
        meter.begin_frame()
        meter.end_frame(1.0)
    assert meter.usual_ms(steps.INFER) == pytest.approx(5 + (bad - 5) / 2)
    for _ in range(10 * HALF_LIFE_FRAMES):
        meter.end_frame(1.0)
    assert meter.usual_ms(steps.INFER) == pytest.approx(5, rel=0.02)


def test_costs_include_this_motion_and_list_all_known_ones() -> None:
    meter = CostMeter(2, {motion_step("dis-fine"): 3.0}, safety_factor=1.0)
    for step, value in (
        (steps.PREPROCESS, 0.3),
        (steps.DECIDE, 0.2),
        (steps.LABELS, 0.7),
        (motion_step("dis"), 2.0),
        (slice_step(0), 4.0),
        (steps.TILE, 6.0),
    ):
        fill(meter, step, [value] * 8)
    costs, margin = meter.costs(2.0), UNMEASURED
    assert (costs.fixed_ms, costs.motion_ms) == pytest.approx((2.0 + 0.2 * margin, 2.0))
    assert dict(costs.motions_ms) == pytest.approx({"dis-fine": 3.0 * margin, "dis": 2.0 * margin})
    assert costs.slices_ms == pytest.approx((4.0 * margin, 0.0))
    assert (costs.tile_ms, costs.input_ms) == pytest.approx((6.0 * margin, 0.3 * margin))
    assert meter.costs().fixed_ms == pytest.approx(0.2 * margin)
    assert meter.costs().fuse_ms == pytest.approx(0.7 * margin), "a new label map comes with fresh scores"
