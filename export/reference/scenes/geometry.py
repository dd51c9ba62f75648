"""Array aliases, class ids and dimensions of the renderer.

World coordinates: metres, x right, y up, z along the street, road surface at y = 0. Camera: x right, y down, z ahead.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatMap: TypeAlias = NDArray[np.float32]
"""``(H, W)`` float32."""

Matrix: TypeAlias = NDArray[np.float64]
"""Vectors and matrices, float64."""

Pixels: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)`` BGR, ``(H, W, 4)`` BGRA or ``(H, W)``, uint8."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

PAVEMENT_HEIGHT_M = 0.12
CHUNK_M = 40.0
"""Length of the street sections that are generated together."""
