"""Lens and sensor effects: motion blur, softness, vignette, exposure, noise, JPEG. Labels stay exact."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import FloatMap
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.scene_options import StreetOptions
from edge_vseg.types import Image, Size

_MAX_BLUR_PX = 40
"""Longest motion blur."""
_GRAIN_MARGIN_PX = 96


def develop(picture: FloatMap, motion: FloatMap, options: StreetOptions, number: int, gain: FloatMap) -> Image:
    """Apply the camera effects to a rendered image.

    Args:
        picture: ``(H, W, 3)`` float32 BGR, 0 to 255.
        motion: ``(H, W, 2)`` float32, to the frame before.
        options: Options of the clip.
        number: Frame number; with the seed it determines the noise.
        gain: ``(3,)`` BGR brightness of the light.
    """
    effects, (height, width) = options.effects, options.size_hw
    rng = generator(options.seed, 6, number)
    if effects.shutter > 0:
        picture = _motion_blur(picture, motion * np.float32(effects.shutter))
    if effects.softness_px > 0:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), effects.softness_px * height / 360), np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lens = (1 - np.float32(effects.vignette / 2) * (x * x + y * y)) * np.float32(exposure(options, number))
    grain = _grain(options, rng) if effects.noise > 0 else None
    planes = [plane * (lens * factor) for plane, factor in zip(cv2.split(picture), gain, strict=True)]
    if grain is not None:
        for plane, noise in zip(planes, grain, strict=True):
            plane += noise * np.sqrt(np.maximum(plane, 16) * np.float32(effects.noise**2 / 128))
    picture = np.asarray(cv2.merge(planes), np.float32)
    pixels: Image = np.asarray(np.clip(picture + np.float32(0.5), 0, 255), np.uint8)
    if effects.jpeg_quality is not None:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, effects.jpeg_quality])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _grain(options: StreetOptions, rng: np.random.Generator) -> FloatMap:
    """``(3, H, W)``: a random window of one large noise field; new noise for each frame would take too long."""
    height, width = options.size_hw
    top, left = (int(value) for value in rng.integers(0, _GRAIN_MARGIN_PX, 2))
    return _grain_field(options.seed, options.size_hw)[:, top : top + height, left : left + width]


@functools.lru_cache(maxsize=2)
def _grain_field(seed: int, size_hw: Size) -> FloatMap:
    height, width = size_hw
    shape = (3, height + _GRAIN_MARGIN_PX, width + _GRAIN_MARGIN_PX)
    return generator(seed, 10).standard_normal(shape, dtype=np.float32)


def exposure(options: StreetOptions, number: int) -> float:
    """Brightness of a frame: slow drift, and jumps that fade within about a second."""
    effects, time_s = options.effects, number / options.rate
    waves = generator(options.seed, 7).uniform(0, 2 * np.pi, 2)
    value = 1 + effects.exposure_drift * 0.5 * (np.sin(0.5 * time_s + waves[0]) + np.sin(0.21 * time_s + waves[1]))
    for second in range(int(np.floor(time_s)) - 2, int(np.floor(time_s)) + 1):
        chance = generator(options.seed, 8, second)
        for _ in range(chance.poisson(effects.exposure_jumps_per_s)):
            since = time_s - (second + chance.uniform())
            jump = chance.uniform(-0.3, 0.45)
            if 0 <= since < 2:
                value *= 1 + jump * np.exp(-3 * since)
    return float(value)


def _motion_blur(picture: FloatMap, path: FloatMap) -> FloatMap:
    height, width = picture.shape[:2]
    path = np.clip(path, -_MAX_BLUR_PX, _MAX_BLUR_PX)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    total = picture.copy()
    for share in (np.float32(0.5), np.float32(1.0)):
        total += cv2.remap(
            picture,
            x + share * path[..., 0],
            y + share * path[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return np.asarray(total / np.float32(3), np.float32)
