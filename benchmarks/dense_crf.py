"""A dense CRF by mean field, for `boundary_refinement.py --crf`: what an unhurried method makes of the same scores.

Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011, algorithm 1
with the two kernels of eq. 3, compatibilities of Potts, and both kernels normalized symmetrically. Instead of a filter
on a permutohedral lattice, every pixel hears a window of others, as in Teichmann and Cipolla, Convolutional CRFs for
Semantic Segmentation, 2018; here at full size, and of the window every ``step``-th row and column.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edge_vseg.types import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseCrf:
    """Refines scores by an image.

    Attributes:
        radius: Half the side of the window, in pixels.
        step: Rows and columns of the window that count.
        bilateral: Weight of the kernel of places and colours.
        near_px: Its width in pixels.
        alike: Its width in grey levels of 255 of each channel.
        smooth: Weight of the kernel of places alone.
        smooth_px: Its width in pixels.
        iterations: Steps of the mean field.
    """

    radius: int = 12
    step: int = 4
    bilateral: float = 5.0
    near_px: float = 30.0
    alike: float = 10.0
    smooth: float = 0.0
    smooth_px: float = 3.0
    iterations: int = 5

    def __call__(self, scores: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
        """Probabilities ``(C, H, W)`` of logits ``(C, h, w)``, enlarged bilinearly to the size of the image."""
        height, width = image.shape[:2]
        planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in scores]
        unary = torch.log_softmax(torch.from_numpy(np.stack(planes)), 0)
        offsets, kernel = self._kernel(torch.from_numpy(image).movedim(-1, 0).float())
        found = unary.exp()
        for _ in range(self.iterations):
            padded = functional.pad(found, (self.radius,) * 4)
            message = torch.zeros_like(found)
            for (row, column), weight in zip(offsets, kernel, strict=True):
                message.addcmul_(self._shifted(padded, row, column), weight)
            # Classes of other pixels cost, by Potts: their sum is a constant less the pixel's own class.
            found = torch.softmax(unary + message, 0)
        return np.asarray(found.numpy(), np.float32)

    def _kernel(self, image: torch.Tensor) -> tuple[list[tuple[int, int]], torch.Tensor]:
        """Offsets of the window, and their weights ``(offsets, H, W)``."""
        reach = range(-self.radius, self.radius + 1)
        offsets = [
            (row, column)
            for row, column in product(reach, reach)
            if (row, column) != (0, 0) and row % self.step == column % self.step == 0
        ]
        inside = functional.pad(torch.ones(image.shape[1:]), (self.radius,) * 4)
        padded = functional.pad(image, (self.radius,) * 4)
        bilateral, smooth = [], []
        for row, column in offsets:
            squared_px = float(row**2 + column**2)
            seen = self._shifted(inside, row, column)
            colours = (self._shifted(padded, row, column) - image).square().sum(0)
            bilateral.append(seen * torch.exp(-squared_px / (2 * self.near_px**2) - colours / (2 * self.alike**2)))
            smooth.append(seen * np.exp(-squared_px / (2 * self.smooth_px**2)))
        first, second = (self._normalized(offsets, torch.stack(each)) for each in (bilateral, smooth))
        return offsets, self.bilateral * first + self.smooth * second

    def _normalized(self, offsets: list[tuple[int, int]], kernel: torch.Tensor) -> torch.Tensor:
        """Divided by the roots of the sums of both pixels."""
        root = kernel.sum(0).clamp(min=1e-12).rsqrt()
        padded = functional.pad(root, (self.radius,) * 4)
        others = torch.stack([self._shifted(padded, row, column) for row, column in offsets])
        return kernel * root * others

    def _shifted(self, padded: torch.Tensor, row: int, column: int) -> torch.Tensor:
        """What lies so many rows below and columns to the right of each pixel."""
        height, width = (side - 2 * self.radius for side in padded.shape[-2:])
        top, left = self.radius + row, self.radius + column
        return padded[..., top : top + height, left : left + width]
