"""Draw surfaces from far to near into image, labels and motion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.reference.scenes.geometry import FloatMap, Matrix, Pixels
from edge_vseg.export.reference.scenes.surface import NEAR_M, Surface, View
from edge_vseg.types import Mask, Size

_ORDER = {"ground": 0, "shadow": 1, "facade": 2, "object": 3}
_CORNERS = np.array([(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)], np.float64).T
_MIN_LABEL_OPACITY = 0.5
"""A surface with less opacity at a pixel does not change its label."""
_OUTSIDE_PX = -1e6
_MIN_DET = 1e-9
_MIN_OBJECT_AREA_PX, _MIN_AREA_PX = 16, 1
"""Smaller surfaces are not drawn; objects and shadows have the larger minimum."""
PixelBox = tuple[slice, slice]


class Canvas:
    """Image, labels, surface ids and motion of one frame.

    Attributes:
        labels: ``(H, W)`` uint8 class ids.
        keys: ``(H, W)`` int32 id of the visible surface.
    """

    def __init__(self, size_hw: Size, haze: Matrix, haze_m: float) -> None:
        height, width = size_hw
        # Separate colour planes: numpy is several times faster on them than on interleaved pixels.
        self._planes = [np.zeros(size_hw, np.float32) for _ in range(3)]
        self.labels = np.zeros(size_hw, np.uint8)
        self.keys = np.zeros(size_hw, np.int32)
        self._previous = [np.zeros(size_hw, np.float32) for _ in range(2)]
        self._columns = np.arange(width, dtype=np.float32)[None, :]
        self._rows = np.arange(height, dtype=np.float32)[:, None]
        self._haze = haze.astype(np.float32)
        self._haze_m = np.float32(haze_m)
        self._focal = 1.0

    @property
    def image(self) -> FloatMap:
        """``(H, W, 3)`` float32 BGR."""
        return np.asarray(cv2.merge(self._planes), np.float32)

    @property
    def previous(self) -> FloatMap:
        """``(H, W, 2)`` float32 ``(x, y)``: position of each pixel's surface point one frame ago, in pixels."""
        return np.asarray(cv2.merge(self._previous), np.float32)

    def draw_sky(self, picture: FloatMap, now: View, before: View) -> None:
        """Fill the canvas with the sky, which is infinitely far away."""
        self._planes = [np.asarray(plane, np.float32) for plane in cv2.split(picture)]
        back = before.ray() @ np.linalg.inv(now.ray())
        x, y, z = (self._apply(back, row, np.s_[:, :]) for row in range(3))
        self._previous = [x / z, y / z]

    def draw(self, surfaces: Sequence[Surface], now: View, before: View, names: dict[tuple[int, ...], int]) -> None:
        """Draw surfaces from far to near; ``names`` maps their keys to ids that stay the same in all frames."""
        self._focal = float(now.intrinsic[0, 0])
        planes = now.planes(np.stack([surface.now for surface in surfaces]))
        corners = planes @ _CORNERS
        facing = np.linalg.det(planes)
        visible = (corners[:, 2].max(1) > NEAR_M) & (np.abs(facing) > _MIN_DET)
        visible &= (facing > 0) | ~np.array([surface.one_sided for surface in surfaces])
        depths = _depths(surfaces, now)
        order = sorted(
            np.flatnonzero(visible).tolist(),
            key=lambda index: (_ORDER[surfaces[index].layer], -depths[index], surfaces[index].rank),
        )
        for index in order:
            box = _box(corners[index], self.labels.shape)
            surface = surfaces[index]
            if box is not None and _is_large_enough(surface, box):
                name = names.setdefault(surface.key, len(names) + 1)
                self._draw(surface, planes[index], before.planes(surface.before[None])[0], name, box)

    def _draw(self, surface: Surface, plane: Matrix, plane_before: Matrix, name: int, box: PixelBox) -> None:
        back: Matrix = np.asarray(np.linalg.inv(plane), np.float64)
        nearness = self._apply(back, 2, box)
        depth = np.asarray(1 / np.maximum(nearness, 1e-4), np.float32)
        u = np.asarray(self._apply(back, 0, box) * depth, np.float32)
        v = np.asarray(self._apply(back, 1, box) * depth, np.float32)
        inside: Mask = (nearness > 1e-4) & (nearness < 1 / NEAR_M) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        if not inside.any():
            return
        *colours, alpha = cv2.split(_sample(surface, u, v, depth, inside, self._focal))
        opacity = np.asarray(alpha * (inside * np.float32(1 / 255)), np.float32)
        # The background keeps 1 - opacity; shadows get no haze.
        background = 1 - opacity
        clear, haze = opacity * np.float32(surface.shade), None
        if surface.label is not None:
            transmission = np.exp(depth * (-1 / self._haze_m))
            clear, haze = clear * transmission, opacity * (1 - transmission)
        for plane_of, colour, haze_of in zip(self._planes, colours, self._haze, strict=True):
            target = plane_of[box]
            target *= background
            target += colour * clear
            if haze is not None:
                target += haze * haze_of
        if surface.label is not None:
            solid = opacity >= _MIN_LABEL_OPACITY
            np.copyto(self.labels[box], np.uint8(surface.label), where=solid)
            np.copyto(self.keys[box], np.int32(name), where=solid)
            self._trace(plane_before @ back, depth, solid, box)

    def _trace(self, trace: Matrix, depth: FloatMap, solid: Mask, box: PixelBox) -> None:
        """Store the positions of the surface points one frame ago."""
        z = self._apply(trace, 2, box) * depth
        near = z < NEAR_M / 2
        share = depth / np.where(near, 1, z)
        x, y = self._apply(trace, 0, box) * share, self._apply(trace, 1, box) * share
        if near.any():
            x[near] = y[near] = _OUTSIDE_PX
        for target, value in zip(self._previous, (x, y), strict=True):
            np.copyto(target[box], value, where=solid)

    def _apply(self, matrix: Matrix, row: int, box: PixelBox) -> FloatMap:
        a, b, c = matrix[row].astype(np.float32)
        return np.asarray(a * self._columns[:, box[1]] + (b * self._rows[box[0]] + c), np.float32)


