"""Keyframes at a fixed interval (T1)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Decision, Hold, Infer, Propagate
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """The whole network on every ``period``-th frame; between them the last probabilities are carried, or held.

    Reference: Jain & Gonzalez, Fast Semantic Segmentation on Video Using Block Motion-Based Feature Interpolation, ECCV
    2018, on scores and with dense flow; held, it is the frame skipping that everybody compares with.

    Attributes:
        period: Frames from one keyframe to the next.
        motion: Motion estimator; ``still`` holds the last map.
    """

    period: int = 4
    motion: str = "dis-fine"
    name: str = "fixed"
    needs: str = ""

    def __post_init__(self) -> None:
        """Refuse a period below 1."""
        if self.period < 1:
            raise OptionError(f"period must be 1 frame or more, got {self.period}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if now.age is None or now.age >= self.period:
            return Decision(actions=(Infer(),), reason="keyframe")
        kept = Hold() if self.motion == "still" else Propagate()
        return Decision(actions=(kept,), reason=f"{now.age} after the keyframe")
