"""Keyframes when the carried map has drifted too far."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Infer, Propagate
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """Run the whole network when the predicted drift exceeds ``max_drift``, and propagate in between.

    Use it when the scene is still for long and then is not. A keyframe takes the network's full time, and a busy scene
    may need one on every frame. The drift model decides: run ``edge-vseg calibrate`` on a video of your own.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, who learn the deviation with a small
    network on low-level features; here it is linear in motion and gray differences, which are there anyway.
    Mahasseni et al., Budget-Aware Deep Semantic Video Segmentation, CVPR 2017.

    Attributes:
        max_drift: Share of the pixels that may have drifted, 0 to 1.
        max_age_frames: A keyframe comes after this many frames in any case.
        motion: Motion estimator.
    """

    max_drift: float = 0.04
    max_age_frames: int = 15
    motion: str = "dis-fine"
    name: str = "adaptive"
    needs: str = ""

    def __post_init__(self) -> None:
        """Raise OptionError if the drift is not a share or the age below 1."""
        if not 0 < self.max_drift <= 1 or self.max_age_frames < 1:
            raise OptionError(f"max_drift must be in (0, 1] and max_age_frames 1 or more, got {self}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        drift, age = situation.drift, situation.age_frames
        if age is None:
            return Decision(actions=(Infer(),), reason="first frame")
        if drift > self.max_drift:
            return Decision(actions=(Infer(),), reason=f"drift {drift:.1%} passes {self.max_drift:.1%}")
        if age >= self.max_age_frames:
            return Decision(actions=(Infer(),), reason=f"{age} frames old")
        return Decision(actions=(Propagate(),), reason=f"drift {drift:.1%}")
