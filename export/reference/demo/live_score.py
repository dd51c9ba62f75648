"""Score live runs: what is on the screen when the answer for a frame is due, against the truth of that frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.export.reference.demo.live_run import LiveAnswer
from edge_vseg.types import IGNORE_ID, Image, LabelMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveClip:
    """A video to run live.

    Attributes:
        images: ``(H, W, 3)`` uint8 BGR.
        truths: ``(H, W)`` uint8 label maps, as many; empty without ground truth.
        rate: Frames per second.
        deadline_ms: Milliseconds from the arrival of a frame to its answer.
        lead_in: First frames, which run but do not count: the first one has nothing to warp, and costs are unknown.
        classes: Number of classes.
    """

    images: Sequence[Image]
    truths: Sequence[LabelMap]
    rate: float
    deadline_ms: float
    lead_in: int
    classes: int

    @property
    def scored(self) -> range:
        """Numbers of the frames that count."""
        return range(self.lead_in, len(self.images))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScore:
    """Figures of a live run.

    Attributes:
        name: What ran.
        streaming_miou: mIoU of the newest map that is there when a frame's answer is due, against the frame's truth.
        latency: Milliseconds from the arrival of a frame to its own map, of the frames that have one.
        misses: Share of the frames without a map of their own when it is due.
        dropped: Share of the frames that never get one.
        age_ms: Mean milliseconds from the capture of the image that the shown labels come from to the frame's.
    """

    name: str
    streaming_miou: float
    latency: LatencySummary
    misses: float
    dropped: float
    age_ms: float


def shown_when_due(
    answers: Sequence[LiveAnswer], frames: int, rate: float, deadline_ms: float
) -> list[LiveAnswer | None]:
    """The newest answer that is there ``deadline_ms`` after the arrival of each frame; ``None`` before the first.

    Args:
        answers: In order of their frames, which is the order in which they were done.
        frames: Number of frames.
        rate: Frames per second.
        deadline_ms: Milliseconds from the arrival of a frame to its answer.
    """
    shown: list[LiveAnswer | None] = []
    newest: LiveAnswer | None = None
    waiting = list(answers)
    for seq in range(frames):
        due_ms = 1000 * seq / rate + deadline_ms
        while waiting and waiting[0].done_ms(rate) <= due_ms:
            newest = waiting.pop(0)
        shown.append(newest)
    return shown


def score_live(name: str, answers: Sequence[LiveAnswer], clip: LiveClip, truths: Sequence[LabelMap]) -> LiveScore:
    """Score a live run.

    Args:
        name: What ran.
        answers: Its answers, at least one.
        clip: The video.
        truths: What to compare with, a map for each frame; those of the lead-in are not read.
    """
    shown = shown_when_due(answers, len(clip.images), clip.rate, clip.deadline_ms)
    own = [answer for answer in answers if answer.seq >= clip.lead_in]
    count = len(clip.scored)
    in_time = sum(answer.latency_ms <= clip.deadline_ms for answer in own)
    ages = [map_age_ms(answer, seq, clip.rate) for seq in clip.scored if (answer := shown[seq]) is not None]
    maps = [None if (answer := shown[seq]) is None else answer.result.labels for seq in clip.scored]
    return LiveScore(
        name=name,
        streaming_miou=mean_iou(maps, [truths[seq] for seq in clip.scored], clip.classes),
        latency=LatencySummary.of([answer.latency_ms for answer in own or answers[-1:]]),
        misses=1 - in_time / count,
        dropped=1 - len(own) / count,
        age_ms=float(np.mean(ages)) if ages else 0.0,
    )


def map_age_ms(answer: LiveAnswer, seq: int, rate: float) -> float:
    """Milliseconds from the image that an answer's labels come from to the capture of frame ``seq``."""
    return answer.result.map_age_ms + 1000 * (seq - answer.seq) / rate


def mean_iou(maps: Sequence[LabelMap | None], truths: Sequence[LabelMap], classes: int) -> float:
    """The mIoU over the classes that occur, all frames together; a map that is not there is wrong everywhere."""
    counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)
    for labels, truth in zip(maps, truths, strict=True):
        shown = labels if labels is not None else np.full_like(truth, IGNORE_ID)
        counts += count_pairs(truth, shown, classes)
    return mean_of_defined(intersection_over_union(counts))
