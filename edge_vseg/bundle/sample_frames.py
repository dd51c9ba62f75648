"""The sample frames of an export: calibration set and validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.types import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleFrames:
    """A calibration set and a validation set, BGR, at any size.

    :func:`edge_vseg.calibration.sample_frames` chooses them from videos, and :func:`edge_vseg.export.export_bundle`
    takes them. The type is defined here because the two packages do not import each other.

    Attributes:
        calibration: Images for calibrating the int8 graphs.
        validation: Images for comparing int8 with float; disjoint from the calibration set.
        spec: Their provenance, for the manifest.
    """

    calibration: Sequence[Image]
    validation: Sequence[Image]
    spec: CalibrationSpec
