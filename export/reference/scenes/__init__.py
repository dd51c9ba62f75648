"""Rendered street videos with ground truth: labels, motion and occlusion, for the demo, tests and training."""

from typing import get_args

from edge_vseg.export.reference.scenes.scene_options import (
    NO_EFFECTS,
    CameraEffects,
    CameraKind,
    PassingKind,
    SceneFrame,
    StreetOptions,
)
from edge_vseg.export.reference.scenes.street_renderer import render_motion, render_street

CAMERAS: tuple[CameraKind, ...] = get_args(CameraKind)
PASSING: tuple[PassingKind, ...] = get_args(PassingKind)

__all__ = [
    "CAMERAS",
    "NO_EFFECTS",
    "PASSING",
    "CameraEffects",
    "CameraKind",
    "PassingKind",
    "SceneFrame",
    "StreetOptions",
    "render_motion",
    "render_street",
]
