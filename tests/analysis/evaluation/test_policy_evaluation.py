"""A policy against every frame: what is timed, and what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import EvaluationOptions, evaluate_policy
from edge_vseg.scheduling.policies import EveryFrame
from edge_vseg.types import IGNORE_ID

ONNX = EvaluationOptions(runtime="onnxruntime", threads=1)


def labelled(drive: list[np.ndarray], step_s: float) -> list[LabelledFrame]:
    truth = np.zeros(drive[0].shape[:2], np.uint8)
    return [
        LabelledFrame(image=image, labels=truth, clip="a", time_s=number * step_s) for number, image in enumerate(drive)
    ]


def test_frames_that_do_not_follow_each_other_are_not_compared(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    near = evaluate_policy(sliced_bundle, labelled(drive, 0.07), EveryFrame(), replace(ONNX, video_rate=15.0))
    far = evaluate_policy(sliced_bundle, labelled(drive, 1.0), EveryFrame(), ONNX)
    assert near.miou == far.miou
    assert near.quality.consistency is not None
    assert near.quality.vc["8"] is not None
    assert near.quality.streaming_miou is not None
    assert (far.quality.consistency, far.quality.vc["8"], far.quality.streaming_miou) == (None, None, None)


def test_the_first_frame_is_no_part_of_the_milliseconds(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    taken: list[tuple[float, float]] = []
    frames = [replace(frame, labels=np.full_like(frame.labels, IGNORE_ID)) for frame in labelled(drive, 0.07)]
    score = evaluate_policy(
        sliced_bundle,
        frames,
        EveryFrame(),
        ONNX,
        observe=lambda frame, result, every_ms: taken.append((result.latency_ms["total"], every_ms)),
    )
    ours, theirs = np.array(taken[1:]).T
    assert (score.timing.max, score.every_frame.max) == (ours.max(), theirs.max())
    assert (score.timing.mean, score.frames) == (ours.mean(), len(drive))
    assert score.cost == ours.mean() / theirs.mean()
