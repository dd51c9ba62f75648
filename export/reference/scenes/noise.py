"""Random generators by key, and multi-octave noise for textures and clouds."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import FloatMap

_WORD = 0xFFFFFFFF


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A generator that depends on seed and keys only, so that a frame does not depend on the frames before it."""
    return np.random.default_rng([seed & _WORD, seed >> 32, *(key & _WORD for key in keys)])


def octave_noise(
    rng: np.random.Generator, shape_hw: tuple[int, int], *, cell_px: float, octaves: int = 4, gain: float = 0.6
) -> FloatMap:
    """Smooth noise: random grids of halving cell size, interpolated and summed.

    Args:
        rng: Random generator.
        shape_hw: Size of the result.
        cell_px: Cell of the coarsest grid, pixels.
        octaves: Number of grids.
        gain: Amplitude of each grid relative to the coarser one.

    Returns:
        ``(H, W)`` float32, mean about 0, standard deviation about 1.

    Reference: Perlin, An Image Synthesizer, SIGGRAPH 1985; here value noise with cubic interpolation.
    """
    height, width = shape_hw
    total = np.zeros(shape_hw, np.float32)
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
        total += gain**octave * np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))
    total /= max(float(total.std()), 1e-6)
    return total
