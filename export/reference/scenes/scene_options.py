"""Options of a rendered clip, and the frames it consists of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from edge_vseg.errors import OptionError
from edge_vseg.types import Image, LabelMap, Mask, MotionField, Size

CameraKind: TypeAlias = Literal["driving", "walking", "fixed"]
LightKind: TypeAlias = Literal["any", "overcast", "sunny", "dusk"]
PassingKind: TypeAlias = Literal["none", "car", "rider", "walker"]

_MIN_SIDE_PX = 16
_MAX_SIDE_PX = 4096


def _check_size(size_hw: object) -> None:
    valid = (
        isinstance(size_hw, tuple)
        and len(size_hw) == 2
        and all(type(side) is int and _MIN_SIDE_PX <= side <= _MAX_SIDE_PX for side in size_hw)
    )
    if not valid:
        raise OptionError(
            f"size_hw must be (height, width), ints from {_MIN_SIDE_PX} to {_MAX_SIDE_PX}; got {size_hw!r}"
        )


def _check_number(name: str, value: object, low: float, high: float) -> None:
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (valid and isinstance(value, int | float) and low <= value <= high):
        raise OptionError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraEffects:
    """Effects of sensor and lens on the image. Labels, motion and occlusion stay exact.

    Attributes:
        noise: Standard deviation of the sensor noise at mid grey, in grey levels, 0 to 40.
        exposure_drift: Amplitude of the slow change of brightness, as a share, 0 to 0.9.
        exposure_jumps_per_s: Mean rate of sudden exposure changes, 0 to 10.
        shutter: Share of the frame period during which the shutter is open, 0 (no motion blur) to 1.
        vignette: Loss of light in the corners, as a share, 0 to 0.9.
        softness_px: Sigma of the lens blur in pixels for 360 rows, 0 to 5; scales with the height.
        jpeg_quality: Compress every frame as JPEG of this quality, 1 to 100; ``None`` for no JPEG.
    """

    noise: float = 2.5
    exposure_drift: float = 0.08
    exposure_jumps_per_s: float = 0.1
    shutter: float = 0.2
    vignette: float = 0.12
    softness_px: float = 0.45
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for name, top in _EFFECT_LIMITS.items():
            _check_number(f"effects.{name}", getattr(self, name), 0.0, top)
        quality = self.jpeg_quality
        if quality is not None and (type(quality) is not int or not 1 <= quality <= 100):
            raise OptionError(
                f"effects.jpeg_quality must be an int from 1 to 100, or None for no JPEG; got {quality!r}"
            )


_EFFECT_LIMITS = {
    "noise": 40.0,
    "exposure_drift": 0.9,
    "exposure_jumps_per_s": 10.0,
    "shutter": 1.0,
    "vignette": 0.9,
    "softness_px": 5.0,
}

NO_EFFECTS = CameraEffects(
    noise=0.0, exposure_drift=0.0, exposure_jumps_per_s=0.0, shutter=0.0, vignette=0.0, softness_px=0.0
)
"""A perfect camera, for tests of optical flow and warping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetOptions:
    """Options of a rendered clip.

    Attributes:
        camera: ``driving`` in the left lane, ``walking`` on a pavement, or ``fixed`` above the kerb.
        size_hw: Height and width in pixels, 16 to 4096 each.
        rate: Frames per second, above 0, at most 1000.
        seed: Selects the street, light and traffic; 0 to 2**63 - 1.
        light: Weather; with ``any`` the seed selects it.
        traffic: Density of moving cars, cyclists and pedestrians, 0 to 3; 1 is typical.
        passing: What goes from side to side, hidden for a moment by a car that stands ahead; the driving camera then
            stands behind that car.
        effects: Camera effects.
    """

    camera: CameraKind = "driving"
    size_hw: Size = (360, 480)
    rate: float = 15.0
    seed: int = 0
    light: LightKind = "any"
    traffic: float = 1.0
    passing: PassingKind = "none"
    effects: CameraEffects = field(default_factory=CameraEffects)

    def __post_init__(self) -> None:
        if self.camera not in get_args(CameraKind):
            raise OptionError(f"camera must be one of {', '.join(get_args(CameraKind))}; got {self.camera!r}")
        if self.light not in get_args(LightKind):
            raise OptionError(f"light must be one of {', '.join(get_args(LightKind))}; got {self.light!r}")
        _check_size(self.size_hw)
        _check_number("rate", self.rate, 0.0, 1000.0)
        if self.rate == 0:
            raise OptionError("rate must be above 0 frames per second, got 0; 15 is usual")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise OptionError(f"seed must be an int from 0 to 2**63 - 1, got {self.seed!r}")
        _check_number("traffic", self.traffic, 0.0, 3.0)
        if self.passing not in get_args(PassingKind):
            raise OptionError(f"passing must be one of {', '.join(get_args(PassingKind))}; got {self.passing!r}")
        if self.passing != "none" and self.camera != "driving":
            raise OptionError(
                f"passing={self.passing!r} needs camera='driving', which then stands; got {self.camera!r}"
            )
        if not isinstance(self.effects, CameraEffects):
            raise OptionError(f"effects must be a CameraEffects, got {type(self.effects).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneFrame:
    """One rendered frame with its ground truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        labels: ``(H, W)`` uint8 CamVid ids, 0 to 10; every pixel has a class.
        motion: ``(H, W, 2)`` float32 ``(dx, dy)`` in pixels, from t to t-1: the surface point at ``(x, y)`` was at
            ``(x + dx, y + dy)`` one frame before.
        occluded: ``(H, W)`` bool, true where that point was not visible one frame before: hidden, or outside the
            image.
        seq: Frame number, from 0.
        pts_ns: Presentation time, ns from the start of the clip.
    """

    image: Image
    labels: LabelMap
    motion: MotionField
    occluded: Mask
    seq: int
    pts_ns: int
