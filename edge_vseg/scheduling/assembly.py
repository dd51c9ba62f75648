"""Put an engine together: a variant's sessions, a policy, what is known of the costs, and a clock."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import HeadSpec, Variant
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.imaging.guided_filter import grey_of
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.imaging.tiles import Tile, divide
from edge_vseg.motion import ESTIMATORS, check_motion, motion_estimator
from edge_vseg.motion.grey_pyramid import shrunk_size
from edge_vseg.motion.warp import CARRIED_DTYPES
from edge_vseg.runtimes import Session
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background import Background, BackgroundWorker
from edge_vseg.scheduling.background_lane import BackgroundLane
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.companion import Companion
from edge_vseg.scheduling.costs import SAFETY_FACTOR, CostMeter
from edge_vseg.scheduling.device_profile import DeviceProfile, find_device_profile, read_device_profile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.enclosure import FrameEnclosure
from edge_vseg.scheduling.engine import EngineParts, FrameEngine
from edge_vseg.scheduling.first_runs import first_runs_of
from edge_vseg.scheduling.frame_lane import FrameLane
from edge_vseg.scheduling.fusion import FRESH_WEIGHT
from edge_vseg.scheduling.map_maker import MapMaker
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.policies import Policy, limits_of, make_policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.scheduling.replayed_background import ReplayedBackground
from edge_vseg.scheduling.shared_background import CameraBackground
from edge_vseg.scheduling.shown_labels import ShownLabels
from edge_vseg.scheduling.situation import Aging
from edge_vseg.scheduling.steps import Step
from edge_vseg.scheduling.thing_follower import follower_of
from edge_vseg.scheduling.variant_sessions import SessionOpener, VariantSessions
from edge_vseg.types import Borders, ColorOrder, LabelsSize, Size, Tensor

log = logging.getLogger(__name__)

WARM_UP_RUNS = 6
MAX_FRAME_SLOWDOWN = 2.0
"""Where work in the background slows frames down by more, it runs between them only."""
MAX_FIELD_SHRINK = 4
"""Motion fields have a cell for so many pixels of the network's input, each way, or for as many as the policy's finest
estimator has. Halves instead of quarters gain 0.2 mIoU on CamVid at ages of 4 to 9 frames, for 0.3 ms a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to schedule frames.

    Attributes:
        policy: A policy, or the name of one that needs no parameters.
        threads: Worker threads of the sessions; a device profile holds for one number of threads.
        color: Colour order of the frames.
        device_profile: Device profile to use; ``None`` for the one beside the bundle, if there is one that fits.
        labels: ``frame`` for label maps at the frame's size, ``network`` for those at the size of the network's output.
        borders: ``guided`` for borders along the edges of the image, where label maps are larger than the scores.
        companion: A second network for the frame at hand, which the engine closes; ``None`` for none.
        provider: As device profiles name it, see :func:`provider_key`; empty for the CPU's.
        follow: Names of the classes whose segments are found by their looks where the motion has lost them.
        replay: Device profile, or its file, whose costs are replayed on a virtual clock instead of measuring.
        clock: Time in ns. When costs are replayed, the :class:`VirtualClock` to use; any other is left out.
        background: The camera's part of a background lane that several cameras share; ``None`` for one of its own.
    """

    policy: str | Policy = "every-frame"
    threads: int = 0
    color: ColorOrder = "bgr"
    device_profile: Path | None = None
    labels: LabelsSize = "frame"
    borders: Borders = "interpolated"
    companion: Companion | None = None
    provider: str = ""
    follow: tuple[str, ...] = ()
    replay: Path | DeviceProfile | None = None
    clock: Callable[[], int] = time.perf_counter_ns
    background: CameraBackground | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measuring:
    """Where costs come from: a clock, a meter, a worker that takes as long as they say, and whose cores are meant."""

    clock: Callable[[], int]
    meter: CostMeter
    open_worker: Callable[[], Background]
    drift: DriftModel
    aging: Aging
    cores: int
    threads: int


def open_engine(
    bundle: Bundle, variant: Variant, whole: Session, opener: SessionOpener, options: EngineOptions
) -> FrameEngine:
    """Open an engine for a variant.

    Args:
        bundle: The bundle.
        variant: The variant.
        whole: Open session of its whole graph; the caller closes it.
        opener: Opens the session of another graph of the bundle.
        options: How to schedule.

    Raises:
        CalibrationError: If a device profile was given and does not fit.
        OptionError: If the variant lacks what the policy needs.
    """
    policy = make_policy(options.policy) if isinstance(options.policy, str) else options.policy
    head, frame_spec = bundle.manifest.head, bundle.manifest.frame
    if policy.motion:
        check_motion(policy.motion)
    _check_needs(policy, variant, gives_labels=head.kind == "labels")
    if options.borders == "guided":
        _check_guided(head, options.labels, frame_spec.size_hw)
    follower = follower_of(options.follow, bundle.manifest.labels, policy, frame_spec.size_hw)
    sessions = VariantSessions(variant, options.background.lend(opener) if options.background else opener, whole)
    measuring = _measuring(bundle, variant, sessions, opener, policy, options)
    meter, clock = measuring.meter, measuring.clock
    observer = MotionObserver(
        frame_spec.size_hw, shrunk_size(frame_spec.size_hw, _field_shrink(policy)), on_duration=meter.add, clock=clock
    )
    uses_tiles = policy.needs in ("tiles", "any") and head.kind != "labels"
    tiles = _tiles_of(variant, frame_spec.size_hw, head.size_hw) if uses_tiles else ()
    # A lane each: they keep buffers, and run at the same time.
    preprocess, preprocess_behind = (Preprocessor(frame_spec, variant.input, color=options.color) for _ in range(2))
    weight = FRESH_WEIGHT if policy.motion else 1.0
    maker, maker_behind = (MapMaker(variant.output, head, weight, len(bundle.manifest.labels)) for _ in range(2))
    if policy.needs and options.replay is None:
        _warm_up(policy, sessions, meter, clock, tiles)
        if policy.needs == "any":
            _warm_up_motion(observer, frame_spec.size_hw)
    companion = options.companion
    if companion is not None and options.replay is None:
        _warm_up_companion(companion, frame_spec.size_hw, meter, clock)
    # Last: it takes the place of the camera's segmenter before, which is to keep it where this one cannot be opened.
    background = BackgroundLane(measuring.open_worker, preprocess_behind, maker_behind, meter, clock)
    frame_lane = FrameLane(
        sessions, maker, background, companion=companion, head=head, tiles=tiles, clock=clock, meter=meter
    )
    parts = EngineParts(
        frame_lane=frame_lane,
        background=background,
        observer=observer,
        labels=ShownLabels(maker, meter, clock, follower),
        preprocess=preprocess,
        enclosure=FrameEnclosure(frame_spec, options.color),
        meter=meter,
        drift=measuring.drift,
        aging=measuring.aging,
        tiles=tiles,
        slice_count=len(variant.slices),
        context=variant.context,
        companion=companion is not None,
        follower=follower,
        clock=clock,
        labels_hw=head.size_hw if options.labels == "network" else None,
        grey=functools.partial(grey_of, color=options.color) if options.borders == "guided" else None,
        cores=measuring.cores,
        background_cores=min(measuring.threads or measuring.cores, measuring.cores),
    )
    return FrameEngine(policy, parts, head)


def _field_shrink(policy: Policy) -> int:
    if policy.motion not in ESTIMATORS:
        return MAX_FIELD_SHRINK
    return min(MAX_FIELD_SHRINK, motion_estimator(policy.motion).shrink)


def _measuring(
    bundle: Bundle,
    variant: Variant,
    sessions: VariantSessions,
    opener: SessionOpener,
    policy: Policy,
    options: EngineOptions,
) -> _Measuring:
    slice_count = len(variant.slices)
    if options.replay is not None:
        profile = _for_run(_check_replay(options.replay, bundle, variant), options)
        if options.companion is not None and steps.COMPANION not in profile.costs:
            raise OptionError(
                "this companion cannot be replayed: the device profile has no costs of it; calibrate with --companion,"
                " or leave out the companion or the replay"
            )
        if options.borders == "guided" and steps.GUIDED_LABELS not in profile.costs:
            log.warning(
                "the device profile has no costs of guided borders, so plain ones are replayed; calibrate again"
            )
        if options.follow:
            log.warning("what following things costs is in no device profile: the replay counts nothing for it")
        clock = options.clock if isinstance(options.clock, VirtualClock) else VirtualClock()
        replayed = ReplayMeter(slice_count, profile, clock)
        worker = ReplayedBackground(sessions, clock, replayed, _turns(profile, clock))
        return _Measuring(
            clock=clock,
            meter=replayed,
            open_worker=lambda: worker,
            drift=profile.drift,
            aging=profile.aging,
            cores=profile.cores,
            threads=profile.threads,
        )
    found = find_device_profile(
        options.device_profile,
        bundle.root,
        bundle.sha256,
        variant,
        options.threads,
        options.provider,
        wanted=limits_of(policy).deadline_ms is not None,
    )
    if found is not None:
        found = _for_run(found, options)
        meter = CostMeter(slice_count, found.expected_ms, safety_factor=1.0)
    else:
        meter = CostMeter(slice_count, _export_costs_ms(variant), safety_factor=SAFETY_FACTOR)

    first_runs = first_runs_of(f"{bundle.sha256} {variant.id} {options.provider} {options.threads}")

    def open_sessions() -> VariantSessions:
        return VariantSessions(variant, opener, first_runs=first_runs)

    def open_worker() -> Background:
        if options.background is not None:
            return options.background.connect(open_sessions)
        return BackgroundWorker(open_sessions, _turns(found, options.clock))

    tile_error = 1 - variant.tile.agreement if variant.tile is not None else 0.0
    return _Measuring(
        clock=options.clock,
        meter=meter,
        open_worker=open_worker,
        drift=found.drift if found else DriftModel(),
        aging=found.aging if found else Aging(tile_error=tile_error),
        cores=usable_cores(),
        threads=options.threads,
    )


def _for_run(profile: DeviceProfile, options: EngineOptions) -> DeviceProfile:
    companion = options.companion
    return profile.with_options(
        guided=options.borders == "guided", companion_sha256=None if companion is None else companion.bundle_sha256
    )


def _turns(profile: DeviceProfile | None, clock: Callable[[], int]) -> BackgroundTurns:
    if profile is None:
        return BackgroundTurns(beside_frames=usable_cores() > 1, clock=clock)
    contention = profile.contention
    return BackgroundTurns(beside_frames=contention is not None and contention.frame <= MAX_FRAME_SLOWDOWN, clock=clock)


def _warm_up(
    policy: Policy, sessions: VariantSessions, meter: CostMeter, clock: Callable[[], int], tiles: tuple[Tile, ...]
) -> None:
    """Run every part a few times: first runs allocate, and costs must be known before they count."""
    spec, tile = sessions.input, sessions.variant.tile
    for _ in range(WARM_UP_RUNS):
        tensors: dict[str, Tensor] = {spec.name: np.zeros(spec.shape, spec.dtype)}
        if policy.needs in ("slices", "context", "any"):
            for number in range(len(sessions.variant.slices)):
                begin_ns = clock()
                tensors |= sessions.run_slice(number, tensors)
                meter.add(steps.slice_step(number), clock() - begin_ns)
        if tiles and tile is not None:
            begin_ns = clock()
            sessions.run_tile(np.zeros(tile.input.shape, tile.input.dtype))
            meter.add(steps.TILE, clock() - begin_ns)


def _warm_up_companion(companion: Companion, frame_hw: Size, meter: CostMeter, clock: Callable[[], int]) -> None:
    for _ in range(WARM_UP_RUNS):
        begin_ns = clock()
        companion.probabilities(np.zeros((*frame_hw, 3), np.uint8))
        meter.add(steps.COMPANION, clock() - begin_ns)


def _warm_up_motion(observer: MotionObserver, frame_hw: Size) -> None:
    """Estimate the motion of noise with every estimator a few times: the policy chooses between them by their costs."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*frame_hw, 3), np.uint8) for _ in range(2)]
    for name in ESTIMATORS:
        for number in range(WARM_UP_RUNS):
            observer(images[number % 2], name)
    observer.forget()


