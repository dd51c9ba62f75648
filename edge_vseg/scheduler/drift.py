"""Predict how far a carried map has drifted from what the network would say."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.policies import MotionFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """Share of pixels lost a frame, as a linear function of the frame's statistics.

    The default was fitted to a two-branch network on a drive; ``edge-vseg calibrate`` fits it to your own.

    Attributes:
        bias: Always.
        speed: For :attr:`MotionFacts.speed`.
        spread: For :attr:`MotionFacts.spread`.
        unexplained: For :attr:`MotionFacts.unexplained`.
        changed: For :attr:`MotionFacts.changed`.
    """

    bias: float = 0.0
    speed: float = 0.2
    spread: float = 0.2
    unexplained: float = 0.3
    changed: float = 0.0

    def step(self, facts: MotionFacts) -> float:
        """What one frame adds to the drift, never below 0."""
        moved = self.speed * facts.speed + self.spread * facts.spread
        seen = self.unexplained * facts.unexplained + self.changed * facts.changed
        return max(0.0, self.bias + moved + seen)
