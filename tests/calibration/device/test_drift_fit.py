"""The drift fit against a known drift, and its solver against scipy's non-negative least squares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from edge_vseg.calibration.device.drift_fit import MAX_AGE_FRAMES, DriftFitter, _solve
from edge_vseg.scheduling.observation import MotionObservation

CELLS_HW, STATISTICS_HW = (40, 56), (20, 28)


def observed(rng: np.random.Generator) -> MotionObservation:
    statistics = rng.uniform(0, 0.02, (4, *STATISTICS_HW)).astype(np.float32)
    still = np.zeros((*STATISTICS_HW, 2), np.float32)
    return MotionObservation(
        motion=np.zeros((*CELLS_HW, 2), np.float32), coarse=still, statistics=statistics, estimator="still"
    )


def test_the_solver_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        statistics, target = rng.normal(size=(60, 5)), rng.normal(size=60)
        ours = _solve(statistics.T @ statistics, statistics.T @ target)
        assert ours == pytest.approx(nnls(statistics, target)[0], abs=0.02)


def test_finds_the_weight_of_the_only_cause() -> None:
    """Cells turn wrong with a chance of twice their unexplained difference, summed over the frames."""
    rng = np.random.default_rng(2)
    fitter = DriftFitter(STATISTICS_HW)
    truth = rng.integers(0, 2, CELLS_HW)
    for number in range(20 * (MAX_AGE_FRAMES + 1)):
        observation = observed(rng)
        if number % (MAX_AGE_FRAMES + 1) == 0:
            summed = np.zeros(STATISTICS_HW)
            shown = truth.copy()
        else:
            summed += 2 * observation.statistics[2]
            share = np.kron(summed, np.ones((2, 2)))
            shown = np.where(rng.random(CELLS_HW) < share, 1 - truth, truth)
        scores = np.stack((1 - shown, shown)).astype(np.float32) * 9
        fitter.add(observation if number else None, scores)
    model = fitter.model()
    assert model.unexplained == pytest.approx(2, rel=0.25)
    # The other terms take over only what they have in common with it.
    assert model.speed + model.spread + model.changed < 0.7
    fit = fitter.cross_validate()
    assert fit.frames == 20 * MAX_AGE_FRAMES
    assert fit.correlation > 0.95
    assert fit.mean_error < 0.1 * fit.mean_drift


def test_too_few_frames_are_not_cross_validated() -> None:
    fitter, rng = DriftFitter(STATISTICS_HW), np.random.default_rng(0)
    for number in range(10):
        fitter.add(observed(rng) if number else None, np.zeros((2, *CELLS_HW), np.float32))
    assert fitter.cross_validate() is None
