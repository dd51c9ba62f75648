"""Textures of road, pavement, grass and shadows."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.reference.scenes.geometry import FloatMap, Pixels
from edge_vseg.export.reference.scenes.noise import octave_noise
from edge_vseg.export.reference.scenes.surface import Texture, make_texture

GROUND_PX_PER_M = 48


def _tinted(value: NDArray[Any], color: tuple[float, float, float]) -> Pixels:
    return np.clip(value[..., None] * np.array(color, np.float32) / 128, 0, 255).astype(np.uint8)


def _seamless(noise: FloatMap) -> FloatMap:
    """Make a texture tileable: blend it with a copy shifted by half its size."""
    height, width = noise.shape[:2]
    shifted = np.roll(noise, (height // 2, width // 2), (0, 1))
    y = np.abs(np.linspace(-1, 1, height))[:, None] ** 3
    x = np.abs(np.linspace(-1, 1, width))[None, :] ** 3
    weight = np.maximum(x, y)
    return np.asarray(noise * (1 - weight) + shifted * weight, np.float32)


def asphalt(rng: np.random.Generator, width_m: float, length_m: float) -> Texture:
    """Worn asphalt with wheel tracks, patches, cracks and lane markings; tiles along the street."""
    height, width = int(length_m * GROUND_PX_PER_M), int(width_m * GROUND_PX_PER_M)
    grain = octave_noise(rng, (height, width), cell_px=3, octaves=1)
    worn = _seamless(octave_noise(rng, (height, width), cell_px=140, octaves=5))
    value = 118 + 6 * grain + 7 * worn
    x = np.linspace(0, width_m, width)[None, :]
    for lane in (width_m * 0.25, width_m * 0.75):
        for wheel in (-0.75, 0.75):
            value += 7 * np.exp(-(((x - lane - wheel) / 0.28) ** 2))
        value -= 8 * np.exp(-(((x - lane) / 0.3) ** 2))
    for _ in range(int(rng.integers(1, 5))):
        top, left = int(rng.integers(0, height - 60)), int(rng.integers(0, width - 60))
        value[top : top + int(rng.integers(30, 200)), left : left + int(rng.integers(30, 120))] += rng.uniform(-22, 8)
    picture = _tinted(value, (rng.uniform(96, 116), rng.uniform(96, 110), rng.uniform(94, 108)))
    for _ in range(int(rng.integers(2, 7))):
        walk = np.cumsum(rng.normal(0, 7, (30, 2)), axis=0) + rng.uniform(0, (width, height))
        cv2.polylines(picture, [walk.astype(np.int32)], False, (70, 70, 70), 1, cv2.LINE_AA)
    _markings(picture, rng, width, height)
    return make_texture(picture, tiles=True)


def _markings(picture: Pixels, rng: np.random.Generator, width: int, height: int) -> None:
    white = np.array((190, 195, 195)) * rng.uniform(0.85, 1.1)
    dash, gap = int(2.0 * GROUND_PX_PER_M), int(4.0 * GROUND_PX_PER_M)
    for top in range(0, height, dash + gap):
        _paint(picture, rng, np.s_[top : top + dash, width // 2 - 2 : width // 2 + 3], white)
    if rng.random() < 0.7:
        yellow = np.array((70, 180, 205)) * rng.uniform(0.75, 1.0)
        for left in (14, 24):
            for x in (left, width - left - 5):
                _paint(picture, rng, np.s_[:, x : x + 5], yellow)


def _paint(picture: Pixels, rng: np.random.Generator, where: tuple[slice, slice], color: np.ndarray) -> None:
    part = picture[where].astype(np.float32)
    worn = np.clip(rng.normal(0.75, 0.2, part.shape[:2]), 0.2, 1)[..., None]
    picture[where] = np.clip(part + (color - part) * worn, 0, 255).astype(np.uint8)


def paving(rng: np.random.Generator, width_m: float, length_m: float) -> Texture:
    """Paving slabs with a kerb at the left edge; tiles along the street."""
    height, width = int(length_m * GROUND_PX_PER_M), int(width_m * GROUND_PX_PER_M)
    value = 128 + 5 * octave_noise(rng, (height, width), cell_px=4, octaves=2)
    value += 6 * _seamless(octave_noise(rng, (height, width), cell_px=120, octaves=4))
    slab = int(rng.choice([24, 36, 48]))
    for top in range(0, height, slab):
        value[top : top + 2] -= 22
        shift = (top // slab % 2) * slab // 2
        for left in range(shift, width, slab):
            value[top : top + slab, left : left + slab] += rng.normal(0, 5)
            value[top : top + slab, left : left + 2] -= 18
    picture = _tinted(value, (rng.uniform(112, 140), rng.uniform(116, 138), rng.uniform(118, 146)))
    kerb = picture[:, :8].astype(np.float32) * 0.5 + 90
    picture[:, :8] = np.clip(kerb, 0, 255).astype(np.uint8)
    picture[:, 8:11] = (picture[:, 8:11] * 0.55).astype(np.uint8)
    return make_texture(picture, tiles=True)


def grass(rng: np.random.Generator) -> Texture:
    """Grass; tiles in both directions."""
    value = 120 + 14 * octave_noise(rng, (384, 384), cell_px=3, octaves=1)
    value = value + 16 * _seamless(octave_noise(rng, (384, 384), cell_px=90, octaves=4))
    return make_texture(_tinted(value, (62, rng.uniform(104, 122), rng.uniform(84, 104))), tiles=True)


def soft_shadow() -> Texture:
    """A dark ellipse with a soft edge."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    alpha = np.clip(1.25 - np.hypot(x, y) ** 2 * 1.3, 0, 1) * 165
    return make_texture(np.dstack((*(np.full(x.shape, 16.0),) * 3, alpha)).astype(np.uint8))
