"""The frame engine: observe the motion of a frame, let the policy decide, execute, and answer with a label map."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.decision import Decision
from edge_vseg.errors import EdgeVsegError, SessionError
from edge_vseg.imaging.guided_filter import Grey
from edge_vseg.imaging.tiles import Tile, cores, tile_means
from edge_vseg.motion import CODEC, STILL
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background import Bid
from edge_vseg.scheduling.background_lane import BackgroundLane
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.costs import CostMeter, NetworkPace
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.enclosure import FrameEnclosure
from edge_vseg.scheduling.frame_lane import FrameInput, FrameLane
from edge_vseg.scheduling.frame_maps import ShownMaps
from edge_vseg.scheduling.frame_pace import FramePace
from edge_vseg.scheduling.observation import MotionObservation, MotionObserver
from edge_vseg.scheduling.policies import FrameLimits, Policy, limits_of, renewal_ms
from edge_vseg.scheduling.shown_labels import ShownLabels
from edge_vseg.scheduling.situation import Aging, Situation
from edge_vseg.scheduling.state import EngineState, MotionStep, Origin, ShownMap, Track
from edge_vseg.scheduling.thing_follower import ThingFollower
from edge_vseg.types import Frame, Image, LabelMap, LabelSource, MotionField, Probabilities, Result, Size, Tensor

log = logging.getLogger(__name__)

DRIFT_GAIN = 0.1
"""Weight of a frame in the running mean of the drift that frames add."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EngineParts:
    """What an engine is put together from; see :mod:`edge_vseg.scheduling.assembly`.

    Attributes:
        frame_lane: Executes actions.
        background: The other lane.
        observer: Estimates motion.
        labels: Makes label maps.
        preprocess: Makes the network's input of an image.
        enclosure: Fits frames into the input's aspect.
        meter: Measures the costs.
        drift: Predicts the drift of carried maps.
        aging: How contexts and tiles age.
        tiles: Tiles of the frame; empty without a tile graph.
        slice_count: Slices of the network.
        context: First and one past the last slice of the context stage; ``None`` if there is none.
        companion: Whether the frame lane has a companion.
        follower: Finds things in carried label maps that the motion has lost; ``None`` for none.
        clock: Time in ns.
        labels_hw: Size of label maps; ``None`` for that of the frame.
        grey: Makes the grey picture that guides borders; ``None`` for interpolated ones.
        cores: Cores of the machine.
        background_cores: Cores that the network takes in the background.
    """

    frame_lane: FrameLane
    background: BackgroundLane
    observer: MotionObserver
    labels: ShownLabels
    preprocess: Callable[[Image], Tensor]
    enclosure: FrameEnclosure
    meter: CostMeter
    drift: DriftModel
    aging: Aging
    tiles: tuple[Tile, ...]
    slice_count: int
    context: tuple[int, int] | None
    companion: bool
    follower: ThingFollower | None
    clock: Callable[[], int]
    labels_hw: Size | None
    grey: Callable[[Image], Grey] | None
    cores: int
    background_cores: int


