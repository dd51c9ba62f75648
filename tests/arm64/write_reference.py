"""Make the bundle that the Arm tests compare, and this machine's label maps.

    python tests/arm64/write_reference.py FOLDER

Exports the shipped small network at 256x192. Pictures are CamVid's if ``EDGE_VSEG_DATA`` has them, else of a rendered
street.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from label_reference import Maps, write_reference

from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.calibration import SampleFrames, sample_frames
from edge_vseg.export import ExportOptions, export_bundle
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.video import VideoWriter

SIZE_HW = (192, 256)
FRAMES, CLIP_FRAMES = 8, 9


def main(folder: Path) -> None:
    """Write beside the folder and rename."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    sample, drive, origin = pictures()
    options = ExportOptions(
        labels=named_labels("camvid"),
        size_hw=SIZE_HW,
        normalization=NORMALIZATION,
        targets=("arm64",),
        slices=False,
    )
    export_bundle("edge_vseg.export.reference.zoo:small", partial / "street.evseg", sample, options)
    with VideoWriter(partial / "clip.mp4", 15.0, SIZE_HW) as writer:
        for image in drive[:CLIP_FRAMES]:
            writer.write(image)
    write_reference(partial, drive[:: len(drive) // FRAMES][:FRAMES], origin)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def pictures() -> tuple[SampleFrames, list[Maps], str]:
    """Calibration frames, consecutive frames of another drive, and where they come from."""
    camvid = Path(os.environ.get("EDGE_VSEG_DATA", "nowhere")) / "camvid"
    if camvid.is_dir():
        sample = sample_frames([str(camvid / "train")], calibration=32, validation=8, seed=0)
        return sample, [read(path) for path in sorted((camvid / "val").glob("*.png"))], "CamVid val"
    calibration, validation, drive = (
        [frame.image for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=seed), count)]
        for seed, count in ((11, 32), (12, 8), (7, 48))
    )
    spec = CalibrationSpec()
    return SampleFrames(calibration=calibration, validation=validation, spec=spec), drive, "rendered street"


def read(path: Path) -> Maps:
    """A picture at the network's size."""
    height, width = SIZE_HW
    return np.asarray(cv2.resize(cv2.imread(str(path)), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
