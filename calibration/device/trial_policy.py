"""A policy that does everything in turn, so that the scheduler's own meter learns what it costs here."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.motion import ESTIMATORS
from edge_vseg.scheduling.actions import Action
from edge_vseg.scheduling.policies import (
    Advance,
    Costs,
    Decision,
    Detail,
    Infer,
    InferTiles,
    Propagate,
    Refresh,
    Situation,
)

TIMED_MOTIONS = tuple(ESTIMATORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPolicy:
    """Whole frames, slices, contexts, tiles and carrying in turn, with every motion estimator."""

    needs: str = "any"
    motion: str = "dis"
    name: str = "rehearsal"

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        turns = self._turns(now)
        actions = turns[now.number % len(turns)] if now.age is not None else (Infer(),)
        # Another estimator each time round, so that every action meets every one.
        motion = TIMED_MOTIONS[(now.number + now.number // len(TIMED_MOTIONS)) % len(TIMED_MOTIONS)]
        return Decision(actions=actions, reason="rehearsal", next_motion=motion)

    def _turns(self, now: Situation) -> list[tuple[Action, ...]]:
        turns: list[tuple[Action, ...]] = [(Infer(),), (Propagate(),)]
        if now.tiles:
            turns += [(InferTiles((now.number % len(now.tiles),)),)] * 2
        # Whole chains, one slice a frame: what renews the map in between would drop what is under way.
        turns += [(Advance(1), Propagate())] * now.slices
        if now.context is not None:
            turns += [(Refresh(), Detail())] if now.context_age is None else [(Detail(), Refresh(1))] * 4
        return turns
