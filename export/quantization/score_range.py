"""Choose the range over which the scores of the classes are quantized.

Least squares, as for other activations, spend levels on scores that decide nothing: those of classes that are out of
the question, and those of a class that has won by far. What counts is which class wins, and what becomes of the
probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 255
_SAMPLE = 400_000
"""Values of all frames that ranges are tried on."""
_SHARES = np.geomspace(0.05, 1.0, 20)


class ScoreObserver:
    """A sample of the cells of all frames, in constant memory for a known number of frames.

    Args:
        frames: How many frames will be seen.
    """

    def __init__(self, frames: int) -> None:
        self._limit = max(1, _SAMPLE // frames)
        self._cells: list[NDArray[np.float32]] = []

    def see(self, scores: NDArray[np.float32]) -> None:
        """Add the scores of a frame, ``(1, C, h, w)``."""
        cells = np.moveaxis(scores[0], 0, -1).reshape(-1, scores.shape[1])
        step = -(-cells.size // self._limit)
        self._cells.append(cells[:: step | 1])  # an odd step does not stay on one column

    @property
    def has_seen(self) -> bool:
        """Whether there is anything to choose by."""
        return bool(self._cells)

    def best(self) -> tuple[float, float]:
        """The range, zero included, whose quantization changes least.

        Counted are the cells that change their class, and the total variation of the probabilities.
        """
        cells = np.concatenate(self._cells)
        if not cells.any():
            return 0.0, 0.0
        before, winners = _softmax(cells), cells.argmax(1)

        def change(span: tuple[float, float]) -> float:
            rounded = _round(cells, span)
            variation = np.abs(_softmax(rounded) - before).sum() / 2
            return float(variation + np.count_nonzero(rounded.argmax(1) != winners))

        lows, highs = _candidates(-cells.min()), _candidates(cells.max())
        ranges = [(-low, high) for low in lows for high in highs if low + high > 0]
        return min(ranges, key=change)


def _candidates(extreme: np.floating) -> list[float]:
    return [float(extreme * share) for share in _SHARES] if extreme > 0 else [0.0]


def _round(values: NDArray[np.float32], span: tuple[float, float]) -> NDArray[np.float32]:
    low, high = span
    step = (high - low) / LEVELS
    return np.clip(np.round(values / step), round(low / step), round(low / step) + LEVELS) * np.float32(step)


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(values - values.max(1, keepdims=True))
    shares: NDArray[np.float32] = raised / raised.sum(1, keepdims=True)
    return shares
