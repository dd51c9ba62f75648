"""Predict how far a carried label map has drifted from what the network would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftModel:
    """Share of a cell's pixels that one more frame makes wrong: what it adds, and what it uncovers.

    Each part is linear, so that it holds for a cell as for a whole frame. What frames add is summed along the track;
    what they uncover (:mod:`edge_vseg.motion.uncovered`) is a least, for a place that was never seen is no more wrong
    for being uncovered twice. ``edge-vseg calibrate`` fits the weights to your network and video; until then
    :data:`DEFAULT_DRIFT` holds.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, predict the deviation with a small network
    on features of the segmentation network; these statistics are there anyway.

    Attributes:
        bias: Drift per frame whatever the statistics.
        speed: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.speed`.
        spread: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.spread`.
        unexplained: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.unexplained`.
        changed: Weight of :attr:`~edge_vseg.scheduling.situation.MotionStatistics.changed`.
        uncovered: Weight of :func:`~edge_vseg.motion.uncovered.uncovered`.
    """

    bias: float = 0.0
    speed: float = 0.0
    spread: float = 0.0
    unexplained: float = 0.0
    changed: float = 0.0
    uncovered: float = 0.0

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

    def least(self, uncovered: NDArray[np.float32]) -> NDArray[np.float32]:
        """The least drift after a frame, by cell.

        Args:
            uncovered: ``(h, w)`` float32, expected share that was not visible before the frame.

        Returns:
            ``(h, w)`` float32, 0 or more.
        """
        return np.asarray(np.float32(self.uncovered) * uncovered, np.float32)


DEFAULT_DRIFT = DriftModel(unexplained=0.2, uncovered=1.0)
"""Fitted to rendered streets, whose labels were carried. Motion alone makes nothing wrong where flow follows it: with
weights of 0.2 for speed and spread in its place, drift ranks the pixels of CamVid that really differ at 0.61 to 0.66
instead of 0.72 to 0.77 (area under the ROC curve, 1 to 8 frames after a keyframe)."""
