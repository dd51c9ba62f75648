"""Measure how frames and a keyframe in the background slow each other down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import Contention
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.steps import Step
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.types import BackgroundSpan, Frame

CONTENTION_FRAMES = 60
PERIOD_S = 1 / 30
"""Frames arrive like those of a camera: between them the background has the machine to itself."""
MIN_SAMPLES = 3


def measure_contention(
    bundle: Path, variant: str, threads: int, frames: Sequence[Frame], alone_ms: Mapping[Step, Sequence[float]]
) -> Contention | None:
    """Run keyframes in the background while frames are propagated, and compare with both alone.

    Takes two seconds and one more session of the network.

    Args:
        bundle: The bundle.
        variant: Id of the variant.
        threads: Worker threads of each session.
        frames: Consecutive frames.
        alone_ms: Durations of each step with nothing in the background.

    Returns:
        The factors; ``None`` on one core, and where too few keyframes were done to tell.
    """
    if usable_cores() < 2:
        return None
    policy = Async()
    with Segmenter.open(bundle, policy=policy, threads=threads, options=OpenOptions(variant=variant)) as segmenter:
        spans: list[BackgroundSpan] = []
        answers: list[tuple[int, int]] = []
        for frame in frames:
            arrived_ns = time.monotonic_ns()
            result = segmenter(frame)
            answers.append((arrived_ns, result.done_ns))
            spans += result.background
            time.sleep(max(0.0, PERIOD_S - (time.monotonic_ns() - arrived_ns) / 1e9))
        beside_ms = segmenter.meter.samples_ms()
    of_frame = (steps.motion_step(policy.motion), steps.DECIDE, steps.PROPAGATE)
    if len(spans) < MIN_SAMPLES or any(step not in beside_ms for step in of_frame):
        return None
    frame_ms, frame_alone_ms = (sum(_median(ms[step]) for step in of_frame) for ms in (beside_ms, alone_ms))
    # Without what frames took meanwhile: replays let the background stand still then.
    background = _median([_between_ms(span, answers) for span in spans]) / _median(alone_ms[steps.INFER])
    return Contention(frame=round(max(1.0, frame_ms / frame_alone_ms), 3), background=round(max(1.0, background), 3))


def _between_ms(span: BackgroundSpan, answers: Sequence[tuple[int, int]]) -> float:
    """Milliseconds of a span in which no frame was answered."""
    overlap = sum(max(0, min(span.end_ns, end) - max(span.start_ns, start)) for start, end in answers)
    return (span.end_ns - span.start_ns - overlap) / 1e6


def _median(samples: Sequence[float]) -> float:
    return float(np.median(samples))