class FrameEngine:
    """Answers frame after frame, from one explicit state.

    Args:
        policy: Decides for each frame.
        parts: What it is put together from.
        head: The network's output.
    """

    def __init__(self, policy: Policy, parts: EngineParts, head: HeadSpec) -> None:
        self.policy = policy
        self.meter = parts.meter
        self.limits: FrameLimits = limits_of(policy)
        self.state = EngineState()
        self._parts = parts
        self._cells: Size = head.size_hw
        self._clock = parts.clock
        self._pace = FramePace()
        self._last_seq: int | None = None
        self._next_motion = policy.motion
        self._previous: Decision | None = None
        self._drift_rate = 0.0
        self._tracked = True
        self._consulted: tuple[ShownMap, Probabilities | None] | None = None

    def __call__(self, frame: Frame) -> Result:
        """Answer a frame.

        Raises:
            OptionError: If the policy asks for the impossible, such as tiles before there is a map.
            SessionError: If the runtime fails, in either lane, or the frame's motion, or there is no memory left; the
                next frame goes on with the last good map.
        """
        started_ns = self._clock()
        turns = self._parts.background.worker.turns
        turns.begin_frame()
        self._pace.arrive(started_ns)
        self.meter.begin_frame()
        try:
            return self._answer(frame, started_ns)
        except (cv2.error, MemoryError) as exc:  # OpenCV raises its own where there is no memory
            raise SessionError(f"frame {frame.seq} has no map: {_reason(exc)}; the next one goes on") from exc
        finally:
            self._pace.finish(self._clock())
            self._share_cores(turns)
            turns.end_frame(self._pace.next_arrival_ns)

    @property
    def network_pace(self) -> NetworkPace:
        """How often the network makes a map, as far as is known."""
        network_ms = self.meter.network_ms()
        return NetworkPace(
            duration_ms=network_ms,
            wait_ms=self._parts.background.worker.wait_ms(network_ms),
            measured=self.meter.has_measured(steps.BACKGROUND),
        )

    def close(self) -> None:
        """End the background, and close all sessions."""
        with contextlib.closing(self._parts.frame_lane):
            self._parts.background.close()

    def _answer(self, frame: Frame, started_ns: int) -> Result:
        parts, state = self._parts, self.state
        frame, stays = parts.enclosure.enter(frame)
        if not stays:
            self._forget()  # what is carried lies elsewhere in the input
        follows = self._begin(frame)
        # Vectors of the codec lead to the last frame of the video, and the tracks to the last one that was tracked.
        observation = self._observe(frame, frame.motion if follows and self._tracked else None)
        begin_ns = self._clock()
        self._extend_tracks(observation)
        if parts.follower is not None:  # after the tracks: what fails here must not leave them behind
            assert state.now is not None
            parts.follower.see(state.now.frame, frame.image, observation.motion if observation else None)
        parts.background.check(state)
        decision = self._decide(observation, (begin_ns - started_ns) / 1e6)
        self.meter.add(steps.DECIDE, self._clock() - begin_ns)
        given = self._input(frame, started_ns, observation)
        source, consulted = parts.frame_lane.execute(state, decision.actions, given)
        state.frames += 1
        self._previous = decision
        shown = state.shown
        assert shown is not None
        if source != "held":  # a map that is held has moved no further than on the last frame
            state.shown_motion = shown.track.motion
        labels = parts.enclosure.labels(parts.labels(shown, state.shown_motion, given.labels_hw, source, consulted))
        total_ms = (self._clock() - started_ns) / 1e6
        # A miss that the policy foresaw tells nothing about its margin.
        spent_ms = self.meter.end_frame(total_ms, None if decision.over_budget else self.limits.deadline_ms)
        # What is held is shown as it was, the companion's part included.
        if source != "held" or self._consulted is None or self._consulted[0] is not shown:
            self._consulted = None if consulted is None else (shown, consulted.fused)
        fused = None if self._consulted is None else self._consulted[1]
        return self._result(frame, decision, source, labels, fused, spent_ms | {"total": total_ms})

    def _input(self, frame: Frame, started_ns: int, observation: MotionObservation | None) -> FrameInput:
        parts, now = self._parts, self.state.now
        assert now is not None
        return FrameInput(
            image=frame.image,
            preprocess=self._timed_preprocess,
            started_ns=started_ns,
            unexplained=observation.statistics[2] if observation is not None else None,
            labels_hw=parts.labels_hw or parts.enclosure.labels_hw(frame),
            place=parts.enclosure.place,
            track=Track.begin(now, parts.observer.statistics_hw, parts.grey and parts.grey(frame.image)),
        )

    def _result(
        self,
        frame: Frame,
        decision: Decision,
        source: LabelSource,
        labels: LabelMap,
        consulted: Probabilities | None,
        latency_ms: dict[str, float],
    ) -> Result:
        state = self.state
        shown, now = state.shown, state.now
        assert shown is not None
        assert now is not None
        return Result(
            labels=labels,
            maps=self._parts.enclosure.maps(
                ShownMaps(
                    shown=shown,
                    motion=state.shown_motion,
                    drift=shown.track.drift,
                    now=now,
                    seen=shown.track.seen,
                    cells_hw=self._cells,
                    inferred=source == "inferred",
                    consulted=consulted,
                )
            ),
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            done_ns=time.monotonic_ns(),
            latency_ms=latency_ms,
            source=source,
            age_frames=state.age_frames(shown.oldest),
            map_age_ms=(now.capture_ns - shown.oldest.capture_ns) / 1e6,
            still=shown.still,
            seen_ns=shown.seen.capture_ns,
            decision=decision,
            deadline_ms=self.limits.deadline_ms,
            background=self._parts.background.take_spans(),
            followed=self._parts.enclosure.mask(self._parts.labels.followed),
        )

    def _share_cores(self, turns: BackgroundTurns) -> None:
        """Keep both lanes to their share of the machine."""
        share, parts = self.limits.cpu_share, self._parts
        turns.share_cores(
            allowed=math.inf if share >= 1 else share * parts.cores,
            frame_lane=1 - self._pace.idle_share,
            background=parts.background_cores,
        )

    def _begin(self, frame: Frame) -> bool:
        """Go on to a frame of the video; returns whether the codec's motion leads to the last one.

        Everything ages by this alone, before anything of the frame can fail.
        """
        state, last = self.state, self.state.now
        step = 1 if self._last_seq is None else frame.seq - self._last_seq
        follows = step == 1 if frame.motion_to is None else self._last_seq == frame.motion_to
        self._last_seq = frame.seq
        gap_ms = 0.0 if last is None else (frame.capture_ns - last.capture_ns) / 1e6
        max_age_ms = self.limits.oldest_ms(self.meter.network_ms(), renewal_ms(self.policy, self._pace.period_ns / 1e6))
        if last is not None and (step < 1 or gap_ms < 0 or gap_ms > max_age_ms):
            log.info("frame %d comes %.0f ms after the last one; what was carried is forgotten", frame.seq, gap_ms)
            self._forget()
        state.now = Origin(
            frame=(last.frame if last else 0) + max(1, step), capture_ns=frame.capture_ns, pts_ns=frame.pts_ns
        )
        if state.forget_older(frame.capture_ns - round(max_age_ms * 1e6)):
            self._parts.background.cancel(state)
        return follows

    def _forget(self) -> None:
        self._parts.background.cancel(self.state)
        self._pace = FramePace()  # a stall is no pace
        self._parts.observer.forget()
        self.state.forget()

    def _observe(self, frame: Frame, codec: MotionField | None) -> MotionObservation | None:
        self._tracked = False
        if not self._next_motion:
            return None
        try:
            field = None if codec is None or self._next_motion != CODEC else self._parts.enclosure.motion(codec)
            return self._parts.observer(frame.image, self._next_motion, field)
        except EdgeVsegError:  # such as an estimator that does not exist
            raise
        except Exception as exc:  # of OpenCV, numpy, or a field of motion that the caller has brought
            raise SessionError(
                f"the motion of frame {frame.seq} cannot be estimated: {_reason(exc)}; the frame has no map, and the"
                " next one's motion spans both"
            ) from exc

    def _extend_tracks(self, observation: MotionObservation | None) -> None:
        tracks, now = self.state.tracks(), self.state.now
        assert now is not None
        if observation is None:
            for track in tracks:
                track.changed = True  # for all that is known
        elif tracks:
            still = observation.estimator == STILL
            try:
                changed = not still or bool(observation.statistics.any())
                drift = self._parts.drift.step(observation.statistics)
                if not changed:
                    drift = np.zeros_like(drift)  # what the network would give is the same, too
                self._drift_rate += DRIFT_GAIN * (self._mean(drift) - self._drift_rate)
                step = MotionStep.of(observation.motion, observation.coarse, drift, still=still, changed=changed)
                for track in tracks:
                    track.extend(step, now)
            except BaseException:
                self._forget()  # some tracks lead to this frame, others to the last one
                raise
        self._tracked = True

    def _decide(self, observation: MotionObservation | None, elapsed_ms: float) -> Decision:
        estimator = observation.estimator if observation else ""
        decision = self.policy.decide(self._situation(observation), self.meter.costs(elapsed_ms))
        self._next_motion = decision.next_motion or self.policy.motion
        if observation is not None and self.policy.motion == CODEC and estimator not in (CODEC, STILL):
            decision = replace(decision, reason=f"{decision.reason}; motion by {estimator}, the codec has none")
        return decision

    def _mean(self, plane: NDArray[np.float32]) -> float:
        """The mean over the picture."""
        return float(cv2.mean(self._parts.enclosure.within(plane))[0])

    def _timed_preprocess(self, image: Image) -> Tensor:
        begin_ns = self._clock()
        tensor = self._parts.preprocess(image)
        self.meter.add(steps.PREPROCESS, self._clock() - begin_ns)
        return tensor

    def _background_granted(self) -> bool:
        """Whether a keyframe may be begun, now or once the one under way is done."""
        state, job = self.state, self.state.job
        if job is not None and not job.run.done():
            return True
        track = job.track if job is not None else state.shown.track if state.shown is not None else None
        bid = Bid(
            gain=1.0 if track is None else self._mean(track.drift),
            cost_ms=self.meter.usual_ms(steps.BACKGROUND) or self.meter.network_ms(),
            period_ms=self._pace.period_ns / 1e6,
        )
        return self._parts.background.grants(bid)

    def _situation(self, observation: MotionObservation | None) -> Situation:
        state, parts, tiles = self.state, self._parts, self._parts.tiles
        shown, job, now = state.shown, state.job, state.now
        assert now is not None
        drifts: tuple[float, ...] = ()
        ages: tuple[float, ...] = ()
        if shown is not None and tiles:
            drifts = tile_means(shown.track.drift, tiles, self._cells)
            map_ages = shown.ages(now, shown.track.motion, self._cells)
            ages = tuple(float(part.max()) for part in cores(map_ages, tiles, self._cells))
        keyframe, refresh = state.keyframe, state.refresh
        return Situation(
            frame_index=state.frames,
            age_frames=None if shown is None else state.age_frames(shown.oldest),
            age_ms=0.0 if shown is None else (now.capture_ns - shown.oldest.capture_ns) / 1e6,
            scene_age_ms=0.0 if shown is None else now.scene_ms_since(shown.seen),
            drift=0.0 if shown is None else self._mean(shown.track.drift),
            drift_rate=self._drift_rate,
            aging=parts.aging,
            tile_drift=drifts,
            tile_age_frames=ages,
            motion=observation.mean_statistics(self._mean) if observation else None,
            still=shown is not None and shown.still,
            slice_count=parts.slice_count,
            context_slices=parts.context,
            context_age_frames=state.age_frames(state.context.track.origin) if state.context else None,
            keyframe_slices_done=keyframe.done if keyframe else 0,
            keyframe_age_frames=state.age_frames(keyframe.track.origin) if keyframe else 0,
            refresh_slices_done=refresh.done if refresh else 0,
            refresh_age_frames=state.age_frames(refresh.track.origin) if refresh else 0,
            background=self._background_granted(),
            background_rests=parts.background.worker.turns.rests(self._clock(), self._pace.period_ns / 2),
            idle_share=self._pace.idle_share,
            period_ms=self._pace.period_ns / 1e6,
            background_work=job.work if job else None,
            background_age_frames=state.age_frames(job.track.origin) if job else 0,
            background_scene_age_ms=now.scene_ms_since(job.track.seen) if job else 0.0,
            background_drift=self._mean(job.track.drift) if job else 0.0,
            background_done=job.run.done() if job else False,
            companion=parts.companion,
            previous=self._previous,
        )


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
