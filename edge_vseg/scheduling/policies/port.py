"""The port that every policy implements."""

from __future__ import annotations

from typing import Protocol

from edge_vseg.scheduling.actions import Decision
from edge_vseg.scheduling.situation import Costs, Situation


class Policy(Protocol):
    """Decides what is done for each frame; a pure function of what it is given.

    Attributes:
        name: What users call it.
        motion: Name of the motion estimator that it wants (see :data:`edge_vseg.motion.ESTIMATORS`); empty for none.
        needs: What a graph must have: ``""``, ``"slices"``, ``"context"``, ``"tiles"``, or ``"any"``: of all
            these, what there is.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def motion(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """What to do for this frame."""
        ...
