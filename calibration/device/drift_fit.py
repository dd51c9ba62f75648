"""Fit the drift model to a video: how fast a carried map leaves what the network would say, without any labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.imaging.label_maps import best_class
from edge_vseg.motion import sampling_map
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.observation import MotionObservation
from edge_vseg.scheduling.state import MotionStep, Track
from edge_vseg.types import LabelMap, Logits, Probabilities, Size, softmax

MAX_AGE_FRAMES = 12
"""Frames that a map is carried before the next keyframe; drift is learnt at every age up to it."""
SIGNS = 5
ROUNDS = 500
RIDGE = 1e-3


@dataclass(slots=True, eq=False)
class DriftFitter:
    """Takes frame after frame; keeps sums, and a few numbers of each frame.

    A keyframe's map is carried along the motion, and held against what the network says of each frame by itself.
    Where they differ, cell by cell, is what the statistics summed up along the way have to explain.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, learn deviation from the same comparison,
    by frame; the linear form and the cells are this project's.

    Attributes:
        cells_hw: Size of the logits.
        statistics_hw: Size of the maps of statistics.
    """

    cells_hw: Size
    statistics_hw: Size
    _key: Probabilities | None = None
    _track: Track | None = None
    _sums: NDArray[np.float32] | None = None
    _products: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, SIGNS, SIGNS)))
    _targets: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, SIGNS)))
    _frames: list[tuple[int, NDArray[np.float64], float]] = field(default_factory=list)
    _keys: int = 0

    def add(self, look: MotionObservation | None, logits: Logits) -> None:
        """Learn from one frame.

        Args:
            look: What it shows against the one before; ``None`` for the first frame, or after a cut.
            logits: ``(C, h, w)`` float32, what the network says of it.
        """
        if look is None or self._track is None or self._track.frames >= MAX_AGE_FRAMES:
            self._key = softmax(logits)
            self._track = Track.begin(self.cells_hw, self.statistics_hw)
            self._sums = np.zeros((SIGNS, *self.statistics_hw), np.float32)
            self._keys += 1
            return
        assert self._key is not None
        assert self._sums is not None
        nothing = np.zeros(self.statistics_hw, np.float32)  # the sums below stand for the drift
        self._track.go_on(MotionStep.of(look.motion, look.coarse, nothing, still=look.estimator == "still"))
        x, y = sampling_map(look.coarse)
        for plane, sign in zip(self._sums, (np.ones(self.statistics_hw, np.float32), *look.statistics), strict=True):
            plane[:] = cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) + sign
        carried = self._key if self._track.still else warp_scores(self._key, self._track.field)
        self._learn(best_class(carried), best_class(logits))

    def _learn(self, carried: LabelMap, truth: LabelMap) -> None:
        assert self._sums is not None
        height, width = self.statistics_hw
        wrong = np.asarray(carried != truth, np.float32)
        target = cv2.resize(wrong, (width, height), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
        statistics = self._sums.reshape(SIGNS, -1).astype(np.float64)
        # Keyframes in turns to two halves, each of which judges what the other has learnt.
        half = self._keys % 2
        self._products[half] += statistics @ statistics.T / target.size
        self._targets[half] += statistics @ target / target.size
        self._frames.append((half, statistics.mean(axis=1), float(wrong.mean())))

    def model(self) -> DriftModel:
        """The model, from all frames."""
        return _model(_solve(self._products.sum(axis=0), self._targets.sum(axis=0)))

    def judge(self) -> tuple[int, float, float, float] | None:
        """How models of one half do on the other: frames, correlation, mean error, mean drift; ``None`` if too few."""
        if self._keys < 2 or len(self._frames) < 2 * MAX_AGE_FRAMES:
            return None
        weights = [_solve(self._products[half], self._targets[half]) for half in (0, 1)]
        predicted = np.array([weights[1 - half] @ statistics for half, statistics, _ in self._frames])
        true = np.array([drift for _, _, drift in self._frames])
        flat = predicted.std() == 0 or true.std() == 0
        correlation = 0.0 if flat else float(np.corrcoef(predicted, true)[0, 1])
        return len(true), correlation, float(np.abs(predicted - true).mean()), float(true.mean())


def _solve(products: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares by cyclic coordinate descent (Franc et al., CAIP 2005), lightly ridged."""
    scale = np.sqrt(np.maximum(np.diag(products), 1e-12))
    matrix = products / np.outer(scale, scale) + RIDGE * np.eye(len(scale))
    goal = targets / scale
    weights = np.zeros(len(scale))
    for _ in range(ROUNDS):
        for at in range(len(scale)):
            rest = goal[at] - matrix[at] @ weights + matrix[at, at] * weights[at]
            weights[at] = max(0.0, rest / matrix[at, at])
    return np.asarray(weights / scale, np.float64)


def _model(weights: NDArray[np.float64]) -> DriftModel:
    bias, speed, spread, unexplained, changed = (float(value) for value in weights)
    return DriftModel(bias=bias, speed=speed, spread=spread, unexplained=unexplained, changed=changed)
