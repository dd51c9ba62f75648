"""Array names of the renderer, and the classes of the street.

World: metres, x to the right, y up, z along the street, the road at y = 0. Camera: x to the right, y down, z ahead.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatMap: TypeAlias = NDArray[np.float32]
"""``(H, W)`` float32."""

Matrix: TypeAlias = NDArray[np.float64]
"""Vectors and matrices of the geometry, float64."""

Pixels: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)`` BGR, ``(H, W, 4)`` BGRA or ``(H, W)``, uint8."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

PAVEMENT_HEIGHT_M = 0.12
CHUNK_M = 40.0
