"""Render a street with ground truth, and show it: frame, labels, and the previous frame warped along the true motion.

    python examples/render_street.py street.mp4 --camera walking --frames 60

Writes a video of the three images side by side. The warped frame is black where the occlusion mask is set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from edge_vseg import VideoWriter
from edge_vseg.bundle.labels import named_labels
from edge_vseg.export.reference.scenes import CAMERAS, StreetOptions, render_street
from edge_vseg.imaging.overlay import colorize


def main() -> None:
    """Render, warp, write the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="video to write")
    parser.add_argument("--camera", choices=CAMERAS, default="driving")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    height, width = arguments.size
    options = StreetOptions(camera=arguments.camera, size_hw=(height, width), seed=arguments.seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    before = np.zeros((height, width, 3), np.uint8)
    with VideoWriter(arguments.output, options.rate, (height, 3 * width)) as writer:
        for frame in render_street(options, arguments.frames):
            warped = cv2.remap(before, x + frame.motion[..., 0], y + frame.motion[..., 1], cv2.INTER_LINEAR)
            warped[frame.occluded] = 0
            classes = colorize(frame.labels, named_labels("camvid"))
            writer.write(np.hstack((frame.image, classes, warped)), pts_ns=frame.pts_ns)
            before = frame.image
    print(f"{arguments.output}: {arguments.frames} frames, camera {arguments.camera}")


if __name__ == "__main__":
    main()
