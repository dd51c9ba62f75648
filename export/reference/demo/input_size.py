"""Choose the input size at which a network is slower than the camera."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_vseg.types import Size

PERIODS = 2.0
"""Frame periods that the network should take."""
MIN_PERIODS, MAX_PERIODS = 1.5, 2.5
ALIGNMENT_PX = 32
"""Sides are multiples of this, which every stride of the reference networks divides."""
MIN_PIXELS, MAX_PIXELS = 192 * 256, 850_000
"""Below, a street is not recognized; above, rendering and exporting take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredInput:
    """How long a network takes.

    Attributes:
        size_hw: Its input size.
        network_ms: Milliseconds of a frame, image to label map.
    """

    size_hw: Size
    network_ms: float

    def __post_init__(self) -> None:
        """Raise ValueError if nothing was measured."""
        if not (self.network_ms > 0 and min(self.size_hw) > 0):
            raise ValueError(f"sizes and times are positive, got {self}")

    def expected_ms(self, size_hw: Size) -> float:
        """Milliseconds at another size: a convolutional network takes a time in proportion to its pixels."""
        return self.network_ms * math.prod(size_hw) / math.prod(self.size_hw)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveInput:
    """An input size and a frame rate.

    Attributes:
        size_hw: Input size.
        rate: Frames per second.
        network_ms: Milliseconds that the network takes for a frame there, expected or measured.
    """

    size_hw: Size
    rate: float
    network_ms: float

    @property
    def periods(self) -> float:
        """Frame periods that the network takes."""
        return self.network_ms * self.rate / 1000


def choose_input(measured: MeasuredInput, aspect: float, rates: Sequence[float]) -> LiveInput:
    """The input at which the network takes nearest to :data:`PERIODS` frame periods.

    Args:
        measured: How long it takes at some size.
        aspect: Width over height of the video.
        rates: Frames per second, the most wanted first. A later one is taken where no size brings the network
            between :data:`MIN_PERIODS` and :data:`MAX_PERIODS` at an earlier one.

    Returns:
        The size and rate; those nearest to the range, if none reaches it.
    """
    best = [_nearest(measured, aspect, rate) for rate in rates]
    return next((each for each in best if in_range(each.periods)), min(best, key=_distance))


def in_range(periods: float) -> bool:
    """Whether a network of so many frame periods shows what a deadline is for."""
    return MIN_PERIODS <= periods <= MAX_PERIODS


def _nearest(measured: MeasuredInput, aspect: float, rate: float) -> LiveInput:
    inputs = [
        LiveInput(size_hw=size_hw, rate=rate, network_ms=measured.expected_ms(size_hw)) for size_hw in _sizes(aspect)
    ]
    return min(inputs, key=_distance)


def _distance(candidate: LiveInput) -> float:
    """Half and twice the wanted time are equally far from it."""
    return abs(math.log(candidate.periods / PERIODS))


def _sizes(aspect: float) -> Iterator[Size]:
    """All sizes of an aspect, to the next multiple, that are neither too small nor too large; at least one."""
    heights = range(ALIGNMENT_PX, math.isqrt(MAX_PIXELS) * 2, ALIGNMENT_PX)
    sizes = [(height, max(1, round(height * aspect / ALIGNMENT_PX)) * ALIGNMENT_PX) for height in heights]
    allowed = [size for size in sizes if MIN_PIXELS <= math.prod(size) <= MAX_PIXELS]
    yield from allowed or [min(sizes, key=lambda size: abs(math.prod(size) - MAX_PIXELS))]
