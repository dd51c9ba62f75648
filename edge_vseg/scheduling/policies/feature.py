"""Reuse deep features: old context, fresh detail (T3)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Decision, Detail, Refresh
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Stem and detail stage on every frame; the context is computed in one go on every ``period``-th.

    Reference: Zhu et al., Deep Feature Flow, CVPR 2017, with fresh low-level features beside the carried ones as in
    Jain et al., Accel, CVPR 2019.

    Attributes:
        period: Frames from one context to the next.
        motion: Motion estimator.
    """

    period: int = 5
    motion: str = "dis"
    name: str = "feature"
    needs: str = "context"

    def __post_init__(self) -> None:
        """Refuse a period below 1."""
        if self.period < 1:
            raise OptionError(f"period must be 1 frame or more, got {self.period}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        assert now.context is not None
        first, last = now.context
        if now.context_age is None or now.context_age >= self.period:
            return Decision(actions=(Refresh(last - first), Detail()), reason="context")
        return Decision(actions=(Detail(),), reason=f"context {now.context_age} frames old")
