"""Textures of trees, bushes and hedges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.reference.scenes.geometry import FloatMap, Pixels
from edge_vseg.export.reference.scenes.noise import octave_noise
from edge_vseg.export.reference.scenes.surface import Texture, make_texture

_GREENS = ((34, 66, 48), (40, 86, 62), (44, 92, 84), (50, 84, 98), (46, 70, 60))


def _leaves(rng: np.random.Generator, mask: FloatMap) -> Pixels:
    height, width = mask.shape
    fine = octave_noise(rng, (height, width), cell_px=5, octaves=2)
    clumps = octave_noise(rng, (height, width), cell_px=width / 6, octaves=3)
    lit = 0.85 + 0.22 * clumps + 0.22 * fine + np.linspace(0.25, -0.25, height)[:, None]
    color = np.array(_GREENS[int(rng.integers(len(_GREENS)))], np.float32) * rng.uniform(0.75, 1.25)
    alpha = np.where(mask + 0.35 * fine + 0.25 * clumps > 0.5, 255, 0).astype(np.uint8)
    return np.dstack((np.clip(lit[..., None] * color, 4, 255).astype(np.uint8), alpha))


def tree(rng: np.random.Generator) -> Texture:
    """A tree, with or without leaves; its trunk is at the bottom centre."""
    height, width = 320, 240
    wood = np.zeros((height, width, 4), np.uint8)
    bark = tuple(int(v) for v in np.array((44, 52, 62)) * rng.uniform(0.7, 1.3))
    trunk = _Branch(
        start=np.array((width / 2, height - 1.0)), angle=-np.pi / 2, length=height * 0.3, thickness=8, depth=6
    )
    _draw_branch(wood, rng, trunk, (*bark, 255))
    if rng.random() < 0.35:
        return make_texture(wood)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(9, 18))):
        middle = rng.normal((width / 2, height * 0.36), (width * 0.17, height * 0.13))
        radius = rng.uniform(24, 52)
        mask = np.maximum(mask, np.clip(1.4 - np.hypot(x - middle[0], y - middle[1]) / radius, 0, 1))
    leaves = _leaves(rng, mask * 1.2 - 0.15)
    leaves[:, :, 3] = np.where(mask > 0.05, leaves[..., 3], 0)
    return make_texture(np.where(leaves[..., 3:] > 0, leaves, wood))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Branch:
    """A branch and how many levels of smaller branches grow from its end; angle in radians, the rest in pixels."""

    start: NDArray[np.float64]
    angle: float
    length: float
    thickness: float
    depth: int


def _draw_branch(picture: Pixels, rng: np.random.Generator, branch: _Branch, color: tuple[int, ...]) -> None:
    end = branch.start + branch.length * np.array((np.cos(branch.angle), np.sin(branch.angle)))
    ends = [tuple(int(v) for v in point) for point in (branch.start, end)]
    cv2.line(picture, ends[0], ends[1], color, max(1, round(branch.thickness)))
    if branch.depth:
        for _ in range(int(rng.integers(2, 4))):
            smaller = _Branch(
                start=end,
                angle=branch.angle + rng.normal(0, 0.5),
                length=branch.length * rng.uniform(0.55, 0.8),
                thickness=branch.thickness * 0.6,
                depth=branch.depth - 1,
            )
            _draw_branch(picture, rng, smaller, color)


def hedge(rng: np.random.Generator) -> Texture:
    """A hedge with an uneven top."""
    mask = np.ones((96, 384), np.float32)
    mask[:18] = np.linspace(0.1, 1, 18)[:, None]
    return make_texture(_leaves(rng, mask))


def skyline(rng: np.random.Generator) -> tuple[Texture, Texture]:
    """The skyline at the end of the street: a texture of trees, and one of houses in front of them."""
    height, width = 96, 1024
    top = 45 + 16 * octave_noise(rng, (1, width), cell_px=120, octaves=4)[0]
    y = np.arange(height, dtype=np.float32)[:, None]
    woods = _leaves(rng, np.clip((y - top) / 8, -1, 2).astype(np.float32))
    town = np.zeros((height, width, 4), np.uint8)
    left = 0
    while left < width:
        wide, tall = int(rng.integers(18, 70)), int(rng.integers(14, 52))
        if rng.random() < 0.6:
            tone = np.array((92, 104, 122)) * rng.uniform(0.7, 1.3)
            town[height - tall :, left : left + wide, :3] = tone
            town[height - tall : height - tall + 6, left : left + wide, :3] = (76, 76, 86)
            town[height - tall :, left : left + wide, 3] = 255
            town[height - tall + 12 :: 9, left + 3 : left + wide - 3 : 7, :3] = 60
        left += wide
    return make_texture(woods), make_texture(town)
