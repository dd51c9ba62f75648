"""Convert frames to network inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from edge_vseg.export.reference.zoo.weights import NORMALIZATION
from edge_vseg.types import Image


def to_input(images: Sequence[Image]) -> torch.Tensor:
    """Normalise ``(H, W, 3)`` images to ``(N, 3, H, W)`` float32, channels last in memory."""
    mean, scale = (np.array(values, np.float32) for values in (NORMALIZATION.mean, NORMALIZATION.scale))
    stack = (np.stack(images).astype(np.float32) - mean) / scale
    return torch.from_numpy(stack).permute(0, 3, 1, 2)
