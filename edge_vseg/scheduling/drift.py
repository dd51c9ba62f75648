"""Predict how far a carried label map has drifted from what the network would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """Share of a cell's pixels that one more frame makes wrong, linear in the motion statistics of the cell.

    Linear, so that it holds for a cell as for a whole frame. ``edge-vseg calibrate`` fits it to your own video. The
    default lies between what fits to rendered streets and to CamVid give: neither has any use for speed and spread,
    as motion makes nothing wrong where flow follows it. Drift ranks wrong pixels of CamVid at 0.65 to 0.71 (area under
    the ROC curve, 1 to 8 frames after a keyframe); with weights of 0.2 for both, it was 0.53 to 0.61.

    Tried, and not worth its time on every frame: what was uncovered (:mod:`edge_vseg.motion.uncovered`) as a least that
    is carried along. It ranks better, at 0.65 to 0.73, but the tiles that are inferred for it are no better.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, predict the deviation with a small network
    on features of the segmentation network; these statistics are there anyway.

    Attributes:
        bias: Drift per frame whatever the statistics.
        speed: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.speed`.
        spread: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.spread`.
        unexplained: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.unexplained`.
        changed: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.changed`.
    """

    bias: float = 0.0
    speed: float = 0.0
    spread: float = 0.0
    unexplained: float = 0.5
    changed: float = 0.1

    def step(self, statistics: NDArray[np.float32]) -> NDArray[np.float32]:
        """Drift that one frame adds, by cell.

        Args:
            statistics: ``(4, h, w)`` float32: speed, spread, unexplained, changed.

        Returns:
            ``(h, w)`` float32, 0 or more.
        """
        # Term by term: the last bits of an einsum depend on where its arrays lie in memory.
        drift = np.full(statistics.shape[1:], self.bias, np.float32)
        for weight, plane in zip((self.speed, self.spread, self.unexplained, self.changed), statistics, strict=True):
            if weight:
                drift += np.float32(weight) * plane
        return np.maximum(drift, 0, out=drift)
