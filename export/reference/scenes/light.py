"""Sky, haze and brightness of the light."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.reference.scenes.geometry import FloatMap, Matrix
from edge_vseg.export.reference.scenes.noise import generator, octave_noise
from edge_vseg.export.reference.scenes.scene_options import LightKind
from edge_vseg.export.reference.scenes.surface import View

_SKIES = {
    "overcast": ((206, 204, 202), (226, 226, 226), (1.0, 1.0, 1.0), 0.9),
    "sunny": ((214, 150, 92), (232, 214, 196), (0.96, 1.02, 1.08), 1.12),
    "dusk": ((120, 92, 84), (120, 150, 200), (0.9, 0.86, 0.92), 0.6),
}


class Light:
    """Sky, haze and brightness of a clip."""

    def __init__(self, kind: LightKind, seed: int) -> None:
        rng = generator(seed, 5)
        drawn = str(rng.choice(list(_SKIES), p=(0.5, 0.35, 0.15)))
        high, low, tint, bright = _SKIES[drawn if kind == "any" else kind]
        self._high, self._low = np.array(high, np.float32), np.array(low, np.float32)
        self.haze: Matrix = np.array(low, np.float64) * 0.93
        self.haze_m = float(rng.uniform(140, 420))
        self.tint = np.array(tint, np.float32) * bright * float(rng.uniform(0.72, 1.12))
        clouds = octave_noise(rng, (128, 1280), cell_px=170, octaves=6)
        fade = np.linspace(0, 1, 256, dtype=np.float32)  # make the clouds tileable
        clouds[:, :256] = clouds[:, :256] * fade + clouds[:, 1024:] * (1 - fade)
        clouds = clouds[:, :1024]
        self._clouds = np.clip(clouds * float(rng.uniform(0.2, 0.5)), -0.6, 1.0)
        self._waves = rng.uniform(0, 2 * np.pi, 2)

    def gain(self, time_s: float) -> float:
        """Slow change of brightness by passing clouds, at most a fifth."""
        return float(1 + 0.1 * np.sin(0.35 * time_s + self._waves[0]) + 0.06 * np.sin(0.9 * time_s + self._waves[1]))

    def sky(self, view: View, size_hw: tuple[int, int]) -> FloatMap:
        """``(H, W, 3)`` float32 BGR image of the sky."""
        height, width = size_hw
        back = np.linalg.inv(view.ray())
        horizon = int(np.clip(view.intrinsic[1, 2] + 0.15 * height, 1, height))  # never any sky below it
        x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(horizon, dtype=np.float32)[:, None]
        ray = [np.float32(row[0]) * x + (np.float32(row[1]) * y + np.float32(row[2])) for row in back]
        ahead = np.hypot(ray[0], ray[2])
        up = np.clip(ray[1] / ahead, 0, 2).astype(np.float32)
        around = (np.arctan2(ray[0], ray[2]) / (2 * np.pi) * 2048).astype(np.float32)
        clouds = cv2.remap(
            self._clouds, around, np.clip(up * 110, 0, 127), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        share, bright = np.clip(up * 1.6, 0, 1), 1 + np.float32(0.22) * np.asarray(clouds, np.float32)
        planes = []
        for low, high, haze in zip(self._low, self._high, self.haze, strict=True):
            plane = np.full((height, width), haze, np.float32)
            plane[:horizon] = (low + (high - low) * share) * bright
            planes.append(plane)
        return np.asarray(cv2.merge(planes), np.float32)
