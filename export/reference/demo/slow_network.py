"""Export a network at an input size at which it is slower than the camera."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.evaluation import VariantScore
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.export.reference.demo.input_size import LiveInput, MeasuredInput, choose_input, in_range
from edge_vseg.types import Image, Size

THREADS = 1
"""Of the network, as on a robot that has other work for its cores. The frames need one, too."""
WARM_UPS, TIMED_RUNS = 3, 15
MAX_EXPORTS = 2
"""Other load can spoil a measurement: where the network takes another time than expected, the size is chosen again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowNetwork:
    """A variant that is slower than the camera.

    Attributes:
        bundle: Its bundle.
        variant: Its id.
        input: Input size, frame rate, and what it takes for a frame, measured.
        wanted_rate: The most wanted frame rate.
    """

    bundle: Path
    variant: str
    input: LiveInput
    wanted_rate: float


def live_variant(scores: Sequence[VariantScore]) -> VariantScore:
    """The variant to run live: the first float one, or the fastest if there is none.

    Float, because another input size needs another export, and rounding int8 weights takes minutes.
    """
    return next((score for score in scores if score.precision == "float"), min(scores, key=lambda each: each.total_ms))


def time_network(bundle: Path, variant: str, images: Sequence[Image]) -> float:
    """Median milliseconds from image to label map with :data:`THREADS`, over a few images in turn."""
    with RuntimeOptions(variant=variant, threads=THREADS).open_segmenter(bundle) as segmenter:
        results = [segmenter(images[number % len(images)]) for number in range(WARM_UPS + TIMED_RUNS)]
    return statistics.median(result.latency_ms["total"] for result in results[WARM_UPS:])


def make_slow_network(
    measured: MeasuredInput,
    aspect: float,
    rates: Sequence[float],
    export: Callable[[Size], tuple[Path, str]],
    timer: Callable[[Path, str], float],
) -> SlowNetwork:
    """Export a network at the input size at which it is slower than the camera, and time it there.

    Args:
        measured: How long it takes at some size.
        aspect: Width over height of the video.
        rates: Frames per second, the most wanted first.
        export: Exports it at a size; returns the bundle and the variant.
        timer: Gives the milliseconds that a variant takes.
    """
    chosen = choose_input(measured, aspect, rates)
    for _ in range(MAX_EXPORTS):
        bundle, variant = export(chosen.size_hw)
        network_ms = timer(bundle, variant)
        found = LiveInput(size_hw=chosen.size_hw, rate=chosen.rate, network_ms=network_ms)
        if in_range(found.periods):
            break
        chosen = choose_input(MeasuredInput(size_hw=found.size_hw, network_ms=network_ms), aspect, rates)
        if chosen.size_hw == found.size_hw:  # at another rate, perhaps
            found = chosen
            break
    return SlowNetwork(bundle=bundle, variant=variant, input=found, wanted_rate=rates[0])
