"""The cost meter: quantiles, first runs, and decay."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.scheduling.costs import COST_QUANTILE, HALF_LIFE_FRAMES, SAFETY_FACTOR, WINDOW_SAMPLES, CostMeter


def fill(meter: CostMeter, name: str, milliseconds: list[float]) -> None:
    for value in milliseconds:
        meter.add(name, round(value * 1e6))


def test_unmeasured_costs_get_a_safety_factor() -> None:
    assert CostMeter(0, {"infer": 10.0}).expected_ms("infer") == pytest.approx(10 * SAFETY_FACTOR)
    assert CostMeter(0, {"infer": 10.0}, safety_factor=1.0).expected_ms("infer") == 10
    assert CostMeter(0).expected_ms("infer") == 0


def test_a_cost_is_a_high_quantile_of_recent_samples() -> None:
    meter, samples = CostMeter(0), list(np.random.default_rng(0).uniform(1, 9, 3 * WINDOW_SAMPLES))
    fill(meter, "infer", samples)
    expected = np.quantile(samples[-WINDOW_SAMPLES:], COST_QUANTILE, method="higher")
    assert meter.expected_ms("infer") == pytest.approx(expected, rel=1e-6)


def test_a_first_run_counts_only_until_the_second() -> None:
    meter = CostMeter(0)
    fill(meter, "infer", [90.0])
    assert meter.expected_ms("infer") == pytest.approx(90 * SAFETY_FACTOR)
    fill(meter, "infer", [10.0] * 5)
    assert meter.expected_ms("infer") == 10


def test_an_unmeasured_network_costs_no_less_than_its_slices() -> None:
    meter = CostMeter(2, {"infer": 4.0})
    fill(meter, "slice 0", [20.0] * 5)
    fill(meter, "slice 1", [30.0] * 5)
    assert meter.costs().infer_ms == 50
    fill(meter, "infer", [40.0] * 5)
    assert meter.costs().infer_ms == 40


def test_costs_decay_while_a_step_is_not_run() -> None:
    meter = CostMeter(0)
    fill(meter, "infer", [5.0] * 20 + [50.0] * 12)
    bad = meter.expected_ms("infer")
    for _ in range(HALF_LIFE_FRAMES):
        meter.next_frame()
    assert meter.expected_ms("infer") == pytest.approx(5 + (bad - 5) / 2)
    for _ in range(10 * HALF_LIFE_FRAMES):
        meter.next_frame()
    assert meter.expected_ms("infer") == pytest.approx(5, rel=0.02)


def test_costs_include_this_motion_and_list_all_known_ones() -> None:
    meter = CostMeter(2, {"motion dis-fine": 3.0}, safety_factor=1.0)
    for name, value in (
        ("preprocess", 0.3),
        ("decide", 0.2),
        ("labels", 0.7),
        ("close", 0.3),
        ("motion dis", 2.0),
        ("slice 0", 4.0),
        ("tile", 6.0),
    ):
        fill(meter, name, [value] * 8)
    costs = meter.costs("dis")
    assert (costs.before_actions_ms, costs.fixed_ms, costs.motion_ms) == pytest.approx((2.5, 2.8, 2.0))
    assert dict(costs.motions_ms) == {"dis-fine": 3.0, "dis": 2.0}
    assert (costs.slices_ms, costs.tile_ms) == ((4.0, 0.0), 6.0)
    assert meter.costs().fixed_ms == pytest.approx(0.8)
    assert meter.costs().fuse_ms == pytest.approx(0.7), "a new label map comes with fresh scores"