def _is_large_enough(surface: Surface, box: PixelBox) -> bool:
    """Whether a surface is large enough to draw."""
    area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    return bool(area > (_MIN_OBJECT_AREA_PX if surface.group or surface.layer == "shadow" else _MIN_AREA_PX))


def _depths(surfaces: Sequence[Surface], view: View) -> NDArray[np.float64]:
    """Distance ahead of the camera of each surface's object."""
    middles = [surface.group or surface.now @ (0.5, 0.5, 1.0) for surface in surfaces]
    return np.asarray((np.array(middles) - view.position) @ view.rotation[2], np.float64)


def _box(corners: Matrix, size_hw: tuple[int, ...]) -> PixelBox | None:
    """Bounding box of a rectangle in the image, clipped at the near plane; ``None`` if it is outside."""
    if corners[2].min() >= NEAR_M:
        points = corners[:2] / corners[2]
    else:
        clipped = []
        for first, second in zip(corners.T, np.roll(corners.T, -1, axis=0), strict=True):
            if first[2] >= NEAR_M:
                clipped.append(first[:2] / first[2])
            if (first[2] >= NEAR_M) != (second[2] >= NEAR_M):
                cut = first + (NEAR_M - first[2]) / (second[2] - first[2]) * (second - first)
                clipped.append(cut[:2] / NEAR_M)
        points = np.array(clipped).T
    left, top = (max(0, math.floor(value)) for value in points.min(1).tolist())
    right, bottom = (math.ceil(value) + 1 for value in points.max(1).tolist())
    right, bottom = min(right, size_hw[1]), min(bottom, size_hw[0])
    return None if left >= right or top >= bottom else np.s_[top:bottom, left:right]


def _sample(surface: Surface, u: FloatMap, v: FloatMap, depth: FloatMap, inside: Mask, focal: float) -> Pixels:
    """``(h, w, 4)`` uint8 BGRA of the texture; the mipmap level follows the distance."""
    levels = surface.texture.levels
    if surface.repeat != (1.0, 1.0):
        u, v = u * np.float32(surface.repeat[0]), v * np.float32(surface.repeat[1])
    border = cv2.BORDER_WRAP if surface.texture.tiles else cv2.BORDER_REPLICATE
    # Texels per pixel at a distance of 1 m. Ground and facades are seen at an angle and need more blur.
    across = levels[0].shape[1] * surface.repeat[0] / np.linalg.norm(surface.now[:, 0])
    down = levels[0].shape[0] * surface.repeat[1] / np.linalg.norm(surface.now[:, 1])
    density = max(across, down) / focal * (1.0 if surface.layer == "object" else 1.6)
    near, far = (float(value) for value in (depth[inside].min(), depth[inside].max()))
    low, high = (min(max(round(math.log2(density * value)), 0), len(levels) - 1) for value in (near, far))
    result = _remap(levels[low], u, v, border)
    for level in range(low + 1, high + 1):
        at_level = depth >= np.float32(2 ** (level - 0.5) / density)
        rows, columns = np.flatnonzero(at_level.any(1)), np.flatnonzero(at_level.any(0))
        if len(rows):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            finer, coarser = result.view(np.uint32)[..., 0], _remap(levels[level], u[part], v[part], border)
            np.copyto(finer[part], coarser.view(np.uint32)[..., 0], where=at_level[part])
    return result


def _remap(picture: Pixels, u: FloatMap, v: FloatMap, border: int) -> Pixels:
    height, width = picture.shape[:2]
    x, y = u * np.float32(width) - np.float32(0.5), v * np.float32(height) - np.float32(0.5)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=border), np.uint8)
