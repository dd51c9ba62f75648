"""A fixed number of milliseconds for every frame (T9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import (
    MANY,
    Action,
    Advance,
    Decision,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Propagate,
    Refresh,
)
from edge_vseg.scheduling.situation import Costs, Situation

CONTEXT_STALENESS, FEATURE_STALENESS = 0.5, 0.8
"""A context spread over so many frames costs as much mIoU as a keyframe spread over 0.5 times as many and 0.8: measured
on CamVid's val clip with the middle network, contexts over 2, 3, 4 frames against keyframes over 2, 3, 4, 6."""
SLICES_BESIDE_MOTION = 2
"""Slices that should fit beside the motion, or a coarser estimator is taken."""
OVER_DEADLINE = "over deadline"
"""How the reason begins when nothing that fits will do."""
COARSER = ("dis", "dis-coarse", "still")
"""Estimators that cost less than a policy's own, in the order in which they are fallen back to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The most valuable actions that fit into a deadline, by high quantiles of what they cost here.

    In this order, the first that fits:

    1. the whole network;
    2. the tiles in which most of the predicted drift is, if all of them fit that make up :attr:`share` of it;
    3. stem and detail stage with the carried context, and slices of the next context in the time left, if that makes
       maps less stale than 4. would;
    4. slices of a keyframe, and the last probabilities carried along;
    5. tiles, as many as fit, those with the most drift first;
    6. the last probabilities carried along;
    7. the last label map, held.

    Where the motion costs so much that nothing can be carried beside it, the next frame is looked at with a coarser
    estimator, and in the end with none. A keyframe never comes as a burst. A map that would get older than ``oldest``
    frames is renewed slice by slice even if a slice alone is over the deadline, and the decision says so. The first
    frame has nothing to carry, and is inferred whatever it takes.

    Reference: none; the literature schedules for a mean cost. Zilberstein, Using Anytime Algorithms in Intelligent
    Systems, AI Magazine 1996, for the idea.

    Attributes:
        milliseconds: The deadline.
        oldest: Frames.
        share: Of the predicted drift that few tiles must hold to be worth more than what the whole frame gets.
        motion: Motion estimator, while there is time for it.
    """

    milliseconds: float
    oldest: int = 12
    share: float = 0.8
    motion: str = "dis-fine"
    name: str = "deadline"
    needs: str = "any"

    def __post_init__(self) -> None:
        """Refuse a deadline that is no time."""
        if not self.milliseconds > 0 or self.oldest < 1 or not 0 < self.share <= 1:
            raise OptionError(f"a deadline needs positive milliseconds and frames, and share is a share, got {self}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        return replace(self._decide(now, costs), next_motion=self._next_motion(costs))

    def _next_motion(self, costs: Costs) -> str:
        """The finest estimator that leaves time to carry something along it, and for some slices beside."""
        rest = costs.every - costs.motion + costs.propagate
        below = COARSER[COARSER.index(self.motion) + 1 :] if self.motion in COARSER else COARSER
        moving, still = (self.motion, *below[:-1]), COARSER[-1]
        slices = SLICES_BESIDE_MOTION * max(costs.slices, default=0.0)
        for name in moving:
            if rest + costs.motions.get(name, 0.0) + slices <= self.milliseconds:
                return name
        coarsest = moving[-1]
        return coarsest if rest + costs.motions.get(coarsest, 0.0) <= self.milliseconds else still

    def _decide(self, now: Situation, costs: Costs) -> Decision:
        left = self.milliseconds - costs.every
        if now.age is None:
            # In stages where there are some: the first context comes with it.
            first = (Refresh(MANY), Detail()) if now.context is not None else (Infer(),)
            return Decision(actions=first, reason="first frame")
        if costs.whole + costs.fresh <= left:
            return Decision(actions=(Infer(),), reason="fits whole")
        for choose in (self._hot_tiles, self._features, self._key, self._tiles):
            decision = choose(now, costs, left)
            if decision is not None:
                return decision
        if now.age >= self.oldest and now.slices:
            return Decision(actions=(Advance(1), Propagate()), reason=f"{OVER_DEADLINE}: {now.age} frames old")
        if now.age >= self.oldest:
            return Decision(actions=(Infer(),), reason=f"{OVER_DEADLINE}: {now.age} frames old")
        if costs.propagate <= left:
            return Decision(actions=(Propagate(),), reason="no slice fits")
        return Decision(actions=(Hold(),), reason=f"{OVER_DEADLINE}: not even carrying fits")

    def _hot_tiles(self, now: Situation, costs: Costs, left: float) -> Decision | None:
        """The tiles that hold most of the drift, if all of them fit."""
        total = sum(now.tiles)
        count = self._affordable(now, costs, left)
        stale = now.age is None or now.age >= self.oldest or now.key_done > 0
        if not total or not count or stale:  # what is in no tile's drift gets old all the same
            return None
        hottest = sorted(range(len(now.tiles)), key=lambda number: -now.tiles[number])[:count]
        held = sum(now.tiles[number] for number in hottest) / total
        if held < self.share:
            return None
        return Decision(actions=(InferTiles(tuple(sorted(hottest))),), reason=f"{held:.0%} of the drift")

    def _tiles(self, now: Situation, costs: Costs, left: float) -> Decision | None:
        """As many tiles as fit, those first that are too old, then those with the most drift."""
        count = self._affordable(now, costs, left)
        if not count or not now.tiles:
            return None
        ranked = sorted(
            range(len(now.tiles)),
            key=lambda number: (now.tile_ages[number] < self.oldest, -now.tiles[number], -now.tile_ages[number]),
        )
        chosen = tuple(sorted(ranked[:count]))
        return Decision(actions=(InferTiles(chosen),), reason=f"{len(chosen)} of {len(now.tiles)} tiles")

    def _affordable(self, now: Situation, costs: Costs, left: float) -> int:
        if not now.tiles or costs.tile <= 0:
            return 0
        return min(len(now.tiles), int(max(0.0, left - costs.propagate) / costs.tile))

    def _features(self, now: Situation, costs: Costs, left: float) -> Decision | None:
        """Old context and fresh detail, if that makes maps less stale than keyframes would be."""
        if now.context is None or now.context_age is None:
            return None  # a keyframe brings a context, too
        first, last = now.context
        path = sum(costs.slices[:first]) + sum(costs.slices[last:]) + costs.carry + costs.fresh
        spare, beside_key = left - path, left - costs.propagate
        context = costs.slices[first:last]
        if spare < max(context) or now.context_age > 2 * self.oldest:  # it would hardly be renewed
            return None
        context_frames = sum(context) / spare
        key_frames = (sum(costs.slices) + costs.fresh) / beside_key
        if context_frames * CONTEXT_STALENESS + FEATURE_STALENESS >= key_frames:
            return None
        refresh = Refresh(MANY, self._until(costs, 0.0))
        return Decision(actions=(Detail(), refresh), reason=f"context {now.context_age} frames old")

    def _key(self, now: Situation, costs: Costs, left: float) -> Decision | None:
        """Slices of a keyframe beside the carried probabilities, as many as there is time for."""
        if not now.slices:
            return None
        last = now.key_done == now.slices - 1
        until = self._until(costs, costs.propagate)
        if costs.slices[now.key_done] + costs.propagate + (costs.fresh if last else 0.0) > left:
            # The last slice may fit beside a map that is held: its own scores are the better map.
            if not last or costs.slices[-1] + costs.fresh > left:
                return None
            return Decision(actions=(Advance(1, self._until(costs, 0.0)),), reason="last slice")
        # A map that is too old goes before a slice that may come late.
        begin = (Advance(1),) if (now.age or 0) >= self.oldest else ()
        actions: tuple[Action, ...] = (*begin, Advance(MANY, until), Propagate())
        return Decision(actions=actions, reason=f"{now.key_done} of {now.slices} slices done")

    def _until(self, costs: Costs, after: float) -> float:
        return self.milliseconds - (costs.every - costs.before) - after
