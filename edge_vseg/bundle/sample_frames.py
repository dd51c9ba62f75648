"""The frames of a sample video that an export works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.types import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleFrames:
    """A calibration set and a validation set, BGR, at any size.

    :func:`edge_vseg.calibration.sample_frames` chooses them from videos; :func:`edge_vseg.export.export_bundle` takes
    them. They are a type of the bundle because the two packages do not know each other.

    Attributes:
        calibration: Images that the int8 graphs are calibrated on.
        validation: Images that compare the int8 graphs with float; none of them is in the calibration set.
        spec: Where both come from, for the manifest.
    """

    calibration: Sequence[Image]
    validation: Sequence[Image]
    spec: CalibrationSpec
