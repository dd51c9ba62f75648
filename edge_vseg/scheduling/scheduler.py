"""Looks at every frame, lets a policy decide, and says what came of it."""

from __future__ import annotations

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
from edge_vseg.scheduling.actions import Decision
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.executor import Executor
from edge_vseg.scheduling.fusion import FRESH_SHARE
from edge_vseg.scheduling.observation import MotionObservation, MotionObserver
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.situation import Situation
from edge_vseg.scheduling.state import MotionStep
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import Image, LabelSource, MotionField, Scores, Size, Tensor

WARM_UPS = 6
MAX_CAPTURES = 4096
"""Frames whose capture times are kept; a map that is older counts as that old."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What the scheduler has for a frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32, at the network's output size.
        mapped: ``(C, h, w)`` float32 to make the label map from: the network's own scores where nothing was carried or
            mixed in, so that such a map is that of the network, else the probabilities.
        fresh: Whether they differ from the last frame's, so that a new label map is due.
        source: ``inferred`` by the whole network from this very frame, ``partial``: by some stages of it or in some
            tiles, ``propagated`` along the motion, or ``held``.
        age_frames: Frames since the image that the oldest of them come from.
        age_map: ``(h, w)`` float32, the same by cell; where the motion leads out of the older image, one more.
        age_ms_map: ``(h, w)`` float32, milliseconds from the capture of that image to the capture of this one.
        drift_map: ``(h', w')`` float32, predicted share of wrong pixels by cell of the statistics.
        decision: What was decided, and why.
    """

    probabilities: Scores
    mapped: Scores
    fresh: bool
    source: LabelSource
    age_frames: int
    age_map: NDArray[np.float32]
    age_ms_map: NDArray[np.float32]
    drift_map: NDArray[np.float32]
    decision: Decision


