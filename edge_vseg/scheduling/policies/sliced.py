"""Keyframes spread over several frames."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Action, Advance, Decision, Infer, Propagate
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliced:
    """Run a keyframe spread over ``period_frames`` frames, and propagate the last one meanwhile.

    Use it when every frame should cost the same; works with any partitioned network. A keyframe is a period old when
    it completes and nearly two when the next one replaces it, so fast scenes suffer.

    Reference: Carreira et al., Massively Parallel Video Networks, ECCV 2018 (depth-parallel; here in turns on one
    processor, with the result warped to the present).

    Attributes:
        period_frames: Frames that a keyframe is spread over.
        motion: Motion estimator.
    """

    period_frames: int = 3
    motion: str = "dis-fine"
    name: str = "sliced"
    needs: str = "slices"

    def __post_init__(self) -> None:
        """Raise OptionError if the period is below 1."""
        if self.period_frames < 1:
            raise OptionError(f"period_frames must be 1 or more, got {self.period_frames}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if situation.age_frames is None:
            return Decision(actions=(Infer(),), reason="first frame")
        total, done = situation.slice_count, situation.keyframe_slices_done
        frame = situation.keyframe_age_frames if done else 0
        due = min(-(-total * (frame + 1) // self.period_frames), total) - done
        actions: tuple[Action, ...] = (Advance(due), Propagate()) if due > 0 else (Propagate(),)
        return Decision(actions=actions, reason=f"slice {done + due} of {total}")
