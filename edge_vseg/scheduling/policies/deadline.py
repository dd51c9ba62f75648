"""A deadline for every frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_vseg.decision import (
    ALL_SLICES,
    Action,
    Advance,
    Collect,
    Decision,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
)
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies.port import FrameLimits
from edge_vseg.scheduling.situation import Costs, Situation

CONTEXT_STALENESS, FEATURE_STALENESS = 0.5, 0.8
"""A context spread over N frames loses as much mIoU as a keyframe spread over 0.5 N + 0.8: measured on CamVid's val
clip with the middle network, contexts over 2, 3, 4 frames against keyframes over 2, 3, 4, 6."""
MIN_SLICES_BESIDE_MOTION = 2
"""Slices that must fit beside the motion; else the next frame gets a coarser estimator."""
MIN_IDLE_SHARE = 0.25
"""Share of the frame period that must be idle for a keyframe in the background; less is used up by the next frame."""
COARSER_MOTIONS = ("dis", "dis-coarse", "still")
"""Cheaper estimators to fall back to, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Do the most valuable thing that fits into a deadline, judged by high quantiles of what it costs on this machine.

    Use it when no frame may take longer than so many milliseconds. The deadline is that of the answer, not the time
    that the network has: where the machine idles between frames and has a core to spare, the network runs in the
    background, one keyframe after the other, and each frame warps the last finished map, which costs it little. So a
    network of several frame periods still gives every frame its map.

    Without such time (one core, or frames that come as fast as they are answered) the first of these that fits is done:

    1. the whole network, always the first choice;
    2. tiles, if those that fit hold at least :attr:`min_drift_share` of the predicted drift;
    3. stem and detail stage with the carried context, and slices of the next context in the time left, if the maps get
       less stale than with 4;
    4. slices of a keyframe, and the last probabilities propagated;
    5. as many tiles as fit, those with the most drift first;
    6. the last probabilities propagated;
    7. the last label map, held.

    When the motion leaves no time for anything else, the next frame gets a coarser estimator, in the end none. A
    keyframe is never run as a burst: a map that reaches ``max_age_frames`` is renewed slice by slice, even if a slice
    alone exceeds the deadline, and the decision says so. The first frame has nothing to propagate and takes as long as
    it takes. Costs are estimates: a machine that slows down suddenly misses a deadline now and then.

    Reference: none; the literature schedules for a mean cost. The idea of anytime algorithms: Zilberstein, Using
    Anytime Algorithms in Intelligent Systems, AI Magazine 1996.

    Attributes:
        milliseconds: The deadline, from the frame's arrival to its label map.
        cpu_share: Share of the machine that both lanes may use together, 0 to 1: heat, battery, other processes.
        max_age_ms: Never show a map from an image that was captured longer ago; see :class:`FrameLimits`.
        max_age_frames: Renew a map of this age whatever it costs.
        min_drift_share: Share of the predicted drift that a few tiles must hold to be preferred to 3 and 4.
        motion: Motion estimator, while there is time for it.
    """

    milliseconds: float
    cpu_share: float = 1.0
    max_age_ms: float | None = None
    max_age_frames: int = 12
    min_drift_share: float = 0.8
    motion: str = "dis-fine"
    name: str = "deadline"
    needs: str = "any"

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range."""
        if not self.milliseconds > 0 or self.max_age_frames < 1 or not 0 < self.min_drift_share <= 1:
            raise OptionError(
                f"milliseconds must be positive, max_age_frames 1 or more and min_drift_share in (0, 1], got {self}"
            )
        _ = self.limits

    @property
    def limits(self) -> FrameLimits:
        """What holds on every frame."""
        return FrameLimits(deadline_ms=self.milliseconds, cpu_share=self.cpu_share, max_age_ms=self.max_age_ms)

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        # In the background the network needs no time of the frame's.
        beside_ms = 0.0 if _has_background(situation) else MIN_SLICES_BESIDE_MOTION * max(costs.slices_ms, default=0.0)
        return replace(self._decide(situation, costs), next_motion=self._next_motion(costs, beside_ms))

    def _next_motion(self, costs: Costs, beside_ms: float) -> str:
        """The finest estimator that leaves time to propagate, and for something beside it."""
        rest_ms = costs.fixed_ms - costs.motion_ms + costs.propagate_ms
        if self.motion in COARSER_MOTIONS:
            coarser = COARSER_MOTIONS[COARSER_MOTIONS.index(self.motion) + 1 :]
        else:
            coarser = COARSER_MOTIONS
        moving, still = (self.motion, *coarser[:-1]), COARSER_MOTIONS[-1]
        for name in moving:
            if rest_ms + costs.motions_ms.get(name, 0.0) + beside_ms <= self.milliseconds:
                return name
        coarsest = moving[-1]
        return coarsest if rest_ms + costs.motions_ms.get(coarsest, 0.0) <= self.milliseconds else still

    def _decide(self, situation: Situation, costs: Costs) -> Decision:
        left_ms = self.milliseconds - costs.fixed_ms
        age = situation.age_frames
        if age is None:
            # In stages where there are some: the first context comes with it.
            staged = situation.context_slices is not None
            return Decision(actions=(Refresh(ALL_SLICES), Detail()) if staged else (Infer(),), reason="first frame")
        if costs.infer_ms + costs.fuse_ms <= left_ms:
            return Decision(actions=(Infer(),), reason="fits whole")
        if _has_background(situation) or situation.background_work is not None:
            return self._keyframe_in_background(situation, costs, left_ms)
        for option in (self._drifted_tiles, self._feature_reuse, self._keyframe_slices, self._affordable_tiles):
            decision = option(situation, costs, left_ms)
            if decision is not None:
                return decision
        if age >= self.max_age_frames:
            renew: tuple[Action, ...] = (Advance(1), Propagate()) if situation.slice_count else (Infer(),)
            return Decision(actions=renew, reason=f"{age} frames old", over_budget=True)
        if costs.propagate_ms <= left_ms:
            return Decision(actions=(Propagate(),), reason="no slice fits")
        return Decision(actions=(Hold(),), reason="not even carrying fits", over_budget=True)

    def _keyframe_in_background(self, situation: Situation, costs: Costs, left_ms: float) -> Decision:
        """Keep the background busy; answer with its last keyframe."""
        age, busy = situation.background_age_frames, situation.background_work is not None
        start: tuple[Action, ...] = (Launch(),) if _has_background(situation) else ()
        if situation.background_done:
            return Decision(actions=(Collect(), *start), reason=f"keyframe {age} frames old")
        answer: Action = Propagate() if costs.propagate_ms <= left_ms else Hold()
        if not busy:
            return Decision(actions=(*start, answer), reason="keyframe to the background")
        return Decision(actions=(answer,), reason=f"background busy for {age} frames")

    def _drifted_tiles(self, situation: Situation, costs: Costs, left_ms: float) -> Decision | None:
        """The tiles with most of the drift, if all of them fit."""
        drift, age = situation.tile_drift, situation.age_frames
        total = sum(drift)
        count = self._max_tiles(situation, costs, left_ms)
        # The rest of the frame ages all the same: an old map, or a keyframe in progress, comes first.
        stale = age is None or age >= self.max_age_frames or situation.keyframe_slices_done > 0
        if not total or not count or stale:
            return None
        chosen = sorted(range(len(drift)), key=lambda tile: -drift[tile])[:count]
        share = sum(drift[tile] for tile in chosen) / total
        if share < self.min_drift_share:
            return None
        return Decision(actions=(InferTiles(tuple(sorted(chosen))),), reason=f"{share:.0%} of the drift")

    def _affordable_tiles(self, situation: Situation, costs: Costs, left_ms: float) -> Decision | None:
        """As many tiles as fit: first those that are too old, then those with the most drift."""
        drift, ages = situation.tile_drift, situation.tile_age_frames
        count = self._max_tiles(situation, costs, left_ms)
        if not count or not drift:
            return None
        ranked = sorted(
            range(len(drift)), key=lambda tile: (ages[tile] < self.max_age_frames, -drift[tile], -ages[tile])
        )
        chosen = tuple(sorted(ranked[:count]))
        return Decision(actions=(InferTiles(chosen),), reason=f"{len(chosen)} of {len(drift)} tiles")

    def _max_tiles(self, situation: Situation, costs: Costs, left_ms: float) -> int:
        if not situation.tile_drift or costs.tile_ms <= 0:
            return 0
        free_ms = max(0.0, left_ms - costs.propagate_ms - costs.fuse_ms)
        return min(len(situation.tile_drift), int(free_ms / costs.tile_ms))

    def _feature_reuse(self, situation: Situation, costs: Costs, left_ms: float) -> Decision | None:
        """Carried context and fresh detail, if that gives less stale maps than keyframes would."""
        age = situation.context_age_frames
        if situation.context_slices is None or age is None:
            return None  # a keyframe brings a context, too
        first, end = situation.context_slices
        detail_ms = sum(costs.slices_ms[:first]) + sum(costs.slices_ms[end:]) + costs.carry_ms + costs.fuse_ms
        context_left_ms, keyframe_left_ms = left_ms - detail_ms, left_ms - costs.propagate_ms
        context_ms = costs.slices_ms[first:end]
        if context_left_ms < max(context_ms) or age > 2 * self.max_age_frames:  # it would hardly be renewed
            return None
        context_frames = sum(context_ms) / context_left_ms
        keyframe_frames = (sum(costs.slices_ms) + costs.fuse_ms) / keyframe_left_ms
        if context_frames * CONTEXT_STALENESS + FEATURE_STALENESS >= keyframe_frames:
            return None
        refresh = Refresh(ALL_SLICES, self._until_ms(costs, 0.0))
        return Decision(actions=(Detail(), refresh), reason=f"context {age} frames old")

    def _keyframe_slices(self, situation: Situation, costs: Costs, left_ms: float) -> Decision | None:
        """As many slices of a keyframe as there is time for, and the last probabilities propagated."""
        total, done = situation.slice_count, situation.keyframe_slices_done
        if not total:
            return None
        last = done == total - 1
        until_ms = self._until_ms(costs, costs.propagate_ms)
        if costs.slices_ms[done] + costs.propagate_ms + (costs.fuse_ms if last else 0.0) > left_ms:
            # The last slice may fit beside a held map: its own scores are the better map.
            if not last or costs.slices_ms[-1] + costs.fuse_ms > left_ms:
                return None
            return Decision(actions=(Advance(1, self._until_ms(costs, 0.0)),), reason="last slice")
        # Renewing a map that is too old matters more than a slice that may finish late.
        forced = (Advance(1),) if (situation.age_frames or 0) >= self.max_age_frames else ()
        actions: tuple[Action, ...] = (*forced, Advance(ALL_SLICES, until_ms), Propagate())
        return Decision(actions=actions, reason=f"{done} of {total} slices done")

    def _until_ms(self, costs: Costs, after_ms: float) -> float:
        """When actions must be done, in ms from the frame's start, if ``after_ms`` of others follow."""
        return self.milliseconds - after_ms


def _has_background(situation: Situation) -> bool:
    return situation.background and situation.idle_share >= MIN_IDLE_SHARE