class Scheduler:
    """Decides frame by frame.

    Args:
        graphs: The network.
        head: What its output is.
        frame_hw: Size of the frames that it sees.
        policy: Who decides.
        clock: Nanoseconds, such as :func:`time.perf_counter_ns`.
        meter: Knows what things cost.
        drift: Predicts how far carried maps are off.
        fresh_share: Weight of a fresh frame against what was carried; 1 for no fusion.

    Raises:
        OptionError: If the graph lacks what the policy needs, or its head gives no scores.
    """

    def __init__(
        self,
        graphs: VariantSessions,
        head: HeadSpec,
        frame_hw: Size,
        policy: Policy,
        *,
        clock: Callable[[], int],
        meter: CostMeter,
        drift: DriftModel,
        fresh_share: float = FRESH_SHARE,
    ) -> None:
        if head.kind == "labels":
            raise OptionError("this bundle's graphs give finished label maps, which cannot be scheduled; export scores")
        if policy.motion:
            check_motion(policy.motion)
        _check_needs(policy, graphs.variant)
        self.policy = policy
        self.meter = meter
        self._graphs = graphs
        self._cells: Size = head.size_hw
        self._clock = clock
        self._drift = drift
        self._observer = MotionObserver(frame_hw, self._cells, tell=meter.add, clock=clock)
        self._tiles = _divided(graphs.variant, frame_hw, self._cells) if policy.needs in ("tiles", "any") else ()
        self._executor = Executor(
            graphs,
            head,
            self._observer.statistics_hw,
            tiles=self._tiles,
            clock=clock,
            meter=meter,
            fresh_share=fresh_share if policy.motion else 1.0,
        )
        self._number = 0
        self._last: Scores | None = None
        self._next_motion = policy.motion
        self._captures: deque[int] = deque(maxlen=MAX_CAPTURES)
        if policy.needs:
            self._warm_up()

    def __call__(
        self, image: Image, tensor: Tensor, *, started: int, capture_ns: int, codec: MotionField | None = None
    ) -> Outcome:
        """Decide for a frame and carry it out.

        Args:
            image: ``(H, W, 3)`` uint8, the frame at any size, for the motion.
            tensor: The network's input.
            started: When the frame came, by the clock.
            capture_ns: When it was captured.
            codec: Its motion as the video's codec has it.
        """
        self._captures.append(capture_ns)
        look = self._observer(image, self._next_motion, codec) if self._next_motion else None
        begin = self._clock()
        self._move(look)
        self._executor.drop_superseded()
        estimator = look.estimator if look else ""
        decision = self.policy.decide(self._situation(look), self.meter.costs(estimator))
        self.meter.add("deciding", self._clock() - begin)
        source = self._executor.execute(
            decision.actions, tensor, started, look.statistics[2] if look is not None else None
        )
        self._next_motion = decision.next_motion or self.policy.motion
        self._number += 1
        if look is not None and self.policy.motion == CODEC and estimator != CODEC:
            decision = replace(decision, reason=f"{decision.reason}; motion by {estimator}, the codec has none")
        probabilities = self._shown(source)
        begin = self._clock()
        outcome = self._outcome(source, decision, probabilities)
        self.meter.add("closing", self._clock() - begin)
        self.meter.next_frame()
        return outcome

    def close(self) -> None:
        """Wait for what is under way, and release the graphs."""
        self._executor.close()

    def _shown(self, source: LabelSource) -> Scores:
        """The probabilities in the shown, carried into the present if that is how they are to be shown."""
        shown = self._executor.shown
        assert shown is not None
        if source == "held" and self._last is not None:
            return self._last
        self._last = shown.probabilities
        if source == "propagated" and not shown.track.still:
            begin = self._clock()
            self._last = warp_scores(shown.probabilities, shown.track.field)
            self.meter.add("propagate", self._clock() - begin)
        return self._last

    def _outcome(self, source: LabelSource, decision: Decision, probabilities: Scores) -> Outcome:
        shown = self._executor.shown
        assert shown is not None
        track = shown.track
        ages = shown.ages_now()
        now = self._captures[-1]
        # By age in frames: how long ago the frame was captured.
        oldest = min(int(ages.max()) + 1, len(self._captures))
        since = np.array([(now - self._captures[-1 - age]) / 1e6 for age in range(oldest)], np.float32)
        visible = probabilities.view()
        visible.flags.writeable = False  # they may be carried on
        return Outcome(
            probabilities=visible,
            mapped=shown.scores if shown.scores is not None and track.still else probabilities,
            fresh=source != "held",
            source=source,
            age_frames=track.frames + int(shown.ages.max()),
            age_map=ages,
            age_ms_map=since[np.minimum(ages.astype(np.intp), oldest - 1)],
            drift_map=track.drift.copy(),
            decision=decision,
        )

    def _situation(self, look: MotionObservation | None) -> Situation:
        kept, context = self._executor, self._graphs.variant.context
        shown = kept.shown
        divided = shown is not None and bool(self._tiles)
        return Situation(
            frame_index=self._number,
            age_frames=shown.track.frames + int(shown.ages.max()) if shown else None,
            drift=float(shown.track.drift.mean()) if shown else 0.0,
            tile_drift=tile_means(shown.track.drift, self._tiles, self._cells) if shown and divided else (),
            tile_age_frames=_oldest(shown.ages_now(), self._tiles, self._cells) if shown and divided else (),
            motion=look.facts if look else None,
            slice_count=len(self._graphs.variant.slices),
            context_slices=context,
            context_age_frames=kept.context.track.frames if kept.context else None,
            keyframe_slices_done=kept.key.done if kept.key else 0,
            keyframe_age_frames=kept.key.track.frames if kept.key else 0,
            refresh_slices_done=kept.refresh.done if kept.refresh else 0,
            refresh_age_frames=kept.refresh.track.frames if kept.refresh else 0,
            worker_age_frames=kept.launched.track.frames if kept.launched else None,
            worker_done=kept.launched.output.done() if kept.launched else False,
        )

    def _move(self, look: MotionObservation | None) -> None:
        step = None
        if look is not None:
            still = look.estimator == "still"
            step = MotionStep.of(look.motion, look.coarse, self._drift.step(look.statistics), still=still)
        for track in self._executor.tracks():
            track.go_on(step)

    def _warm_up(self) -> None:
        """Run every part a few times: first runs allocate, and what a part costs must be known before it counts."""
        graphs = self._graphs
        spec, tile = graphs.input, graphs.variant.tile
        for _ in range(WARM_UPS):
            values: dict[str, Tensor] = {spec.name: np.zeros(spec.shape, spec.dtype)}
            if self.policy.needs in ("slices", "context", "any"):
                for number in range(len(graphs.variant.slices)):
                    begin = self._clock()
                    values |= graphs.run_slice(number, values)
                    self.meter.add(f"slice {number}", self._clock() - begin)
            if self._tiles and tile is not None:
                begin = self._clock()
                graphs.run_tile(np.zeros(tile.input.shape, tile.input.dtype))
                self.meter.add("tile", self._clock() - begin)


def _oldest(ages: NDArray[np.float32], tiles: tuple[Tile, ...], cells_hw: Size) -> tuple[float, ...]:
    return tuple(float(part.max()) for part in cores(ages, tiles, cells_hw))


def _check_needs(policy: Policy, variant: Variant) -> None:
    """Refuse a policy whose graphs are not there, and say what would be.

    Raises:
        OptionError: Naming what is missing.
    """
    why = variant.unsliced or "it was exported without them"
    fixed = [spec.name for spec in variant.carried if spec.layout == "any" or spec.dtype not in CARRIED_DTYPES]
    if policy.needs in ("context", "any") and fixed:
        raise OptionError(
            f"{variant.id} carries {fixed[0]!r}, which has no places that motion could move; export with --carry"
        )
    if policy.needs in ("slices", "context") and not variant.slices:
        raise OptionError(f"policy {policy.name!r} needs slices, and {variant.id} has none: {why}")
    if policy.needs == "context" and variant.context is None:
        raise OptionError(
            f"policy {policy.name!r} needs a network whose context may be old, and no place to cut {variant.id}"
            " like that was found; choose sliced, fixed or adaptive"
        )
    if policy.needs == "tiles" and variant.tile is None:
        why = variant.untiled or "export with --tiles 192x256, or another size"
        raise OptionError(f"policy {policy.name!r} needs a graph for tiles, and {variant.id} has none: {why}")


def _divided(variant: Variant, frame_hw: Size, cells_hw: Size) -> tuple[Tile, ...]:
    if variant.tile is None:
        return ()
    height, width, _ = variant.tile.input.hwc
    return divide(frame_hw, (height, width), cells_hw, variant.tile.halo)
