"""Frames of videos that a run wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_vseg import open_source


def frames_of(path: Path) -> list[np.ndarray]:
    with open_source(path, strict=True) as source:
        return [frame.image for frame in source]
