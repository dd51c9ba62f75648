"""Predict how far a carried map has drifted from what the network would say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """Share of a cell's pixels lost a frame, as a linear function of what is seen there.

    Linear, so that it says as much of one cell as of a whole frame, and can be learnt from whole frames alone. The
    default was fitted to a two-branch network on a drive; ``edge-vseg calibrate`` fits it to your own.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, predict the deviation by a small network
    from features of the segmentation network; these here cost nothing.

    Attributes:
        bias: Always.
        speed: For :attr:`~edge_vseg.scheduling.policies.MotionStatistics.speed`.
        spread: For :attr:`~edge_vseg.scheduling.policies.MotionStatistics.spread`.
        unexplained: For :attr:`~edge_vseg.scheduling.policies.MotionStatistics.unexplained`.
        changed: For :attr:`~edge_vseg.scheduling.policies.MotionStatistics.changed`.
    """

    bias: float = 0.0
    speed: float = 0.2
    spread: float = 0.2
    unexplained: float = 0.3
    changed: float = 0.0

    def step(self, statistics: NDArray[np.float32]) -> NDArray[np.float32]:
        """What one frame adds to the drift, cell by cell.

        Args:
            statistics: ``(4, h, w)`` float32: speed, spread, unexplained, changed.

        Returns:
            ``(h, w)`` float32, never below 0.
        """
        weights = np.array((self.speed, self.spread, self.unexplained, self.changed), np.float32)
        drift = np.einsum("k,khw->hw", weights, statistics) + np.float32(self.bias)
        return np.asarray(np.maximum(drift, 0), np.float32)
