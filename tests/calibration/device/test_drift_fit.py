"""The drift fit against drifts that are known, and scipy's non-negative least squares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from edge_vseg.calibration.device.drift_fit import MAX_AGE_FRAMES, DriftFitter, _solve
from edge_vseg.scheduling.observation import MotionObservation

CELLS_HW, SIGNS_HW = (40, 56), (20, 28)


def look(rng: np.random.Generator) -> MotionObservation:
    statistics = rng.uniform(0, 0.02, (4, *SIGNS_HW)).astype(np.float32)
    still = np.zeros((*SIGNS_HW, 2), np.float32)
    return MotionObservation(
        motion=np.zeros((*CELLS_HW, 2), np.float32), coarse=still, statistics=statistics, estimator="still"
    )


def test_the_solver_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        statistics, target = rng.normal(size=(60, 5)), rng.normal(size=60)
        ours = _solve(statistics.T @ statistics, statistics.T @ target)
        assert ours == pytest.approx(nnls(statistics, target)[0], abs=0.02)


def test_a_drift_that_one_sign_makes_is_found() -> None:
    """Cells turn wrong with a chance of twice their unexplained difference, summed over the frames."""
    rng = np.random.default_rng(2)
    fitter = DriftFitter(CELLS_HW, SIGNS_HW)
    truth = rng.integers(0, 2, CELLS_HW)
    for number in range(20 * (MAX_AGE_FRAMES + 1)):
        seen = look(rng)
        if number % (MAX_AGE_FRAMES + 1) == 0:
            summed = np.zeros(SIGNS_HW)
            shown = truth.copy()
        else:
            summed += 2 * seen.statistics[2]
            share = np.kron(summed, np.ones((2, 2)))
            shown = np.where(rng.random(CELLS_HW) < share, 1 - truth, truth)
        scores = np.stack((1 - shown, shown)).astype(np.float32) * 9
        fitter.add(seen if number else None, scores)
    model = fitter.model()
    assert model.unexplained == pytest.approx(2, rel=0.25)
    # What the others take over is what is the same in all of them.
    assert model.speed + model.spread + model.changed < 0.7
    frames, correlation, mean_error, mean_drift = fitter.judge()
    assert frames == 20 * MAX_AGE_FRAMES
    assert correlation > 0.95
    assert mean_error < 0.1 * mean_drift


def test_too_few_frames_are_not_judged() -> None:
    fitter, rng = DriftFitter(CELLS_HW, SIGNS_HW), np.random.default_rng(0)
    for number in range(10):
        fitter.add(look(rng) if number else None, np.zeros((2, *CELLS_HW), np.float32))
    assert fitter.judge() is None
