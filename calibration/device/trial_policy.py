"""A policy that tries every action in turn, so that the cost meter learns what each costs here."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Action, Advance, Decision, Detail, Infer, InferTiles, Propagate, Refresh
from edge_vseg.motion import ESTIMATORS
from edge_vseg.scheduling.situation import Costs, Situation

TRIAL_MOTIONS = tuple(ESTIMATORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPolicy:
    """Runs every action that the variant supports in turn, with every motion estimator; for calibration only."""

    needs: str = "any"
    motion: str = "dis"
    name: str = "trial"

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        cycle, index = self._cycle(situation), situation.frame_index
        actions = cycle[index % len(cycle)] if situation.age_frames is not None else (Infer(),)
        # Shifted by one each time round, so that every action meets every estimator.
        motion = TRIAL_MOTIONS[(index + index // len(TRIAL_MOTIONS)) % len(TRIAL_MOTIONS)]
        return Decision(actions=actions, reason="trial", next_motion=motion)

    def _cycle(self, situation: Situation) -> list[tuple[Action, ...]]:
        cycle: list[tuple[Action, ...]] = [(Infer(),), (Propagate(),)]
        if situation.tile_drift:
            cycle += [(InferTiles((situation.frame_index % len(situation.tile_drift),)),)] * 2
        # One slice per frame, without a break: anything that renews the map in between drops the keyframe in progress.
        cycle += [(Advance(1), Propagate())] * situation.slice_count
        if situation.context_slices is not None:
            first = situation.context_age_frames is None
            cycle += [(Refresh(), Detail())] if first else [(Detail(), Refresh(1))] * 4
        return cycle
