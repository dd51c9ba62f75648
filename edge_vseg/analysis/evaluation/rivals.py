"""Streaming figures of a policy and of its rivals: what is shown so many milliseconds after each frame's arrival."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_vseg.analysis.evaluation.map_quality import percent
from edge_vseg.analysis.evaluation.newest_frame import AnswerTimes, NewestFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.types import LabelMap

NEWEST_FRAME, NEWEST_FRAME_ASYNC = "newest-frame", "newest-frame-async"
REQUESTS_IN_FLIGHT = 2
"""Of the asynchronous rival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """How well what is shown fits the frames of a stream.

    Attributes:
        miou: mIoU against the truth; ``None`` without labels.
        agreement: Share of pixels with the class that every-frame inference gives.
        age_frames: Mean age of what is shown, in frames since the image that it comes from.
        dropped: Frames that the network never saw, because a newer one came.
        cpu_share: Share of the machine's cores, with all threads of a session counted; ``None`` where that is not
            known from the latencies.
    """

    miou: float | None
    agreement: float
    age_frames: float
    dropped: int
    cpu_share: float | None = None


class ShownFrames(Protocol):
    """Says which frame's map is shown; see :class:`NewestFrame`."""

    dropped: int

    @property
    def load(self) -> float: ...  # noqa: D102

    @property
    def oldest(self) -> int: ...  # noqa: D102

    def add(self, latency_ms: float) -> int: ...  # noqa: D102

    def cut(self) -> None: ...  # noqa: D102


class StreamMeter:
    """Scores what a timeline shows, in the memory of the maps that it may still show.

    Args:
        classes: Number of classes.
        timeline: Which frame's map is shown.
    """

    def __init__(self, classes: int, timeline: ShownFrames) -> None:
        self._timeline = timeline
        self._truth, self._baseline = Confusion(classes), Confusion(classes)
        self._maps: dict[int, tuple[LabelMap, int]] = {}
        self._ages: list[int] = []
        self._seq = 0

    def cut(self) -> None:
        """The next frame does not follow the last one."""
        self._timeline.cut()
        self._maps.clear()
        self._seq = 0

    def add(
        self, truth: LabelMap, baseline: LabelMap, labels: LabelMap, *, latency_ms: float, age_frames: int = 0
    ) -> None:
        """Add the next frame.

        Args:
            truth: ``(H, W)`` uint8; 255 where the class is unknown.
            baseline: ``(H, W)`` uint8, of every-frame inference.
            labels: ``(H, W)`` uint8, the system's map of this frame, whenever it is done.
            latency_ms: Milliseconds that it takes.
            age_frames: Age of that map when it is done at once.
        """
        shown = self._timeline.add(latency_ms)
        self._maps[self._seq] = (labels, age_frames)
        map_shown, age = self._maps[shown]
        self._truth.add(truth, map_shown)
        self._baseline.add(baseline, map_shown)
        self._ages.append(self._seq - shown + age)
        self._maps = {seq: each for seq, each in self._maps.items() if seq >= self._timeline.oldest}
        self._seq += 1

    def figures(self, network_share: float) -> StreamFigures:
        """The figures of all frames so far.

        Args:
            network_share: Share of the machine's cores that the network takes while it runs.
        """
        load = self._timeline.load
        return StreamFigures(
            miou=self._truth.mean_iou if self._truth.matrix.any() else None,
            agreement=self._baseline.pixel_accuracy,
            age_frames=float(np.mean(self._ages)),
            dropped=self._timeline.dropped,
            cpu_share=None if math.isnan(load) else min(1.0, load * network_share),
        )


class Rivals:
    """A policy and its rivals on the same frames: newest-frame-and-drop with one request, and with two in flight.

    Args:
        classes: Number of classes.
        rate: Frames per second that arrive.
        lag_ms: What is shown is judged so long after the arrival of each frame: the deadline.
        cores: Cores of the machine.
        threads: Threads of a session.
        slowdown: Of two requests in flight; ``None`` for as many times as their threads exceed the cores.

    Attributes:
        pairs: Frames that follow another. Without any there was no stream, and the figures say nothing: the first frame
            of each is there at once.
    """

    def __init__(
        self, classes: int, rate: float, *, lag_ms: float, cores: int, threads: int, slowdown: float | None = None
    ) -> None:
        self.pairs = 0
        self._begins = True
        period_ms = 1e3 / rate
        slowdown = max(1.0, REQUESTS_IN_FLIGHT * threads / cores) if slowdown is None else slowdown
        self._network_share = min(1.0, threads / cores)
        self._policy = StreamMeter(classes, AnswerTimes(period_ms, lag_ms=lag_ms))
        asynchronous = NewestFrame(period_ms, lag_ms=lag_ms, requests=REQUESTS_IN_FLIGHT, slowdown=slowdown)
        self._rivals = {
            NEWEST_FRAME: StreamMeter(classes, NewestFrame(period_ms, lag_ms=lag_ms)),
            NEWEST_FRAME_ASYNC: StreamMeter(classes, asynchronous),
        }

    def cut(self) -> None:
        """The next frame does not follow the last one."""
        self._begins = True
        for meter in (self._policy, *self._rivals.values()):
            meter.cut()

    def add(
        self,
        truth: LabelMap,
        answer: LabelMap,
        baseline: LabelMap,
        *,
        answer_ms: float,
        answer_age_frames: int,
        network_ms: float,
    ) -> None:
        """Add a frame.

        Args:
            truth: ``(H, W)`` uint8; 255 where the class is unknown.
            answer: ``(H, W)`` uint8, of the policy.
            baseline: ``(H, W)`` uint8, of every-frame inference.
            answer_ms: Milliseconds from the arrival to the policy's answer.
            answer_age_frames: Age of the answer.
            network_ms: Milliseconds of every-frame inference.
        """
        self.pairs += not self._begins
        self._begins = False
        self._policy.add(truth, baseline, answer, latency_ms=answer_ms, age_frames=answer_age_frames)
        for meter in self._rivals.values():
            meter.add(truth, baseline, baseline, latency_ms=network_ms)

    @property
    def policy_figures(self) -> StreamFigures:
        """What the policy shows."""
        return self._policy.figures(self._network_share)

    @property
    def figures(self) -> dict[str, StreamFigures]:
        """What the rivals show, by name."""
        return {name: meter.figures(self._network_share) for name, meter in self._rivals.items()}


def stream_rows(figures: Mapping[str, StreamFigures]) -> list[tuple[str, ...]]:
    """Rows of a table of streaming figures by name, and its head first; mIoU is left out without labels."""
    labelled = any(each.miou is not None for each in figures.values())
    miou = ("streaming mIoU, %",) if labelled else ()
    rows: list[tuple[str, ...]] = [
        ("", *miou, "equal to every frame, %", "age, frames", "dropped", "share of cores, %")
    ]
    for name, each in figures.items():
        known = (percent(each.miou),) if labelled else ()
        rest = (percent(each.agreement), f"{each.age_frames:.2f}", str(each.dropped), percent(each.cpu_share))
        rows.append((name, *known, *rest))
    return rows
