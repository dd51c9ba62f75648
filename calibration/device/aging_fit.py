"""Fit how fresh details on an old context, and tiles, age compared with carried maps. Needs no labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle import open_bundle
from edge_vseg.imaging.label_maps import best_class
from edge_vseg.open_options import OpenOptions
from edge_vseg.scheduling.policies import Feature, Fixed, Policy
from edge_vseg.scheduling.situation import DEFAULT_AGING, Aging
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, LabelMap

PERIOD_FRAMES = 8
"""Frames from one keyframe or context to the next: every age below it is compared."""
MAX_PER_FRAME, MAX_BASE_FRAMES = 2.0, 20.0
MIN_SLOPE = 1e-4
"""Share of pixels a frame; below it nothing ages on the video, and nothing can be learnt from it."""


def fit_aging(
    bundle: Path, same: OpenOptions, threads: int, frames: Sequence[Frame], truth: Sequence[LabelMap]
) -> Aging:
    """Compare carried maps and fresh details of every age with what the whole network gives.

    Args:
        bundle: The bundle.
        same: Its variant and provider.
        threads: Worker threads.
        frames: Consecutive frames.
        truth: ``(h, w)`` uint8 label maps of the whole network for them, at the size of its scores.

    Returns:
        The fit; default values for what cannot be told from the frames.
    """
    variant = open_bundle(bundle).manifest.variant(same.variant)
    tile_error = 1 - variant.tile.agreement if variant.tile is not None else DEFAULT_AGING.tile_error
    if variant.context is None or len(frames) < 3 * PERIOD_FRAMES:
        return Aging(tile_error=tile_error)
    motion = "dis"
    carried, reused = (
        _errors(bundle, same, threads, policy, frames, truth)
        for policy in (
            Fixed(period_frames=PERIOD_FRAMES, motion=motion),
            Feature(period_frames=PERIOD_FRAMES, motion=motion),
        )
    )
    slope, start = _line(carried)
    if slope < MIN_SLOPE:
        return Aging(tile_error=tile_error)
    context_slope, context_start = _line(reused)
    per_frame = float(np.clip(context_slope / slope, 0, MAX_PER_FRAME))
    base = float(np.clip((context_start - start) / slope, 0, MAX_BASE_FRAMES))
    return Aging(context_per_frame=round(per_frame, 4), context_base=round(base, 4), tile_error=tile_error)


def _errors(
    bundle: Path, same: OpenOptions, threads: int, policy: Policy, frames: Sequence[Frame], truth: Sequence[LabelMap]
) -> NDArray[np.float64]:
    """Mean share of pixels that differ, by age of the map or context: ``(PERIOD_FRAMES,)``."""
    sums, counts = np.zeros(PERIOD_FRAMES), np.zeros(PERIOD_FRAMES)
    with Segmenter.open(bundle, policy=policy, threads=threads, options=same) as segmenter:
        for number, (frame, labels) in enumerate(zip(frames, truth, strict=True)):
            probabilities = segmenter(frame).probabilities
            assert probabilities is not None
            sums[number % PERIOD_FRAMES] += np.mean(best_class(probabilities) != labels)
            counts[number % PERIOD_FRAMES] += 1
    return np.asarray(sums / np.maximum(counts, 1), np.float64)


def _line(errors: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and start of the line through the errors from age 1 on: at age 0 the whole network has run."""
    slope, start = np.polyfit(np.arange(1, len(errors)), errors[1:], 1)
    return float(slope), float(start)
