"""The port that every policy implements."""

from __future__ import annotations

from typing import Protocol

from edge_vseg.scheduling.actions import Decision
from edge_vseg.scheduling.situation import Costs, Situation


class Policy(Protocol):
    """Decides what to do for each frame. A pure function of its arguments: no clock, no state of its own.

    Attributes:
        name: Name on the command line.
        motion: Motion estimator, one of :data:`edge_vseg.motion.ESTIMATORS` or ``codec``; empty for none.
        needs: What the variant must have: ``""`` nothing, ``"slices"``, ``"context"``, ``"tiles"``; ``"any"`` uses
            whatever there is.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def motion(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def decide(self, situation: Situation, costs: Costs, /) -> Decision:
        """Decide what to do for this frame."""
        ...
