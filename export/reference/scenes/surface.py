"""A flat piece of the street: a rectangle in the world with a texture, and how a camera sees it."""

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
    """A picture at falling sizes, so that far surfaces do not flicker.

    Attributes:
        levels: ``(h, w, 4)`` uint8 BGRA, each half the size of the one before.
        tiles: Whether it repeats.
    """

    levels: tuple[Pixels, ...]
    tiles: bool = False


def make_texture(picture: Pixels, *, tiles: bool = False) -> Texture:
    """Halve a BGR or BGRA picture until it is small; colours are weighted by opacity."""
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
    """A rectangle ``origin + u * across + v * down`` with ``u`` and ``v`` from 0 to 1, at one time.

    Attributes:
        key: Who it is, the same at all times.
        layer: When it is drawn; within a layer from far to near.
        label: Class id; ``None`` for a shadow, which changes the picture only.
        texture: Its picture; its left upper corner lies at ``origin``.
        now, before: ``(3, 3)``, columns ``across``, ``down``, ``origin`` in metres, now and one frame ago.
        repeat: How often a tiling texture repeats across and down.
        shade: Factor on the texture's colours.
        one_sided: Whether it is drawn only from the side from which ``across`` runs to the right.
        group: Middle of the thing that it is a part of, which is drawn as a whole; empty if it stands alone.
        rank: Order within that thing.
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
    """The matrix of a rectangle from its left upper corner and its two sides."""
    return np.array([across, down, origin], np.float64).T


def moved(matrix: Matrix, by: tuple[float, float, float]) -> Matrix:
    """The rectangle shifted."""
    shifted = matrix.copy()
    shifted[:, 2] += by
    return shifted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A camera at one time: pixel = ``intrinsic @ rotation @ (world - position)``."""

    intrinsic: Matrix
    rotation: Matrix
    position: Matrix

    def planes(self, surfaces: Matrix) -> Matrix:
        """``(N, 3, 3)`` rectangles of the world to ``(N, 3, 3)`` from ``(u, v, 1)`` to pixel times depth."""
        local = surfaces.copy()
        local[:, :, 2] -= self.position
        return np.asarray(self.ray() @ local, np.float64)

    def ray(self) -> Matrix:
        """``(3, 3)`` from directions of the world to pixels."""
        return np.asarray(self.intrinsic @ self.rotation, np.float64)
