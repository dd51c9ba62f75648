"""Random weights from a fixed seed, and batch normalization that fits them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Network = TypeVar("Network", bound=nn.Module)


def settle(make: Callable[[], Network], size_hw: tuple[int, int], images: int) -> Network:
    """A network, in training mode, whose batch normalization was measured on pairs of smooth random images."""
    torch.manual_seed(0)
    network = make()
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None
    network.train()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(images // 2):
            network(torch.stack([_image(rng, size_hw), _image(rng, size_hw)]))
    for part in norms:
        part.momentum = 0.1
    return network


def _image(rng: np.random.Generator, size_hw: tuple[int, int]) -> Tensor:
    coarse = rng.uniform(-2, 2, (9, 16, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(smooth + rng.normal(0, 0.1, smooth.shape).astype(np.float32)).permute(2, 0, 1)
