"""Keyframes at a fixed interval."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Hold, Infer, Propagate
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Run the whole network on every ``period_frames``-th frame and propagate its probabilities in between.

    Use it when only the mean cost matters and simple is good. A keyframe still takes the network's full time, so the
    worst frame is as slow as without a policy; the longer the period, the staler small and fast objects.

    Reference: Jain & Gonzalez, Fast Semantic Segmentation on Video Using Block Motion-Based Feature Interpolation, ECCV
    2018; here on probabilities instead of features, and with dense flow. ``motion="still"`` is plain frame skipping.

    Attributes:
        period_frames: Frames from one keyframe to the next.
        motion: Motion estimator; ``still`` holds the last label map.
    """

    period_frames: int = 4
    motion: str = "dis-fine"
    name: str = "fixed"
    needs: str = ""

    def __post_init__(self) -> None:
        """Raise OptionError if the period is below 1."""
        if self.period_frames < 1:
            raise OptionError(f"period_frames must be 1 or more, got {self.period_frames}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        age = situation.age_frames
        if age is None or age >= self.period_frames:
            return Decision(actions=(Infer(),), reason="keyframe")
        between = Hold() if self.motion == "still" else Propagate()
        return Decision(actions=(between,), reason=f"{age} after the keyframe")
