"""Simulate an older frame: a moved copy of a crop, and the noisy motion field back to it.

The scheduler runs the context path rarely and warps its output along the optical flow. Training imitates that: the
context comes from a moved, distorted and partly covered copy, warped back along the inverse motion plus flow errors.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edge_vseg.export.reference.training.augment import recolour
from edge_vseg.export.reference.zoo.spec import STEM_STRIDE
from edge_vseg.types import Image, Size

Field = NDArray[np.float32]
"""``(h, w, 2)`` float32 ``(dx, dy)`` in pixels of that size."""


def make_older_view(image: Image, rng: np.random.Generator) -> tuple[Image, Field]:
    """An older view of a crop, and the estimated motion to it.

    Args:
        image: ``(H, W, 3)`` uint8 crop; height and width are multiples of 8.
        rng: Random generator.

    Returns:
        The older image ``(H, W, 3)``, and ``(H/8, W/8, 2)`` float32 ``(dx, dy)`` in cells of stride 8 from
        the crop to the older image, as optical flow would estimate it.
    """
    height, width = image.shape[:2]
    cells = height // STEM_STRIDE, width // STEM_STRIDE
    # Motion is smooth: create and invert it at the size of the context, in cells.
    motion = _camera_motion(cells, rng) + _smooth_motion(cells, rng.uniform(0, 5) / STEM_STRIDE, rng)
    full = np.asarray(cv2.resize(motion, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    sampled = cv2.remap(image, *_sampling_map(full * STEM_STRIDE), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    older = _occlude(recolour(np.asarray(sampled, np.uint8), rng, 0.25), rng)
    return older, _invert(motion) + _smooth_motion(cells, rng.uniform(0, 2.5) / STEM_STRIDE, rng)


def warp(context: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Warp a context tensor along the motion: bilinear backward warping.

    Args:
        context: ``(N, C, h, w)`` of the older frames.
        motion: ``(N, h, w, 2)`` float32 ``(dx, dy)`` in cells, from the current to the older frame.

    Returns:
        ``(N, C, h, w)``; outside the older frame the edge is repeated.

    Reference: Zhu et al., Deep Feature Flow, CVPR 2017, eq. 3.
    """
    height, width = context.shape[-2:]
    rows = torch.arange(height, device=context.device, dtype=torch.float32)
    columns = torch.arange(width, device=context.device, dtype=torch.float32)
    x = (columns[None, None, :] + motion[..., 0] + 0.5) * (2 / width) - 1
    y = (rows[None, :, None] + motion[..., 1] + 0.5) * (2 / height) - 1
    grid = torch.stack((x, y), dim=-1)
    warped = functional.grid_sample(context.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.to(context.dtype)


def _camera_motion(size_hw: Size, rng: np.random.Generator) -> Field:
    """Zoom, rotation and shift of a vehicle's camera within up to about a second, in cells."""
    height, width = size_hw
    strength = rng.uniform(0, 1)
    zoom = 1 + strength * rng.uniform(-0.18, 0.18)
    turn = strength * rng.normal(0, np.deg2rad(2.5))
    centre = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    shift = strength * rng.normal(0, (0.06 * width, 0.03 * height))
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    points = np.stack((x, y), axis=-1)
    return np.asarray((points - centre) @ linear.T + centre + shift - points, np.float32)


def _smooth_motion(size_hw: Size, amplitude: float, rng: np.random.Generator) -> Field:
    """Smooth random motion of the given standard deviation in cells, for parallax and flow errors."""
    height, width = size_hw
    cells = int(rng.integers(3, 12))
    coarse = rng.normal(0, amplitude, (cells, cells + cells // 3, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _sampling_map(motion: Field) -> tuple[Field, Field]:
    height, width = motion.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x + motion[..., 0], y + motion[..., 1]


def _invert(motion: Field, iterations: int = 3) -> Field:
    """``G`` with ``G(p) = -F(p + G(p))``, by fixed-point iteration; converges for smooth fields."""
    inverse = -motion
    for _ in range(iterations):
        inverse = -np.asarray(
            cv2.remap(motion, *_sampling_map(inverse), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )
    return inverse


def _occlude(image: Image, rng: np.random.Generator) -> Image:
    """Paste parts of the image elsewhere, as objects that have moved away since."""
    height, width = image.shape[:2]
    covered = image.copy()
    for _ in range(int(rng.integers(0, 4))):
        tall, wide = int(rng.integers(8, height // 3)), int(rng.integers(8, width // 4))
        top, left = rng.integers(0, height - tall, 2), rng.integers(0, width - wide, 2)
        part = image[top[0] : top[0] + tall, left[0] : left[0] + wide]
        covered[top[1] : top[1] + tall, left[1] : left[1] + wide] = part
    return covered
