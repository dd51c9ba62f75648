"""A policy against every-frame inference, in turns in one run: accuracy, fidelity, latency."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame, follows
from edge_vseg.analysis.evaluation.frame_flow import FrameFlow
from edge_vseg.analysis.evaluation.map_quality import MapQuality, QualityMeter
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.errors import NoFramesError, OptionError
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import read_device_profile
from edge_vseg.scheduling.policies import Async, Policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, Image, Result

WARM_UP_FRAMES = 3
FRAMES_PER_TURN = 12
"""Frames before policy and every-frame inference swap: few enough that other load on the machine affects both alike,
and enough that caches are as warm as in a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyScore:
    """Figures of a policy.

    Attributes:
        policy: Its name.
        variant: The variant that ran.
        frames: Number of frames.
        timing: Latency of the policy, without the first frame.
        every_frame: Latency of every-frame inference, without the first frame.
        cost: Mean latency over that of every-frame inference.
        worst_cost: 99th percentile over the median of every-frame inference.
        deadline_ms: The deadline, if there is one.
        misses: Share of deadline misses, without the first frame.
        miou: mIoU against the truth; ``None`` without labels.
        every_frame_miou: mIoU of every-frame inference.
        iou: IoU by class name.
        agreement: Share of pixels with the class that every-frame inference gives.
        fidelity_miou: mIoU against every-frame inference.
        age_frames: Mean age of the label maps.
        oldest_frames: Largest age.
        sources: Frames by origin of their labels.
        quality: Further metrics of the policy's label maps.
        every_frame_quality: Further metrics of every-frame inference.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions(RuntimeOptions):
    """How to evaluate a policy, and what to open (:class:`~edge_vseg.analysis.runtime_options.RuntimeOptions`).

    Attributes:
        against: Bundle whose every-frame inference is the baseline; ``None`` for the same bundle.
        deadline_ms: Deadline that misses are counted against; ``None`` counts none.
        rate: Frames per second that arrive, for policies that work between frames; ``None`` for as fast as possible.
        video_rate: Frames per second at which the video was taken, for streaming mIoU; ``None`` if it is unknown, or
            frames do not follow each other.
        replay: Device profile of the bundle whose costs are replayed instead of measured.
    """

    against: Path | None = None
    deadline_ms: float | None = None
    rate: float | None = None
    video_rate: float | None = None
    replay: Path | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if replayed costs meet a second bundle or a rate."""
        if self.replay is not None and (self.against is not None or self.rate):
            raise OptionError("costs are replayed for one bundle and no rate; leave out replay, or against and rate")


DEFAULT_OPTIONS = EvaluationOptions()


@dataclass(slots=True, kw_only=True, eq=False)
class _Counts:
    """Everything counted over the frames."""

    policy: QualityMeter
    every_frame: QualityMeter
    fidelity: Confusion
    flow: FrameFlow = field(default_factory=FrameFlow)
    previous: LabelledFrame | None = None
    policy_ms: list[float] = field(default_factory=list)
    every_frame_ms: list[float] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, frame: LabelledFrame, result: Result, baseline: Result, every_ms: float) -> None:
        if self.previous is not None and not follows(self.previous, frame):
            self.flow.cut()
            self.policy.cut()
            self.every_frame.cut()
        self.previous = frame
        flow, total = self.flow(frame.image), result.latency_ms["total"]
        self.policy.add(frame.labels, result.labels, flow, latency_ms=total, age_frames=result.age_frames)
        self.every_frame.add(frame.labels, baseline.labels, flow, latency_ms=every_ms, age_frames=0)
        self.fidelity.add(baseline.labels, result.labels)
        self.policy_ms.append(total)
        self.every_frame_ms.append(every_ms)
        self.ages.append(result.age_frames)
        self.sources[result.source] += 1

    def score(self, policy: str, variant: str, deadline_ms: float | None) -> PolicyScore:
        if not self.policy_ms:
            raise NoFramesError("no frames to evaluate on; give a video with at least one")
        quality, every_quality = self.policy.quality(), self.every_frame.quality()
        # Without the first frame: runtimes allocate in it, and the policy has nothing to propagate.
        policy_ms, every_ms = (times[1:] or times for times in (self.policy_ms, self.every_frame_ms))
        timing, every_frame = LatencySummary.of(policy_ms), LatencySummary.of(every_ms)
        late = [] if deadline_ms is None else [ms > deadline_ms for ms in self.policy_ms[1:]]
        return PolicyScore(
            policy=policy,
            variant=variant,
            frames=len(self.policy_ms),
            timing=timing,
            every_frame=every_frame,
            cost=timing.mean / every_frame.mean,
            worst_cost=timing.p99 / every_frame.p50,
            deadline_ms=deadline_ms,
            misses=float(np.mean(late)) if late else None,
            miou=quality.miou,
            every_frame_miou=every_quality.miou,
            iou={name: each.iou for name, each in quality.classes.items() if each.iou is not None},
            agreement=self.fidelity.pixel_accuracy,
            fidelity_miou=self.fidelity.mean_iou,
            age_frames=float(np.mean(self.ages)),
            oldest_frames=max(self.ages),
            sources=dict(self.sources),
            quality=quality,
            every_frame_quality=every_quality,
        )


