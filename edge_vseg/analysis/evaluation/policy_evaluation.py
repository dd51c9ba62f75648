"""A policy against every-frame inference, in turns in one run: accuracy, fidelity, latency."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_vseg.analysis.cpu_use import CpuMeter, cores_of
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.frame_pacing import FrameStream, VirtualTimer, WallTimer
from edge_vseg.analysis.evaluation.frame_turns import frame_turns
from edge_vseg.analysis.evaluation.map_quality import QualityMeter
from edge_vseg.analysis.evaluation.policy_score import PolicyScore, ScoreCounts
from edge_vseg.analysis.evaluation.rivals import Rivals
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import DeviceProfile, read_device_profile
from edge_vseg.scheduling.policies import Async, EveryFrame, Policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Image, Result

WARM_UP_FRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions(RuntimeOptions):
    """How to evaluate a policy, and what to open (:class:`~edge_vseg.analysis.runtime_options.RuntimeOptions`).

    Attributes:
        against: Bundle whose every-frame inference is the baseline; ``None`` for the same bundle.
        deadline_ms: Deadline that misses are counted against; ``None`` counts none.
        rate: Frames per second that arrive, for policies that work between frames; ``None`` for as fast as possible.
            See :class:`~edge_vseg.analysis.evaluation.frame_pacing.FrameStream`.
        video_rate: Frames per second at which the video was taken, for the streaming figures; ``None`` if it is
            unknown, or frames do not follow each other.
        replay: Device profile of the bundle whose costs are replayed instead of measured; frames then arrive at the
            rate on a virtual clock.
        network_scale: Replay a network that takes so many times as long as the one of the profile.
        in_flight_slowdown: How many times as long the rival with two requests in flight takes for each, if that was
            measured; ``None`` for as many times as their threads exceed the cores.
    """

    against: Path | None = None
    deadline_ms: float | None = None
    rate: float | None = None
    video_rate: float | None = None
    replay: Path | None = None
    network_scale: float = 1.0
    in_flight_slowdown: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if replayed costs meet a second bundle, or nothing is replayed at another scale."""
        if self.replay is not None and self.against is not None:
            raise OptionError("costs are replayed for one bundle; leave out replay or against")
        if self.replay is None and self.network_scale != 1:
            raise OptionError("only replayed costs can be scaled; give a device profile to replay")
        if not self.network_scale > 0:
            raise OptionError(f"network_scale must be positive, got {self.network_scale}")


DEFAULT_OPTIONS = EvaluationOptions()


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
    if profile is not None:
        options = _of_profile(options, profile, bundle)
    clock = None if profile is None else VirtualClock()
    with options.open_segmenter(bundle, policy, replay=profile, clock=clock) as segmenter:
        variant, labels = segmenter.variant.id, segmenter.bundle.manifest.labels
        baseline_options = replace(options, companion=None, follow=(), variant=variant)
        if options.against is not None:
            others = [each.id for each in open_bundle(options.against).manifest.variants]
            baseline_options = replace(baseline_options, variant=options.variant if options.variant in others else "")
        # A replay opens the variant of a device unlike this machine, here too; its costs are those of `plain` below.
        with baseline_options.open_segmenter(
            options.against or bundle, EveryFrame(), replay=profile, clock=clock and VirtualClock()
        ) as every_frame:
            if labels != every_frame.bundle.manifest.labels:
                raise OptionError(f"{bundle} and {options.against} have different classes and cannot be compared")
            counts = _counts(labels, options, profile)
            plain = profile and profile.with_options(guided=options.borders == "guided", companion_sha256=None)
            baseline = _Baseline(every_frame, plain)
            cpu = _cpu_meter(options, profile)
            stream = FrameStream(segmenter, options.rate, VirtualTimer(clock) if clock else WallTimer(), cpu)
            done = 0
            paced = clock is None and options.rate is not None
            for turn in frame_turns(frames, paced=paced, scores_nbytes=_scores_nbytes(segmenter.bundle)):
                if not done:
                    for _ in range(WARM_UP_FRAMES):
                        every_frame(turn[0].image)
                stream.resume()
                answers = [stream(frame) for frame in turn]
                if clock is None:  # a virtual one stands still between turns
                    stream.pause()
                for frame, answer in zip(turn, answers, strict=True):
                    reference, every_ms = baseline(frame.image)
                    counts.add(frame, answer, reference, every_ms)
                    observe(frame, answer.result, every_ms)
                done += len(turn)
                progress(done)
            if clock is not None:
                stream.pause()
            return counts.score(policy.name, variant, segmenter.provider, options.deadline_ms, cpu)


def _counts(labels: tuple[Label, ...], options: EvaluationOptions, profile: DeviceProfile | None) -> ScoreCounts:
    classes, rate, cores = len(labels), options.rate or options.video_rate, cores_of(profile)
    rivals = None
    if rate is not None:
        rivals = Rivals(
            classes,
            rate,
            lag_ms=options.deadline_ms or 0.0,
            cores=cores,
            threads=_threads(options, profile),
            slowdown=options.in_flight_slowdown,
        )
    return ScoreCounts(
        policy=QualityMeter(labels, rate),
        every_frame=QualityMeter(labels, rate),
        fidelity=Confusion(classes),
        rivals=rivals,
    )


def _scores_nbytes(bundle: Bundle) -> int:
    """Bytes of the logits and the probabilities that a result may keep, float32."""
    manifest = bundle.manifest
    return 0 if manifest.head.kind == "labels" else 2 * 4 * len(manifest.labels) * math.prod(manifest.head.size_hw)


def _cpu_meter(options: EvaluationOptions, profile: DeviceProfile | None) -> CpuMeter:
    return CpuMeter(
        cores_of(profile),
        _threads(options, profile),
        process_time=time.process_time if profile is None else None,
    )


def _threads(options: EvaluationOptions, profile: DeviceProfile | None) -> int:
    """Cores that a session takes, at most all of them."""
    cores, threads = cores_of(profile), options.threads if profile is None else profile.threads
    return min(threads or cores, cores)


def _of_profile(options: EvaluationOptions, profile: DeviceProfile, bundle: Path) -> EvaluationOptions:
    """The options with the profile's variant, unless one was chosen: which is the fastest here says nothing."""
    chosen = options.runtime != "auto" or options.precision is not None or options.variant
    known = profile.variant in [each.id for each in open_bundle(bundle).manifest.variants]
    return options if chosen or not known else replace(options, variant=profile.variant)


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
