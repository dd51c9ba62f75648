"""Rendered streets with true labels, motion and occlusion: sample clip, test ground, extra training frames."""

from typing import get_args

from edge_vseg.scenes.options import NO_EFFECTS, CameraEffects, CameraKind, SceneFrame, StreetOptions
from edge_vseg.scenes.render import render_street

CAMERAS: tuple[CameraKind, ...] = get_args(CameraKind)

__all__ = ["CAMERAS", "NO_EFFECTS", "CameraEffects", "CameraKind", "SceneFrame", "StreetOptions", "render_street"]
