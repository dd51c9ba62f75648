"""Infer every frame: the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.scheduling.actions import Decision, Infer
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryFrame:
    """The whole network on every frame; with ``motion``, fused with what was carried over."""

    name: str = "every-frame"
    motion: str = ""
    needs: str = ""

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        return Decision(actions=(Infer(),), reason="every frame")
