"""Infer every frame: the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Infer
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryFrame:
    """Run the whole network on every frame.

    Use it where the network is faster than the camera, and as the baseline. With ``motion`` set, each frame is also
    fused with the carried probabilities, which costs the motion on top and removes flicker.

    Attributes:
        motion: Motion estimator; empty for no fusion.
    """

    name: str = "every-frame"
    motion: str = ""
    needs: str = ""

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        return Decision(actions=(Infer(),), reason="every frame")
