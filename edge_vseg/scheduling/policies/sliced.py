"""A keyframe spread over several frames (T5)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Action, Advance, Decision, Infer, Propagate
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliced:
    """Some slices of a keyframe on every frame; what it gives is carried along the motion since its frame.

    Reference: Carreira et al., Massively Parallel Video Networks, ECCV 2018, depth-parallel on one processor.

    Attributes:
        frames: Frames that a keyframe is spread over.
        motion: Motion estimator.
    """

    frames: int = 3
    motion: str = "dis-fine"
    name: str = "sliced"
    needs: str = "slices"

    def __post_init__(self) -> None:
        """Refuse a number of frames below 1."""
        if self.frames < 1:
            raise OptionError(f"frames must be 1 or more, got {self.frames}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if now.age is None:
            return Decision(actions=(Infer(),), reason="first frame")
        turn = now.key_age if now.key_done else 0
        due = min(-(-now.slices * (turn + 1) // self.frames), now.slices) - now.key_done
        actions: tuple[Action, ...] = (Advance(due), Propagate()) if due > 0 else (Propagate(),)
        return Decision(actions=actions, reason=f"slice {now.key_done + due} of {now.slices}")
