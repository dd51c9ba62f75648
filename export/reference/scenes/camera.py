"""Camera position and direction over time."""

from __future__ import annotations

import numpy as np

from edge_vseg.export.reference.scenes.geometry import Matrix
from edge_vseg.export.reference.scenes.noise import generator
from edge_vseg.export.reference.scenes.palette import StreetLayout
from edge_vseg.export.reference.scenes.scene_options import CameraKind
from edge_vseg.export.reference.scenes.surface import View


class CameraPath:
    """The path of the camera through the street."""

    def __init__(self, kind: CameraKind, layout: StreetLayout, seed: int, size_hw: tuple[int, int]) -> None:
        rng = generator(seed, 4)
        height, width = size_hw
        focal = width * float(rng.uniform(0.78, 1.0))
        rise = float(rng.uniform(0.42, 0.52))
        self._intrinsic = np.array([[focal, 0, (width - 1) / 2], [0, focal, height * rise], [0, 0, 1]])
        half = layout.road_m / 2
        self._waves = rng.uniform(0, 2 * np.pi, 6)
        self._kind = kind
        self._yaw = float(rng.normal(0, 0.02))
        self._sway_m = 0.25
        match kind:
            case "driving":
                self._place, self.speed_mps = (-half * 0.3, float(rng.uniform(1.25, 1.5))), float(rng.uniform(4, 10))
            case "walking":
                side = float(rng.choice((-1, 1)))
                self._place, self.speed_mps = (side * (half + layout.pavement_m * 0.4), 1.62), 1.35
                self._yaw -= side * 0.12
            case "fixed":
                side = float(rng.choice((-1, 1)))
                self._place, self.speed_mps = (side * (half + 0.4), float(rng.uniform(2.8, 4.5))), 0.0
                self._yaw -= side * float(rng.uniform(0.1, 0.3))

    def stand(self) -> None:
        """Stay where it is, as at a crossing; it still looks around a little."""
        self.speed_mps = 0.0
        self._sway_m = 0.0

    def z_m(self, time_s: float) -> float:
        """Position along the street."""
        return self.speed_mps * time_s

    def view(self, time_s: float) -> View:
        """The camera at a point in time."""
        (x, y), pitch, yaw, roll = self._place, 0.0, self._yaw, 0.0
        a, b, c, d, e, f = self._waves
        match self._kind:
            case "driving":
                yaw += 0.035 * np.sin(0.45 * time_s + a)
                x += self._sway_m * np.sin(0.3 * time_s + b)
                pitch += 0.004 * np.sin(5.1 * time_s + c) + 0.003 * np.sin(8.3 * time_s + d)
            case "walking":
                y += 0.03 * np.sin(11.5 * time_s + a)
                x += 0.035 * np.sin(5.75 * time_s + b)
                roll += 0.012 * np.sin(5.75 * time_s + c)
                pitch += 0.008 * np.sin(11.5 * time_s + d)
                yaw += 0.06 * np.sin(0.8 * time_s + e) + 0.01 * np.sin(5.75 * time_s + f)
            case "fixed":
                pitch += 0.05
        return View(
            intrinsic=self._intrinsic, rotation=_rotation(pitch, yaw, roll), position=np.array((x, y, self.z_m(time_s)))
        )


def _rotation(pitch: float, yaw: float, roll: float) -> Matrix:
    """Rotation from world (y up) to camera (y down); positive pitch looks down, positive yaw looks right."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    flip = np.diag([1.0, -1.0, 1.0])
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(lean @ tilt @ flip @ turn, np.float64)
