"""Textured rectangles in the world, and their projection by a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import FloatMap, Matrix, Pixels

NEAR_M = 0.35
Layer = Literal["ground", "shadow", "facade", "object"]


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """A mipmapped texture.

    Attributes:
        levels: ``(h, w, 4)`` uint8 BGRA images, each half the size of the one before.
        tiles: Whether the texture can be repeated.
    """

    levels: tuple[Pixels, ...]
    tiles: bool = False


def make_texture(picture: Pixels, *, tiles: bool = False) -> Texture:
    """Build the mipmap of a BGR or BGRA image; colours are averaged by opacity."""
    if picture.shape[2] == 3:
        picture = np.dstack((picture, np.full(picture.shape[:2], 255, np.uint8)))
    levels = [np.ascontiguousarray(picture)]
    while min(levels[-1].shape[:2]) >= 8:
        height, width = levels[-1].shape[:2]
        value: FloatMap = levels[-1].astype(np.float32)
        value[..., :3] = value[..., :3] * value[..., 3:] / 255
        small = np.asarray(cv2.resize(value, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.float32)
        small[..., :3] = small[..., :3] * 255 / np.maximum(small[..., 3:], 1)
        levels.append(np.clip(small, 0, 255).astype(np.uint8))
    return Texture(tuple(levels), tiles)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A textured rectangle ``origin + u * across + v * down``, with ``u`` and ``v`` from 0 to 1.

    Attributes:
        key: Identity, the same in all frames.
        layer: Drawing layer; within a layer surfaces are drawn from far to near.
        label: Class id; ``None`` for a shadow, which changes only the image.
        texture: Texture; its upper left corner is at ``origin``.
        now, before: ``(3, 3)``, columns ``across``, ``down``, ``origin`` in metres, now and one frame ago.
        repeat: Repetitions of a tiling texture across and down.
        shade: Brightness factor.
        one_sided: Draw only if ``across`` points to the right in the image.
        group: Centre of the object that the surface belongs to; its surfaces are drawn together. Empty if none.
        rank: Drawing order within the object.
    """

    key: tuple[int, ...]
    layer: Layer
    label: int | None
    texture: Texture
    now: Matrix
    before: Matrix
    repeat: tuple[float, float] = (1.0, 1.0)
    shade: float = 1.0
    one_sided: bool = False
    group: tuple[float, ...] = ()
    rank: int = 0


def rectangle(
    origin: tuple[float, float, float], across: tuple[float, float, float], down: tuple[float, float, float]
) -> Matrix:
    """The matrix of a rectangle from its upper left corner and its two sides."""
    return np.array([across, down, origin], np.float64).T


def moved(matrix: Matrix, by: tuple[float, float, float]) -> Matrix:
    """A shifted copy of a rectangle."""
    shifted = matrix.copy()
    shifted[:, 2] += by
    return shifted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A camera at a point in time: pixel = ``intrinsic @ rotation @ (world - position)``."""

    intrinsic: Matrix
    rotation: Matrix
    position: Matrix

    def planes(self, surfaces: Matrix) -> Matrix:
        """Project ``(N, 3, 3)`` world rectangles: ``(N, 3, 3)`` matrices from ``(u, v, 1)`` to pixel times depth."""
        local = surfaces.copy()
        local[:, :, 2] -= self.position
        return np.asarray(self.ray() @ local, np.float64)

    def ray(self) -> Matrix:
        """``(3, 3)`` matrix from world directions to pixels."""
        return np.asarray(self.intrinsic @ self.rotation, np.float64)
