"""Choose the range over which an activation is quantized.

The full range wastes levels on outliers; a percentile is blind to their cost. The range with the least
mean squared error, found on a histogram, weighs the two (Sung et al., Resiliency of Deep Neural Networks
under Quantization, 2015; Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 2048
SAMPLES_PER_FRAME = 1 << 16
LEVELS = 255
_SHRINKS = np.linspace(0.3, 1.0, 71)


class RangeObserver:
    """Extremes and a histogram of one activation, in constant memory.

    The histogram covers twice the largest magnitude seen when it was laid out, in bins of a power of
    two; a larger value later on merges bins in pairs, so nothing is counted again.
    """

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0
        self._exponent: int | None = None
        self._counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def see(self, value: NDArray[np.float32]) -> None:
        """Add a tensor of any shape; the extremes are exact, the histogram takes at most 65536 values of it."""
        self.low = min(self.low, float(value.min()))
        self.high = max(self.high, float(value.max()))
        reach = max(-self.low, self.high)
        if reach == 0:
            return
        self._widen(math.ceil(math.log2(reach)))
        flat = value.reshape(-1)
        step = -(-flat.size // SAMPLES_PER_FRAME)
        # An odd step does not stay on one column of an image of even width.
        flat = flat[:: step | 1]
        edge = 2.0 ** (self._exponent or 0)
        bins = ((flat.astype(np.float64) + edge) * (BINS / (2 * edge))).astype(np.int64)
        self._counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def _widen(self, exponent: int) -> None:
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            pairs = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.pad(pairs, BINS // 4)
            self._exponent += 1

    def extremes(self) -> tuple[float, float]:
        """The full range, zero included."""
        return self.low, self.high

    def least_error(self) -> tuple[float, float]:
        """The range, zero included, whose 8-bit quantization has the least mean squared error."""
        if self._exponent is None:
            return self.extremes()
        edge = 2.0**self._exponent
        used = np.flatnonzero(self._counts)
        centers = (used + 0.5) * (2 * edge / BINS) - edge
        counts = self._counts[used].astype(np.float64)
        best, best_error = self.extremes(), math.inf
        for low, high in self._candidates():
            step = (high - low) / LEVELS
            clipped = np.clip(centers, low, high)
            error = float((counts * ((centers - clipped) ** 2 + np.where(clipped == centers, step**2 / 12, 0))).sum())
            if error < best_error:
                best, best_error = (low, high), error
        return best

    def _candidates(self) -> list[tuple[float, float]]:
        highs = _SHRINKS * self.high if self.high > 0 else np.zeros(1)
        lows = _SHRINKS * self.low if self.low < 0 else np.zeros(1)
        if self.low < 0 < self.high:
            return [(float(a), float(b)) for a in lows[::5] for b in highs[::5]]
        return [(float(a), float(b)) for a in lows for b in highs]
