"""Signal to quantization noise."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.analysis.metrics import sqnr_db


@pytest.mark.parametrize(("ratio", "expected"), [(1e-1, 20.0), (1e-2, 40.0), (1.0, 0.0), (10.0, -20.0)])
def test_known_ratios(ratio: float, expected: float) -> None:
    signal = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    assert sqnr_db(signal, signal * np.float32(1 + ratio)) == pytest.approx(expected, abs=1e-3)


def test_by_the_formula() -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(2, 5, (4, 8, 9)).astype(np.float32)
    noisy = signal + rng.normal(0, 0.3, signal.shape).astype(np.float32)
    pairs = list(zip(signal.reshape(-1).tolist(), noisy.reshape(-1).tolist(), strict=True))
    power, noise = sum(s * s for s, _ in pairs), sum((s - q) ** 2 for s, q in pairs)
    assert sqnr_db(signal, noisy) == pytest.approx(10 * np.log10(power / noise), abs=1e-4)


def test_uniform_rounding_gives_six_decibels_a_bit() -> None:
    """The textbook figure for a full-scale uniform signal: 6.02 dB for each bit."""
    signal = np.random.default_rng(2).uniform(-1, 1, 200_000).astype(np.float32)
    for bits in (4, 8):
        step = 2 / 2**bits
        rounded = (np.round(signal / step) * step).astype(np.float32)
        assert sqnr_db(signal, rounded) == pytest.approx(6.02 * bits, abs=0.1)


def test_bounds() -> None:
    signal = np.ones(4, np.float32)
    assert sqnr_db(signal, signal) == 200.0
    assert sqnr_db(np.zeros(4, np.float32), signal) == -200.0
    assert sqnr_db(np.zeros(4, np.float32), np.zeros(4, np.float32)) == 200.0
