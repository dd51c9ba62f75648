"""Choose the range over which the scores of the classes are quantized.

Least squares, as for other activations, spend levels on scores that decide nothing: those of classes that are out of
the question, and those of a class that has won by far. What counts is which class wins, and what becomes of the
probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.quantization.ranges import LEVELS

_SAMPLE = 400_000
"""Values of all frames that ranges are tried on."""
_AS_GOOD = 0.05
"""What a wider range may change more than the best: unseen frames have other scores."""
_SHARES = np.geomspace(0.05, 1.0, 20)


class ScoreObserver:
    """A sample of the cells of all frames, each with its neighbour, in constant memory for a known number of frames.

    Args:
        frames: How many frames will be seen.
    """

    def __init__(self, frames: int) -> None:
        self._limit = max(1, _SAMPLE // frames)
        self._pairs: list[NDArray[np.float32]] = []

    def see(self, scores: NDArray[np.float32]) -> None:
        """Add the scores of a frame, ``(1, C, h, w)``."""
        columns = np.moveaxis(scores[0], 0, -1)
        last = columns.shape[1] - 1
        pairs = np.stack([columns[:, : max(last, 1)], columns[:, min(last, 1) :]], 2).reshape(-1, 2, scores.shape[1])
        step = -(-pairs.size // self._limit)
        self._pairs.append(pairs[:: step | 1].copy())  # an odd step does not stay on one column

    @property
    def has_seen(self) -> bool:
        """Whether there is anything to choose by."""
        return bool(self._pairs)

    def best(self) -> tuple[float, float]:
        """The widest range, zero included, whose quantization changes about as little as that of the best one.

        Counted are the places that change their class, and the total variation of the probabilities, in cells and
        halfway to the next: a device interpolates scores.
        """
        pairs = np.concatenate(self._pairs)
        if not pairs.any():
            return 0.0, 0.0
        before = _places(pairs)
        shares, winners = _softmax(before), before.argmax(1)

        def change(span: tuple[float, float]) -> float:
            rounded = _places(_round(pairs, span))
            variation = np.abs(_softmax(rounded) - shares).sum() / 2
            return float(variation + np.count_nonzero(rounded.argmax(1) != winners))

        lows, highs = _candidates(-pairs.min()), _candidates(pairs.max())
        changes = {(-low, high): change((-low, high)) for low in lows for high in highs if low + high > 0}
        most = min(changes.values()) * (1 + _AS_GOOD) + 0.5
        return max((span for span, found in changes.items() if found <= most), key=lambda span: span[1] - span[0])


def _places(pairs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores ``(2 N, C)`` of ``N`` cells, and halfway to their neighbours."""
    return np.concatenate([pairs[:, 0], pairs.mean(1)])


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
