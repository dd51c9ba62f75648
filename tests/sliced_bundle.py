"""A small two-branch network as an int8 bundle, in slices and for tiles, and streets to drive through."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import CalibrationSpec

SIZE_HW = (192, 256)
TILE_HW = (96, 128)


def street(seed: int, count: int) -> list[np.ndarray]:
    # Here, because a device does not have what the package export imports.
    from edge_vseg.export.reference.scenes import StreetOptions, render_street

    return [frame.image for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=seed), count)]


def write_sliced_bundle(path: Path) -> Path:
    from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
    from edge_vseg.export.reference.zoo.weights import NORMALIZATION

    options = ExportOptions(
        labels=named_labels("camvid"),
        size_hw=SIZE_HW,
        normalization=NORMALIZATION,
        max_drop=1.0,
        precisions=("int8",),
        runtimes=("onnxruntime",),
        tiles=TILE_HW,
    )
    sample = SampleFrames(calibration=street(1, 4), validation=street(2, 2), spec=CalibrationSpec())
    return export_bundle("edge_vseg.export.reference.zoo:small", path, sample, options).path
