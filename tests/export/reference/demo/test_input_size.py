"""The input size at which a network is slower than the camera."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.export.reference.demo.input_size import MAX_PIXELS, MIN_PIXELS, MeasuredInput, choose_input, in_range

MEASURED_HW = (360, 480)
RATES = (30.0, 60.0, 15.0)


def periods_at(network_ms: float, size_hw: tuple[int, int], rate: float) -> float:
    return network_ms * size_hw[0] * size_hw[1] / (360 * 480) * rate / 1000


@pytest.mark.parametrize(
    ("network_ms", "size_hw", "rate"),
    [
        (20.0, (640, 864), 30.0),  # 64 ms
        (60.0, (384, 512), 30.0),  # 68 ms
        (8.0, (736, 992), 60.0),  # 34 ms: at most 39 ms is possible, too little for 30 frames per second
        (400.0, (224, 288), 15.0),  # 149 ms
    ],
    ids=["desktop", "slower", "fast", "slow"],
)
def test_two_periods_of_the_first_rate_that_can_have_them(
    network_ms: float, size_hw: tuple[int, int], rate: float
) -> None:
    chosen = choose_input(MeasuredInput(size_hw=MEASURED_HW, network_ms=network_ms), 4 / 3, RATES)
    assert (chosen.size_hw, chosen.rate) == (size_hw, rate)
    assert chosen.network_ms == pytest.approx(1000 * periods_at(network_ms, size_hw, 1.0))
    assert in_range(chosen.periods)


@given(network_ms=st.floats(0.5, 3000.0), aspect=st.floats(0.5, 2.5))
def test_nothing_better_exists(network_ms: float, aspect: float) -> None:
    chosen = choose_input(MeasuredInput(size_hw=MEASURED_HW, network_ms=network_ms), aspect, RATES)
    height, width = chosen.size_hw
    assert height % 32 == 0
    assert width % 32 == 0
    assert MIN_PIXELS <= height * width <= MAX_PIXELS
    assert abs(width - height * aspect) <= 16.0001
    sizes = itertools.product(range(32, 1500, 32), range(32, 1800, 32))
    allowed = [(h, w) for h, w in sizes if MIN_PIXELS <= h * w <= MAX_PIXELS and abs(w - h * aspect) <= 15.9999]
    distances = {
        rate: min(abs(math.log2(periods_at(network_ms, size_hw, rate)) - 1) for size_hw in allowed) for rate in RATES
    }
    reachable = [rate for rate in RATES if any(in_range(periods_at(network_ms, size, rate)) for size in allowed)]
    if reachable:
        # Or an earlier one, at a width halfway between two multiples, which may be rounded either way.
        assert RATES.index(chosen.rate) <= RATES.index(reachable[0])
    assert abs(math.log2(chosen.periods) - 1) <= distances[chosen.rate] + 1e-9


def test_a_video_has_its_own_rate() -> None:
    chosen = choose_input(MeasuredInput(size_hw=MEASURED_HW, network_ms=0.1), 16 / 9, (25.0,))
    assert chosen.rate == 25.0
    assert not in_range(chosen.periods)
    assert math.prod(chosen.size_hw) > 0.9 * MAX_PIXELS, "as slow as it gets"


@pytest.mark.parametrize("aspect", [0.01, 40.0])
def test_no_aspect_is_impossible(aspect: float) -> None:
    assert min(choose_input(MeasuredInput(size_hw=MEASURED_HW, network_ms=10), aspect, (30.0,)).size_hw) >= 32


def test_times_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        MeasuredInput(size_hw=MEASURED_HW, network_ms=0.0)
