"""Measure how frames and a keyframe in the background slow each other down."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_vseg.open_options import OpenOptions
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import Contention
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.steps import Step
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import BackgroundSpan, Frame

CONTENTION_FRAMES = 60
MAX_SECONDS = 12.0
KEYFRAMES, MIN_KEYFRAMES = 24, 4


def measure_contention(
    bundle: Path, same: OpenOptions, threads: int, frames: Sequence[Frame], alone_ms: Mapping[Step, Sequence[float]]
) -> Contention | None:
    """Propagate frames without a pause beside keyframes in the background, and compare with both alone.

    Takes as long as two dozen keyframes, and one more session of the network.

    Args:
        bundle: The bundle.
        same: Its variant and provider.
        threads: Worker threads of each session.
        frames: Consecutive frames; they are played there and back.
        alone_ms: Durations of each step with nothing in the background.

    Returns:
        The factors; ``None`` on one core, and where too few keyframes were done to tell.
    """
    if usable_cores() < 2:
        return None
    policy = Async()
    spans: list[BackgroundSpan] = []
    begin = time.monotonic()
    with Segmenter.open(bundle, policy=policy, threads=threads, options=same) as segmenter:
        images = [frame.image for frame in (*frames, *frames[::-1])]
        for seq, image in enumerate(itertools.cycle(images)):
            done = segmenter(Frame(image=image, seq=seq, capture_ns=time.monotonic_ns())).background
            spans += [span for span in done if span.step == steps.INFER]
            if len(spans) >= KEYFRAMES or time.monotonic() - begin > MAX_SECONDS:
                break
        beside_ms = segmenter.meter.samples_ms()
    of_frame = (steps.motion_step(policy.motion), steps.DECIDE, steps.PROPAGATE)
    if len(spans) < MIN_KEYFRAMES or any(step not in beside_ms for step in of_frame):
        return None
    frame_ms, frame_alone_ms = (sum(_median(ms[step]) for step in of_frame) for ms in (beside_ms, alone_ms))
    background_ms = _median([(span.end_ns - span.start_ns) / 1e6 for span in spans])
    background = background_ms / _median(alone_ms[steps.INFER])
    return Contention(frame=round(max(1.0, frame_ms / frame_alone_ms), 3), background=round(max(1.0, background), 3))


def _median(samples: Sequence[float]) -> float:
    return float(np.median(samples))
