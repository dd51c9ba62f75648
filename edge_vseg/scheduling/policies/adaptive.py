"""Keyframes when the carried map has drifted too far (T2)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Decision, Infer, Propagate
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """The whole network when the predicted drift passes a limit.

    Reference: Mahasseni et al., Budget-Aware Deep Semantic Video Segmentation, CVPR 2017; Li et al., Low-Latency Video
    Semantic Segmentation, CVPR 2018, whose small regressor of the deviation from low-level features this one
    follows, on motion and photometric statistics that cost nothing more.

    Attributes:
        limit: Share of pixels that may have drifted.
        longest: Frames after which a keyframe comes in any case.
        motion: Motion estimator.
    """

    limit: float = 0.04
    longest: int = 15
    motion: str = "dis-fine"
    name: str = "adaptive"
    needs: str = ""

    def __post_init__(self) -> None:
        """Refuse limits that are no share or no number of frames."""
        if not 0 < self.limit <= 1 or self.longest < 1:
            raise OptionError(f"limit is a share of pixels and longest a number of frames, got {self}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if now.age is None:
            return Decision(actions=(Infer(),), reason="first frame")
        if now.drift > self.limit:
            return Decision(actions=(Infer(),), reason=f"drift {now.drift:.1%} passes {self.limit:.1%}")
        if now.age >= self.longest:
            return Decision(actions=(Infer(),), reason=f"{now.age} frames old")
        return Decision(actions=(Propagate(),), reason=f"drift {now.drift:.1%}")
