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
from edge_vseg.scheduling.device_profile import DeviceProfile, read_device_profile
from edge_vseg.scheduling.policies import Async, Policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, Image, Result

WARM_UP_FRAMES = 3
FRAMES_PER_TURN = 12
"""Frames before policy and every-frame inference swap: few enough that other load on the machine affects both alike,
and enough that caches are as warm as in a video."""

MAX_PACED_FRAMES = 600
"""Frames of a turn at a rate. In every pause between turns a keyframe in the background gains time that it would not
have, so turns are long; their results are kept meanwhile, so they are bounded."""


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
        replay: Device profile of the bundle whose costs are replayed instead of measured; frames then arrive at the
            rate on a virtual clock.
        network_scale: Replay a network that takes so many times as long as the one of the profile.
    """

    against: Path | None = None
    deadline_ms: float | None = None
    rate: float | None = None
    video_rate: float | None = None
    replay: Path | None = None
    network_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise OptionError if replayed costs meet a second bundle, or nothing is replayed at another scale."""
        if self.replay is not None and self.against is not None:
            raise OptionError("costs are replayed for one bundle; leave out replay or against")
        if self.replay is None and self.network_scale != 1:
            raise OptionError("only replayed costs can be scaled; give a device profile to replay")
        if not self.network_scale > 0:
            raise OptionError(f"network_scale must be positive, got {self.network_scale}")


DEFAULT_OPTIONS = EvaluationOptions()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    """A policy's result, and the milliseconds from the arrival of its frame."""

    result: Result
    total_ms: float


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

    def add(self, frame: LabelledFrame, answer: _Answer, baseline: Result, every_ms: float) -> None:
        result = answer.result
        if self.previous is not None and not follows(self.previous, frame):
            self.flow.cut()
            self.policy.cut()
            self.every_frame.cut()
        self.previous = frame
        flow, total = self.flow(frame.image), answer.total_ms
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
    if options.replay is not None and isinstance(policy, Async) and not options.rate:
        raise OptionError("a keyframe in the background takes time between frames; give a rate to replay them at")
    profile = None if options.replay is None else read_device_profile(options.replay)
    profile = profile and profile.with_slower_network(options.network_scale)
    clock = VirtualClock()
    with options.open_segmenter(bundle, policy, replay=profile, clock=clock if profile else None) as segmenter:
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
            baseline = _Baseline(every_frame, profile)
            answer = _paced(segmenter, options.rate, clock if profile else None)
            done = 0
            for turn in _turns(frames, MAX_PACED_FRAMES if options.rate else FRAMES_PER_TURN):
                if not done:
                    for _ in range(WARM_UP_FRAMES):
                        every_frame(turn[0].image)
                answers = [answer(frame, seq) for seq, frame in enumerate(turn, done)]
                for frame, given in zip(turn, answers, strict=True):
                    reference, every_ms = baseline(frame.image)
                    counts.add(frame, given, reference, every_ms)
                    observe(frame, given.result, every_ms)
                done += len(turn)
                progress(done)
    return counts.score(policy.name, variant, options.deadline_ms)


def _paced(
    segmenter: Segmenter, rate: float | None, clock: VirtualClock | None
) -> Callable[[LabelledFrame, int], _Answer]:
    """Answers frames as they arrive: at a rate or one after the other, on the wall clock or on a virtual one."""
    begin_s: list[float] = []  # of the first frame of a turn, less the time that frames before it would have taken
    begin_ns = clock() if clock is not None else 0  # warming up has taken time already

    def answer(frame: LabelledFrame, seq: int) -> _Answer:
        if rate is None:
            result = segmenter(_as_captured(frame, seq, time.monotonic_ns()))
            return _Answer(result=result, total_ms=result.latency_ms["total"])
        if clock is not None:
            arrival_ns = begin_ns + round(seq / rate * 1e9)
            clock.advance_to(arrival_ns)
            late_ms = (clock() - arrival_ns) / 1e6
        else:
            if seq % MAX_PACED_FRAMES == 0:
                begin_s[:] = [time.monotonic() - seq / rate]
            arrival_s = begin_s[0] + seq / rate
            time.sleep(max(0.0, arrival_s - time.monotonic()))
            arrival_ns, late_ms = round(arrival_s * 1e9), (time.monotonic() - arrival_s) * 1e3
        result = segmenter(_as_captured(frame, seq, arrival_ns))
        return _Answer(result=result, total_ms=result.latency_ms["total"] + late_ms)

    return answer


class _Baseline:
    """Every-frame inference, with its latency measured, or replayed from a device profile."""

    def __init__(self, segmenter: Segmenter, profile: DeviceProfile | None) -> None:
        self._segmenter = segmenter
        self._clock = VirtualClock()
        self._meter = None if profile is None else ReplayMeter(0, profile, self._clock, seed=1)

    def __call__(self, image: Image) -> tuple[Result, float]:
        result = self._segmenter(image)
        if self._meter is None:
            return result, result.latency_ms["total"]
        start = self._clock()
        for step in (steps.PREPROCESS, steps.INFER, steps.LABELS):
            self._meter.add(step, 0)
        return result, (self._clock() - start) / 1e6


def _turns(frames: Iterable[LabelledFrame], count: int) -> Iterator[list[LabelledFrame]]:
    iterator = iter(frames)
    while turn := list(itertools.islice(iterator, count)):
        yield turn


def _as_captured(frame: LabelledFrame, seq: int, capture_ns: int) -> Frame:
    return Frame(image=frame.image, seq=seq, capture_ns=capture_ns, motion=frame.motion)
