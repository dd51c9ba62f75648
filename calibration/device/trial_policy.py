"""A policy that does everything in turn, so that the scheduler's own meter learns what it costs here."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.motion import ESTIMATORS
from edge_vseg.scheduling.actions import Action, Advance, Decision, Detail, Infer, InferTiles, Propagate, Refresh
from edge_vseg.scheduling.situation import Costs, Situation

TIMED_MOTIONS = tuple(ESTIMATORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPolicy:
    """Whole frames, slices, contexts, tiles and carrying in turn, with every motion estimator."""

    needs: str = "any"
    motion: str = "dis"
    name: str = "rehearsal"

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        turns = self._turns(situation)
        actions = turns[situation.frame_index % len(turns)] if situation.age_frames is not None else (Infer(),)
        # Another estimator each time round, so that every action meets every one.
        motion = TIMED_MOTIONS[
            (situation.frame_index + situation.frame_index // len(TIMED_MOTIONS)) % len(TIMED_MOTIONS)
        ]
        return Decision(actions=actions, reason="rehearsal", next_motion=motion)

    def _turns(self, situation: Situation) -> list[tuple[Action, ...]]:
        turns: list[tuple[Action, ...]] = [(Infer(),), (Propagate(),)]
        if situation.tile_drift:
            turns += [(InferTiles((situation.frame_index % len(situation.tile_drift),)),)] * 2
        # Whole chains, one slice a frame: what renews the map in between would drop what is under way.
        turns += [(Advance(1), Propagate())] * situation.slice_count
        if situation.context_slices is not None:
            turns += [(Refresh(), Detail())] if situation.context_age_frames is None else [(Detail(), Refresh(1))] * 4
        return turns
