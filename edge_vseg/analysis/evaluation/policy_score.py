"""The figures of a policy, and how they are counted frame by frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.datasets import LabelledFrame, follows
from edge_vseg.analysis.evaluation.frame_flow import FrameFlow
from edge_vseg.analysis.evaluation.frame_pacing import Answer
from edge_vseg.analysis.evaluation.map_quality import MapQuality, QualityMeter
from edge_vseg.analysis.evaluation.rivals import Rivals, StreamFigures
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.decision import Collect, Launch, Work
from edge_vseg.errors import NoFramesError
from edge_vseg.types import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyScore:
    """Figures of a policy.

    The first frame of a stream is start-up, and no part of latencies and misses: runtimes allocate in it, and the
    policy has nothing to propagate. Neither does it delay the frames behind it; see
    :class:`~edge_vseg.analysis.evaluation.frame_pacing.FrameStream`.
    Of images that are no stream, it is the first of all.

    Attributes:
        policy: Its name.
        variant: The variant that ran.
        provider: The provider, device or delegate that it ran on.
        frames: Number of frames.
        timing: Latency of the policy, without first frames; at a rate, from the arrival.
        every_frame: Latency of every-frame inference, without the same frames.
        cost: Mean latency over that of every-frame inference.
        worst_cost: 99th percentile over the median of every-frame inference.
        deadline_ms: The deadline, if there is one.
        misses: Share of deadline misses, without first frames.
        over_budget: Frames of which the policy expected that nothing would keep their deadline.
        background_keyframes: Keyframes that the background made.
        cpu_share: Share of the machine's cores that both lanes use, 0 to 1, with all threads of a network counted;
            ``None`` without a rate.
        process_cpu_share: Share that the process used by the processor's own count; ``None`` without a rate, or if
            costs were replayed.
        miou: mIoU against the truth; ``None`` without labels.
        every_frame_miou: mIoU of every-frame inference.
        iou: IoU by class name.
        agreement: Share of pixels with the class that every-frame inference gives.
        fidelity_miou: mIoU against every-frame inference.
        age_frames: Mean age of the label maps.
        oldest_frames: Largest age.
        sources: Frames by origin of their labels.
        streaming: What the policy shows when the deadline of each frame is over, or without a deadline when the frame
            arrives; ``None`` if no rate is known, or no frame follows another.
        rivals: The same for every-frame inference of the newest frame, others dropped and the last map held, with one
            request and with two in flight; see :class:`~edge_vseg.analysis.evaluation.newest_frame.NewestFrame`.
        quality: Further metrics of the policy's label maps.
        every_frame_quality: Further metrics of every-frame inference.
    """

    policy: str
    variant: str
    provider: str
    frames: int
    timing: LatencySummary
    every_frame: LatencySummary
    cost: float
    worst_cost: float
    deadline_ms: float | None
    misses: float | None
    over_budget: int
    background_keyframes: int
    cpu_share: float | None
    process_cpu_share: float | None
    miou: float | None
    every_frame_miou: float | None
    iou: dict[str, float]
    agreement: float
    fidelity_miou: float
    age_frames: float
    oldest_frames: int
    sources: dict[str, int]
    streaming: StreamFigures | None
    rivals: dict[str, StreamFigures]
    quality: MapQuality
    every_frame_quality: MapQuality


@dataclass(slots=True, kw_only=True, eq=False)
class ScoreCounts:
    """Everything counted over the frames of a policy and of every-frame inference.

    Attributes:
        policy: Quality of the policy's maps.
        every_frame: Quality of every-frame inference.
        fidelity: The policy's maps against those of every-frame inference.
        rivals: Streaming figures; ``None`` if no rate is known.
    """

    policy: QualityMeter
    every_frame: QualityMeter
    fidelity: Confusion
    rivals: Rivals | None
    _flow: FrameFlow = field(default_factory=FrameFlow)
    _previous: LabelledFrame | None = None
    _policy_ms: list[float] = field(default_factory=list)
    _every_frame_ms: list[float] = field(default_factory=list)
    _begins: list[bool] = field(default_factory=list)
    _ages: list[int] = field(default_factory=list)
    _sources: Counter[str] = field(default_factory=Counter)
    _over_budget: int = 0
    _keyframes: int = 0
    _under_way: Work = Work.KEYFRAME

    def add(self, frame: LabelledFrame, answer: Answer, baseline: Result, every_ms: float) -> None:
        """Add a frame, the policy's answer, the result of every-frame inference and its milliseconds."""
        result, total_ms = answer.result, answer.total_ms
        self._cut_before(frame, answer)
        flow = self._flow(frame.image)
        own_ms = result.latency_ms["total"]  # not total_ms, which has the queue in it
        self.policy.add(frame.labels, result.labels, flow, latency_ms=own_ms, age_frames=result.age_frames)
        self.every_frame.add(frame.labels, baseline.labels, flow, latency_ms=every_ms, age_frames=0)
        self.fidelity.add(baseline.labels, result.labels)
        if self.rivals is not None:
            self.rivals.add(
                frame.labels,
                result.labels,
                baseline.labels,
                answer_ms=total_ms,
                answer_age_frames=result.age_frames,
                network_ms=every_ms,
            )
        self._policy_ms.append(total_ms)
        self._every_frame_ms.append(every_ms)
        self._begins.append(answer.begins)
        self._ages.append(result.age_frames)
        self._sources[result.source] += 1
        self._count_decision(result)

    def score(self, policy: str, variant: str, provider: str, deadline_ms: float | None, cpu: CpuMeter) -> PolicyScore:
        """The figures.

        Raises:
            NoFramesError: If there was no frame.
        """
        if not self._policy_ms:
            raise NoFramesError("no frames to evaluate on; give a video with at least one")
        streams = self.rivals if self.rivals is not None and self.rivals.pairs else None
        quality, every_quality = self.policy.quality(), self.every_frame.quality()
        policy_ms, every_ms = self._streamed(self._policy_ms), self._streamed(self._every_frame_ms)
        timing, every_frame = LatencySummary.of(policy_ms), LatencySummary.of(every_ms)
        late = [ms > deadline_ms for ms in policy_ms] if deadline_ms is not None and len(self._begins) > 1 else []
        return PolicyScore(
            policy=policy,
            variant=variant,
            provider=provider,
            frames=len(self._policy_ms),
            timing=timing,
            every_frame=every_frame,
            cost=timing.mean / every_frame.mean,
            worst_cost=timing.p99 / every_frame.p50,
            deadline_ms=deadline_ms,
            misses=float(np.mean(late)) if late else None,
            over_budget=self._over_budget,
            background_keyframes=self._keyframes,
            cpu_share=cpu.share,
            process_cpu_share=cpu.process_share,
            miou=quality.miou,
            every_frame_miou=every_quality.miou,
            iou={name: each.iou for name, each in quality.classes.items() if each.iou is not None},
            agreement=self.fidelity.pixel_accuracy,
            fidelity_miou=self.fidelity.mean_iou,
            age_frames=float(np.mean(self._ages)),
            oldest_frames=max(self._ages),
            sources=dict(self._sources),
            streaming=None if streams is None else streams.policy_figures,
            rivals={} if streams is None else streams.figures,
            quality=quality,
            every_frame_quality=every_quality,
        )

    def _cut_before(self, frame: LabelledFrame, answer: Answer) -> None:
        previous, self._previous = self._previous, frame
        gap = previous is not None and not follows(previous, frame)
        if gap:
            self._flow.cut()
            self.policy.cut()
            self.every_frame.cut()
        if answer.begins:
            self.policy.start_up()
            self.every_frame.start_up()
        if self.rivals is not None and (gap or answer.begins):
            self.rivals.cut()

    def _count_decision(self, result: Result) -> None:
        self._over_budget += result.over_budget
        for action in result.decision.actions:
            match action:
                case Collect():
                    self._keyframes += self._under_way is Work.KEYFRAME
                case Launch(work=work):
                    self._under_way = work
                case _:
                    pass

    def _streamed(self, times_ms: list[float]) -> list[float]:
        """Without first frames; where there are no others, without the first of all."""
        followers = [ms for ms, begins in zip(times_ms, self._begins, strict=True) if not begins]
        return followers or times_ms[1:] or times_ms