def evaluate_policy(
    bundle: Path,
    frames: Iterable[LabelledFrame],
    policy: Policy,
    options: EvaluationOptions = DEFAULT_OPTIONS,
    *,
    progress: Callable[[int], None] = lambda done: None,
    observe: Callable[[LabelledFrame, Result, float], None] = lambda frame, result, every_ms: None,
) -> PolicyScore:
    """Run a policy and every-frame inference on the same frames, in turns of a dozen.

    Args:
        bundle: The bundle.
        frames: Images in video order, and ground truth; labels of 255 everywhere without truth.
        policy: The policy.
        options: How to evaluate.
        progress: Called with the number of frames done.
        observe: Called with each frame, the policy's result, and the milliseconds of every-frame inference.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no variant can be opened.
        NoFramesError: If there are no frames.
        OptionError: If the variant lacks what the policy needs, or the two bundles differ in their classes.
    """
    if options.replay is not None and isinstance(policy, Async):
        raise OptionError(
            "the time of a worker cannot be replayed; evaluate the policy async with --rate on the device"
        )
    with options.open_segmenter(bundle, policy, replay=options.replay) as segmenter:
        variant, labels = segmenter.variant.id, segmenter.bundle.manifest.labels
        baseline_options = options if options.against is not None else replace(options, variant=variant)
        with baseline_options.open_segmenter(options.against or bundle) as every_frame:
            if labels != every_frame.bundle.manifest.labels:
                raise OptionError(f"{bundle} and {options.against} have different classes and cannot be compared")
            rate = options.rate or options.video_rate
            counts = _Counts(
                policy=QualityMeter(labels, rate),
                every_frame=QualityMeter(labels, rate),
                fidelity=Confusion(len(labels)),
            )
            baseline = _Baseline(every_frame, options.replay)
            start = 0.0
            for number, turn in enumerate(_turns(frames)):
                if number == 0:
                    for _ in range(WARM_UP_FRAMES):
                        every_frame(turn[0].image)
                    start = time.monotonic()
                first = number * FRAMES_PER_TURN
                results = []
                for seq, frame in enumerate(turn, first):
                    if options.rate:
                        _sleep_until(start + seq / options.rate)
                    results.append(segmenter(_as_captured(frame, seq)))
                paused = time.monotonic()
                for frame, result in zip(turn, results, strict=True):
                    reference, every_ms = baseline(frame.image)
                    counts.add(frame, result, reference, every_ms)
                    observe(frame, result, every_ms)
                start += time.monotonic() - paused
                progress(first + len(turn))
    return counts.score(policy.name, variant, options.deadline_ms)


class _Baseline:
    """Every-frame inference, with its latency measured, or replayed from a device profile."""

    def __init__(self, segmenter: Segmenter, replay: Path | None) -> None:
        self._segmenter = segmenter
        self._clock = VirtualClock()
        self._meter = None if replay is None else ReplayMeter(0, read_device_profile(replay), self._clock, seed=1)

    def __call__(self, image: Image) -> tuple[Result, float]:
        result = self._segmenter(image)
        if self._meter is None:
            return result, result.latency_ms["total"]
        start = self._clock()
        for step in (steps.PREPROCESS, steps.INFER, steps.LABELS):
            self._meter.add(step, 0)
        return result, (self._clock() - start) / 1e6


def _turns(frames: Iterable[LabelledFrame]) -> Iterator[list[LabelledFrame]]:
    iterator = iter(frames)
    while turn := list(itertools.islice(iterator, FRAMES_PER_TURN)):
        yield turn


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _as_captured(frame: LabelledFrame, seq: int) -> Frame:
    return Frame(image=frame.image, seq=seq, capture_ns=time.monotonic_ns(), motion=frame.motion)
