"""Fit the drift model to a video: how fast a carried map departs from what the network gives. Needs no labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.imaging.label_maps import best_class
from edge_vseg.motion import sampling_map
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.device_profile import DriftFit
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.observation import MotionObservation
from edge_vseg.scheduling.state import MotionStep, Origin, Track
from edge_vseg.types import LabelMap, Probabilities, Size

BEGIN = Origin(frame=0, capture_ns=0)
MAX_AGE_FRAMES = 12
"""Frames that a map is carried before the next keyframe; the fit covers every age up to it."""
TERMS = 5
"""Terms of the model: bias and four statistics."""
ITERATIONS = 500
RIDGE = 1e-3


@dataclass(slots=True, eq=False)
class DriftFitter:
    """Accumulates the least squares of the drift model frame by frame, in constant memory.

    A keyframe's map is propagated and compared with what the network gives for each frame. The share of differing
    pixels in a cell is the target; the motion statistics summed along the way are the terms.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, learn the deviation from the same
    comparison by frame; here it is linear and by cell.

    Attributes:
        statistics_hw: Size of the statistics.
    """

    statistics_hw: Size
    _keyframe: Probabilities | None = None
    _track: Track | None = None
    _age_frames: int = 0
    _sums: NDArray[np.float32] | None = None
    _products: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, TERMS, TERMS)))
    _targets: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, TERMS)))
    _frames: list[tuple[int, NDArray[np.float64], float]] = field(default_factory=list)
    _keyframes: int = 0

    def add(self, observation: MotionObservation | None, probabilities: Probabilities) -> None:
        """Add a frame.

        Args:
            observation: Its motion; ``None`` for the first frame, or after a cut.
            probabilities: ``(C, h, w)`` float32, the network's for it, which are kept.
        """
        self._age_frames += 1
        if observation is None or self._track is None or self._age_frames > MAX_AGE_FRAMES:
            self._keyframe, self._age_frames = probabilities, 0
            self._track = Track.begin(BEGIN, self.statistics_hw)
            self._sums = np.zeros((TERMS, *self.statistics_hw), np.float32)
            self._keyframes += 1
            return
        assert self._keyframe is not None
        assert self._sums is not None
        no_drift = np.zeros(self.statistics_hw, np.float32)  # the sums below take its place
        still = observation.estimator == "still"
        self._track.extend(MotionStep.of(observation.motion, observation.coarse, no_drift, still=still), BEGIN)
        x, y = sampling_map(observation.coarse)
        terms = (np.ones(self.statistics_hw, np.float32), *observation.statistics)
        for plane, term in zip(self._sums, terms, strict=True):
            plane[:] = cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) + term
        carried = self._keyframe if self._track.motion is None else warp_scores(self._keyframe, self._track.motion)
        self._accumulate(best_class(carried), best_class(probabilities))

    def _accumulate(self, carried: LabelMap, truth: LabelMap) -> None:
        assert self._sums is not None
        height, width = self.statistics_hw
        wrong = np.asarray(carried != truth, np.float32)
        target = cv2.resize(wrong, (width, height), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
        statistics = self._sums.reshape(TERMS, -1).astype(np.float64)
        # Alternate keyframes make two halves for cross-validation.
        half = self._keyframes % 2
        self._products[half] += statistics @ statistics.T / target.size
        self._targets[half] += statistics @ target / target.size
        self._frames.append((half, statistics.mean(axis=1), float(wrong.mean())))

    def model(self) -> DriftModel:
        """The model fitted to all frames."""
        return _model(_solve(self._products.sum(axis=0), self._targets.sum(axis=0)))

    def cross_validate(self) -> DriftFit | None:
        """How well models of one half of the keyframes predict the other half; ``None`` if there are too few frames."""
        if self._keyframes < 2 or len(self._frames) < 2 * MAX_AGE_FRAMES:
            return None
        weights = [_solve(self._products[half], self._targets[half]) for half in (0, 1)]
        predicted = np.array([weights[1 - half] @ statistics for half, statistics, _ in self._frames])
        true = np.array([drift for _, _, drift in self._frames])
        constant = predicted.std() == 0 or true.std() == 0
        correlation = 0.0 if constant else float(np.corrcoef(predicted, true)[0, 1])
        return DriftFit(
            frames=len(true),
            correlation=correlation,
            mean_error=float(np.abs(predicted - true).mean()),
            mean_drift=float(true.mean()),
        )


def _solve(products: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative ridge regression by cyclic coordinate descent (Franc et al., CAIP 2005)."""
    scale = np.sqrt(np.maximum(np.diag(products), 1e-12))
    matrix = products / np.outer(scale, scale) + RIDGE * np.eye(len(scale))
    target = targets / scale
    weights = np.zeros(len(scale))
    for _ in range(ITERATIONS):
        for index in range(len(scale)):
            rest = target[index] - matrix[index] @ weights + matrix[index, index] * weights[index]
            weights[index] = max(0.0, rest / matrix[index, index])
    return np.asarray(weights / scale, np.float64)


def _model(weights: NDArray[np.float64]) -> DriftModel:
    bias, speed, spread, unexplained, changed = (float(value) for value in weights)
    return DriftModel(bias=bias, speed=speed, spread=spread, unexplained=unexplained, changed=changed)
