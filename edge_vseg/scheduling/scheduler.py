"""The scheduler: observe the motion of a frame, let the policy decide, execute, and report."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec, Variant
from edge_vseg.errors import OptionError
from edge_vseg.imaging.tiles import Tile, cores, divide, tile_means
from edge_vseg.motion import CODEC, check_motion
from edge_vseg.motion.warp import CARRIED_DTYPES, warp_scores
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.actions import Decision
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.executor import Executor
from edge_vseg.scheduling.frame_pace import FramePace
from edge_vseg.scheduling.fusion import FRESH_WEIGHT
from edge_vseg.scheduling.observation import MotionObservation, MotionObserver
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.situation import Situation
from edge_vseg.scheduling.state import MotionStep, ShownMap, Track
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import Image, LabelSource, Logits, MotionField, Probabilities, Size, Tensor

WARM_UP_RUNS = 6
MIN_IDLE_SHARE = 0.25
"""Share of the frame period that must be idle for a keyframe in the background; less is used up by the next frame."""
MAX_CAPTURE_TIMES = 4096
"""Frames whose capture times are kept; an older map counts as this old."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What the scheduler gives for a frame.

    Attributes:
        shown: What is shown, since it became so: the same object means that only the motion has gone on.
        motion: ``(h, w, 2)`` float32 from this frame to that of ``shown``; ``None`` if nothing has moved since.
        logits: ``(C, h, w)`` float32, the network's own scores of this frame, read-only; ``None`` where anything was
            carried or fused.
        changed: Whether the label map differs from the last frame's.
        source: ``inferred`` by the whole network from this frame; ``partial``: by some stages or in some tiles;
            ``propagated`` along the motion; or ``held``.
        age_frames: Frames since the image that the oldest cell comes from.
        age_map: ``(h, w)`` float32, the same by cell; one more where the motion leads out of the older image.
        age_ms_map: ``(h, w)`` float32, milliseconds from the capture of that image to the capture of this one.
        drift_map: ``(h', w')`` float32, predicted share of wrong pixels by cell of the statistics.
        decision: The decision and its reason.
    """

    shown: ShownMap
    motion: MotionField | None
    logits: Logits | None
    changed: bool
    source: LabelSource
    age_frames: int
    age_map: NDArray[np.float32]
    age_ms_map: NDArray[np.float32]
    drift_map: NDArray[np.float32]
    decision: Decision

    @property
    def label_scores(self) -> Logits | Probabilities:
        """``(C, h, w)`` float32 for a new label map: the network's own scores where nothing was warped or fused."""
        if self.motion is not None:
            return self.probabilities
        return self.shown.probabilities if self.shown.logits is None else self.shown.logits

    @functools.cached_property
    def probabilities(self) -> Probabilities:
        """``(C, h, w)`` float32 at the network's output size, warped to this frame when they are read; read-only."""
        probabilities = self.shown.probabilities
        return _read_only(probabilities if self.motion is None else warp_scores(probabilities, self.motion))


