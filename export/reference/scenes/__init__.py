"""Rendered streets with true labels, motion and occlusion: sample clip, test ground, extra training frames."""

from typing import get_args

from edge_vseg.export.reference.scenes.render import render_street
from edge_vseg.export.reference.scenes.scene_options import (
    NO_EFFECTS,
    CameraEffects,
    CameraKind,
    SceneFrame,
    StreetOptions,
)

CAMERAS: tuple[CameraKind, ...] = get_args(CameraKind)

__all__ = ["CAMERAS", "NO_EFFECTS", "CameraEffects", "CameraKind", "SceneFrame", "StreetOptions", "render_street"]