def _check_replay(replay: Path | DeviceProfile, bundle: Bundle, variant: Variant) -> DeviceProfile:
    """A device profile to replay: of this bundle and variant, on any machine."""
    profile, path = (read_device_profile(replay), replay) if isinstance(replay, Path) else (replay, "the profile")
    if profile.bundle_sha256 != bundle.sha256:
        raise CalibrationError(f"{path} is of another bundle than {bundle.root}; calibrate this one")
    if profile.variant != variant.id:
        raise CalibrationError(f"{path} is of {profile.variant}, not {variant.id}; open that variant")
    return profile


def _export_costs_ms(variant: Variant) -> dict[Step, float]:
    """Milliseconds by step, as measured where the bundle was exported."""
    costs_ms = {
        steps.slice_step(number): part.latency_ms
        for number, part in enumerate(variant.slices)
        if part.latency_ms is not None
    }
    if variant.parity is not None and variant.parity.latency_ms is not None:
        costs_ms[steps.INFER] = variant.parity.latency_ms
    if variant.tile is not None and variant.tile.latency_ms is not None:
        costs_ms[steps.TILE] = variant.tile.latency_ms
    return costs_ms


def _check_needs(policy: Policy, variant: Variant, *, gives_labels: bool) -> None:
    """Raise OptionError if the variant lacks what the policy needs."""
    if gives_labels and policy.needs in ("context", "tiles"):
        raise OptionError(
            f"policy {policy.name!r} pastes scores together, and this bundle gives label maps; export it with scores,"
            " or choose deadline, async, fixed or adaptive"
        )
    reason = variant.unsliced or "it was exported without them"
    unwarpable = [spec.name for spec in variant.carried if spec.layout == "any" or spec.dtype not in CARRIED_DTYPES]
    if policy.needs in ("context", "any") and unwarpable:
        raise OptionError(
            f"{variant.id} carries {unwarpable[0]!r}, which has no layout that can be warped; export with --carry"
        )
    if policy.needs in ("slices", "context") and not variant.slices:
        raise OptionError(f"policy {policy.name!r} needs slices, and {variant.id} has none: {reason}")
    if policy.needs == "context" and variant.context is None:
        raise OptionError(
            f"policy {policy.name!r} needs a context stage, and none was found in {variant.id};"
            " choose sliced, fixed or adaptive"
        )
    if policy.needs == "tiles" and variant.tile is None:
        reason = variant.untiled or "export with --tiles 192x256, or another size"
        raise OptionError(f"policy {policy.name!r} needs a tile graph, and {variant.id} has none: {reason}")


def _check_guided(head: HeadSpec, labels: LabelsSize, input_hw: Size) -> None:
    """Raise OptionError where there are no scores to be guided; warn where they may be too large for it."""
    if head.kind == "labels":
        raise OptionError("guided borders need scores, and this bundle gives label maps; export it with scores")
    if labels == "network":
        raise OptionError("guided borders are those of label maps at the frames' size; leave out labels='network'")
    if head.align == "nearest":
        raise OptionError("guided borders need scores that are enlarged smoothly, and this network's are not")
    if any(2 * cells > pixels for cells, pixels in zip(head.size_hw, input_hw, strict=True)):
        log.warning(
            "the network's scores are %dx%d: only frames at least twice as large get guided borders", *head.size_hw
        )


def _tiles_of(variant: Variant, frame_hw: Size, cells_hw: Size) -> tuple[Tile, ...]:
    if variant.tile is None:
        return ()
    height, width, _ = variant.tile.input.hwc
    return divide(frame_hw, (height, width), cells_hw, variant.tile.halo)