class Scheduler:
    """Schedules a variant frame by frame.

    Args:
        sessions: Sessions of the variant.
        head: The network's output.
        frame_hw: Size of the network's input.
        policy: Decides for each frame.
        clock: Time in ns, such as :func:`time.perf_counter_ns`.
        meter: Measures the costs.
        drift: Predicts the drift of carried maps.

    Raises:
        OptionError: If the variant lacks what the policy needs, or gives label maps instead of scores.
    """

    def __init__(
        self,
        sessions: VariantSessions,
        head: HeadSpec,
        frame_hw: Size,
        policy: Policy,
        *,
        clock: Callable[[], int],
        meter: CostMeter,
        drift: DriftModel,
    ) -> None:
        if head.kind == "labels":
            raise OptionError("this bundle gives label maps, which cannot be scheduled; export it with scores")
        if policy.motion:
            check_motion(policy.motion)
        _check_needs(policy, sessions.variant)
        self.policy = policy
        self.meter = meter
        self._sessions = sessions
        self._cells: Size = head.size_hw
        self._clock = clock
        self._drift = drift
        self._observer = MotionObserver(frame_hw, self._cells, on_duration=meter.add, clock=clock)
        self._tiles = _tiles_of(sessions.variant, frame_hw, self._cells) if policy.needs in ("tiles", "any") else ()
        self._executor = Executor(
            sessions,
            head,
            self._observer.statistics_hw,
            tiles=self._tiles,
            clock=clock,
            meter=meter,
            fresh_weight=FRESH_WEIGHT if policy.motion else 1.0,
        )
        self._pace = FramePace()
        self._frame_index = 0
        self._last_motion: MotionField | None = None
        self._next_motion = policy.motion
        self._captures: deque[int] = deque(maxlen=MAX_CAPTURE_TIMES)
        if policy.needs:
            self._warm_up()

    def __call__(
        self,
        image: Image,
        tensor: Callable[[], Tensor],
        *,
        started_ns: int,
        capture_ns: int,
        codec: MotionField | None = None,
    ) -> Outcome:
        """Schedule a frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR of any size, for the motion.
            tensor: Gives the network's input, if it is asked for.
            started_ns: Arrival of the frame, by the clock.
            capture_ns: Capture time in ns.
            codec: Motion vectors of the codec to the previous frame, as a field.

        Raises:
            OptionError: If the policy asks for the impossible, such as tiles before there is a map.
            SessionError: If the runtime fails.
        """
        self._captures.append(capture_ns)
        self._pace.arrive(started_ns)
        observation = self._observer(image, self._next_motion, codec) if self._next_motion else None
        begin_ns = self._clock()
        self._extend_tracks(observation)
        self._executor.drop_superseded()
        estimator = observation.estimator if observation else ""
        decision = self.policy.decide(self._situation(observation), self.meter.costs(estimator))
        self.meter.add(steps.DECIDE, self._clock() - begin_ns)
        source = self._executor.execute(
            decision.actions, tensor, started_ns, observation.statistics[2] if observation is not None else None
        )
        self._next_motion = decision.next_motion or self.policy.motion
        self._frame_index += 1
        if observation is not None and self.policy.motion == CODEC and estimator != CODEC:
            decision = replace(decision, reason=f"{decision.reason}; motion by {estimator}, the codec has none")
        begin_ns = self._clock()
        outcome = self._outcome(source, decision)
        self.meter.add(steps.CLOSE, self._clock() - begin_ns)
        self.meter.next_frame()
        return outcome

    def finish_frame(self) -> None:
        """Tell that the frame has its label map: what follows until the next one is idle time."""
        self._pace.finish(self._clock())

    def close(self) -> None:
        """Wait for the worker, and close the sessions."""
        self._executor.close()

    def _shown_motion(self, source: LabelSource, track: Track) -> MotionField | None:
        """The motion to what is shown; a map that is held has moved no further than on the last frame."""
        if source != "held" or self._frame_index == 1:
            self._last_motion = None if track.still else track.field
        return self._last_motion

    def _outcome(self, source: LabelSource, decision: Decision) -> Outcome:
        shown = self._executor.shown
        assert shown is not None
        track = shown.track
        ages = shown.ages_now()
        count = min(int(ages.max()) + 1, len(self._captures))
        # Index: age in frames.
        ages_ms = np.array([(self._captures[-1] - self._captures[-1 - age]) / 1e6 for age in range(count)], np.float32)
        logits = shown.logits if source == "inferred" else None
        return Outcome(
            shown=shown,
            motion=self._shown_motion(source, track),
            logits=None if logits is None else _read_only(logits),
            changed=source != "held",
            source=source,
            age_frames=track.frames + int(shown.ages.max()),
            age_map=ages,
            age_ms_map=ages_ms[np.minimum(ages.astype(np.intp), count - 1)],
            drift_map=track.drift.copy(),
            decision=decision,
        )

    def _situation(self, observation: MotionObservation | None) -> Situation:
        executor, context = self._executor, self._sessions.variant.context
        shown = executor.shown
        return Situation(
            frame_index=self._frame_index,
            age_frames=shown.track.frames + int(shown.ages.max()) if shown else None,
            drift=float(shown.track.drift.mean()) if shown else 0.0,
            tile_drift=tile_means(shown.track.drift, self._tiles, self._cells) if shown and self._tiles else (),
            tile_age_frames=_max_ages(shown.ages_now(), self._tiles, self._cells) if shown and self._tiles else (),
            motion=observation.mean_statistics if observation else None,
            slice_count=len(self._sessions.variant.slices),
            context_slices=context,
            context_age_frames=executor.context.track.frames if executor.context else None,
            keyframe_slices_done=executor.keyframe.done if executor.keyframe else 0,
            keyframe_age_frames=executor.keyframe.track.frames if executor.keyframe else 0,
            refresh_slices_done=executor.refresh.done if executor.refresh else 0,
            refresh_age_frames=executor.refresh.track.frames if executor.refresh else 0,
            background=self._sessions.background.available and self._pace.idle_share >= MIN_IDLE_SHARE,
            worker_age_frames=executor.worker_run.track.frames if executor.worker_run else None,
            worker_done=executor.worker_run.run.done() if executor.worker_run else False,
        )

    def _extend_tracks(self, observation: MotionObservation | None) -> None:
        step = None
        if observation is not None:
            still = observation.estimator == "still"
            step = MotionStep.of(
                observation.motion, observation.coarse, self._drift.step(observation.statistics), still=still
            )
        for track in self._executor.tracks():
            track.extend(step)

    def _warm_up(self) -> None:
        """Run every part a few times: first runs allocate, and costs must be known before they count."""
        sessions = self._sessions
        spec, tile = sessions.input, sessions.variant.tile
        for _ in range(WARM_UP_RUNS):
            tensors: dict[str, Tensor] = {spec.name: np.zeros(spec.shape, spec.dtype)}
            if self.policy.needs in ("slices", "context", "any"):
                for number in range(len(sessions.variant.slices)):
                    begin_ns = self._clock()
                    tensors |= sessions.run_slice(number, tensors)
                    self.meter.add(steps.slice_step(number), self._clock() - begin_ns)
            if self._tiles and tile is not None:
                begin_ns = self._clock()
                sessions.run_tile(np.zeros(tile.input.shape, tile.input.dtype))
                self.meter.add(steps.TILE, self._clock() - begin_ns)


def _max_ages(ages: NDArray[np.float32], tiles: tuple[Tile, ...], cells_hw: Size) -> tuple[float, ...]:
    return tuple(float(part.max()) for part in cores(ages, tiles, cells_hw))


def _check_needs(policy: Policy, variant: Variant) -> None:
    """Raise OptionError if the variant lacks what the policy needs."""
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


def _tiles_of(variant: Variant, frame_hw: Size, cells_hw: Size) -> tuple[Tile, ...]:
    if variant.tile is None:
        return ()
    height, width, _ = variant.tile.input.hwc
    return divide(frame_hw, (height, width), cells_hw, variant.tile.halo)


def _read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view for the caller of an array that the next frame may carry."""
    view = values.view()
    view.flags.writeable = False
    return view
