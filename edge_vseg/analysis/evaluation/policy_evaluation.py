"""A policy against every-frame inference, in turns in one run: accuracy, fidelity, milliseconds."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame, follows
from edge_vseg.analysis.evaluation.map_quality import FramePictures, MapQuality, QualityMeter
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.bundle.manifest import Precision
from edge_vseg.errors import NoFramesError, OptionError
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import read_device_profile
from edge_vseg.scheduling.policies import Async, Policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.types import Frame, Image, Result

WARM_UP_FRAMES = 3
FRAMES_IN_TURN = 12
"""Frames that the policy and every-frame inference each run before it is the other's turn: few enough for what else the
machine does to bear on both alike, and enough for caches to be those of a video and not of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Milliseconds a frame, image to label map."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: list[float]) -> LatencySummary:
        """Of some frames."""
        p50, p95, p99 = (float(v) for v in np.percentile(samples, [50, 95, 99]))
        return cls(mean=float(np.mean(samples)), p50=p50, p95=p95, p99=p99, max=max(samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyScore:
    """A policy's figures.

    Attributes:
        policy: Its name.
        variant: The graph that ran.
        frames: How many.
        timing: Of the policy, the first frame left out.
        every_frame: Of every-frame inference, a dozen frames in turn with as many of the policy's, the first left out.
        cost: Mean milliseconds over those of every-frame inference.
        worst_cost: 99th percentile over the median of every-frame inference.
        deadline_ms: The deadline, if it has one.
        misses: Share of the frames, the first left out, that took longer than the deadline.
        miou: Against the truth; ``None`` where nothing is labelled.
        every_frame_miou: The same of every-frame inference.
        iou: Per class by name.
        agreement: Share of pixels as every-frame inference has them.
        fidelity_miou: mIoU against every-frame inference.
        age_frames: Mean age of the maps.
        oldest_frames: Largest age.
        sources: Frames by where their labels came from.
        quality: What else there is to say of the policy's label maps.
        every_frame_quality: The same of every-frame inference.
    """

    policy: str
    variant: str
    frames: int
    timing: LatencySummary
    every_frame: LatencySummary
    cost: float
    worst_cost: float
    deadline_ms: float | None
    misses: float | None
    miou: float | None
    every_frame_miou: float | None
    iou: dict[str, float]
    agreement: float
    fidelity_miou: float
    age_frames: float
    oldest_frames: int
    sources: dict[str, int]
    quality: MapQuality
    every_frame_quality: MapQuality


@dataclass(slots=True, kw_only=True, eq=False)
class _Counts:
    ours: QualityMeter
    theirs: QualityMeter
    fidelity: Confusion
    pictures: FramePictures = field(default_factory=FramePictures)
    before: LabelledFrame | None = None
    times: list[float] = field(default_factory=list)
    every_times: list[float] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, frame: LabelledFrame, ours: Result, theirs: Result, every_ms: float) -> None:
        if self.before is not None and not follows(self.before, frame):
            self.pictures.cut()
            self.ours.cut()
            self.theirs.cut()
        self.before = frame
        moved, total = self.pictures(frame.image), ours.latency_ms["total"]
        self.ours.add(frame.labels, ours.labels, moved, latency_ms=total, age_frames=ours.age_frames)
        self.theirs.add(frame.labels, theirs.labels, moved, latency_ms=every_ms, age_frames=0)
        self.fidelity.add(theirs.labels, ours.labels)
        self.times.append(total)
        self.every_times.append(every_ms)
        self.ages.append(ours.age_frames)
        self.sources[ours.source] += 1


def evaluate_policy(
    bundle: Path,
    frames: Iterable[LabelledFrame],
    policy: Policy,
    *,
    runtime: str = "auto",
    precision: Precision | None = None,
    threads: int = 0,
    against: Path | None = None,
    deadline_ms: float | None = None,
    rate: float | None = None,
    video_rate: float | None = None,
    replay: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
    observe: Callable[[LabelledFrame, Result, float], None] = lambda frame, result, every_ms: None,
    **options: Any,
) -> PolicyScore:
    """Run a policy and every-frame inference on the same frames, a dozen of them in turn.

    Args:
        bundle: The bundle.
        frames: Images in the order of their video, and truth; labels of 255 everywhere where there is none.
        policy: The policy.
        runtime: As in :meth:`Segmenter.open`.
        precision: The same.
        threads: The same.
        against: Another bundle whose every-frame inference is the baseline; by default the same one's.
        rate: Frames a second that come, for policies that work while they wait; by default as fast as they are done.
        video_rate: Frames a second that the video was taken at, for streaming mIoU; ``None`` if they do not follow each
            other, or nobody knows.
        replay: Device profile of the bundle whose costs are replayed, instead of measuring here.
        deadline_ms: What misses are counted against.
        progress: Called with the number of frames done.
        observe: Given every frame with the policy's result, and the milliseconds of every-frame inference.
        options: Further fields of :class:`~edge_vseg.OpenOptions`.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no graph can be opened.
        NoFramesError: If there are no frames.
        OptionError: If the graph lacks what the policy needs, or the two bundles differ in their classes.
    """
    if replay is not None and (against is not None or rate):
        raise OptionError("costs are replayed for one bundle and no rate; leave out replay, or against and rate")
    if replay is not None and isinstance(policy, Async):
        raise OptionError("a worker's time cannot be replayed; evaluate the policy async with --rate on the device")
    opening = OpenOptions(precision=precision, replay=replay, **options)
    with Segmenter.open(bundle, runtime=runtime, policy=policy, threads=threads, options=opening) as ours:
        plain = replace(opening, replay=None)
        if against is None:
            plain = replace(plain, variant=ours.variant.id)
        with Segmenter.open(against or bundle, runtime=runtime, threads=threads, options=plain) as theirs:
            labels = ours.bundle.manifest.labels
            if labels != theirs.bundle.manifest.labels:
                raise OptionError(f"{bundle} and {against} have different classes, which cannot be compared")
            meters = [QualityMeter(labels, rate or video_rate) for _ in range(2)]
            counts = _Counts(ours=meters[0], theirs=meters[1], fidelity=Confusion(len(labels)))
            clocked = _Baseline(theirs, replay)
            begin = 0.0
            for number, group in enumerate(_groups(frames)):
                if number == 0:
                    for _ in range(WARM_UP_FRAMES):
                        theirs(group[0].image)
                    begin = time.monotonic()
                first = number * FRAMES_IN_TURN
                mine = []
                for seq, frame in enumerate(group, first):
                    if rate:
                        _wait_until(begin + seq / rate)
                    mine.append(ours(_captured(frame, seq)))
                paused = time.monotonic()
                for frame, result in zip(group, mine, strict=True):
                    reference, every_ms = clocked(frame.image)
                    counts.add(frame, result, reference, every_ms)
                    observe(frame, result, every_ms)
                begin += time.monotonic() - paused
                progress(first + len(group))
        variant = ours.variant.id
    if not counts.times:
        raise NoFramesError("no frames to evaluate on; give a video with at least one")
    quality, every_quality = counts.ours.quality(), counts.theirs.quality()
    # The first frame is none like the others: runtimes allocate in it, and a policy has nothing to carry.
    timing, every = (LatencySummary.of(times[1:] or times) for times in (counts.times, counts.every_times))
    late = [taken > deadline_ms for taken in counts.times[1:]] if deadline_ms is not None else []
    return PolicyScore(
        policy=policy.name,
        variant=variant,
        frames=len(counts.times),
        timing=timing,
        every_frame=every,
        cost=timing.mean / every.mean,
        worst_cost=timing.p99 / every.p50,
        deadline_ms=deadline_ms,
        misses=float(np.mean(late)) if late else None,
        miou=quality.miou,
        every_frame_miou=every_quality.miou,
        iou={name: each.iou for name, each in quality.classes.items() if each.iou is not None},
        agreement=counts.fidelity.pixel_accuracy,
        fidelity_miou=counts.fidelity.mean_iou,
        age_frames=float(np.mean(counts.ages)),
        oldest_frames=max(counts.ages),
        sources=dict(counts.sources),
        quality=quality,
        every_frame_quality=every_quality,
    )


class _Baseline:
    """Every-frame inference, and the milliseconds that a frame takes: those measured, or recorded ones."""

    def __init__(self, segmenter: Segmenter, replay: Path | None) -> None:
        self._segmenter = segmenter
        self._clock = VirtualClock()
        self._meter = None if replay is None else ReplayMeter(0, read_device_profile(replay), self._clock, seed=1)

    def __call__(self, image: Image) -> tuple[Result, float]:
        result = self._segmenter(image)
        if self._meter is None:
            return result, result.latency_ms["total"]
        begin = self._clock()
        for step in (steps.PREPROCESS, steps.INFER, steps.LABELS):
            self._meter.add(step, 0)
        return result, (self._clock() - begin) / 1e6


def _groups(frames: Iterable[LabelledFrame]) -> Iterator[list[LabelledFrame]]:
    waiting = iter(frames)
    while group := list(itertools.islice(waiting, FRAMES_IN_TURN)):
        yield group


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _captured(frame: LabelledFrame, number: int) -> Frame:
    return Frame(image=frame.image, seq=number, capture_ns=time.monotonic_ns(), motion=frame.motion)
