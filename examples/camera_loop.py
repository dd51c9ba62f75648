"""Segment images from your own camera driver, and print the age of each result.

    python examples/camera_loop.py street.evseg 0

OpenCV stands in for the driver; any source of ``(H, W, 3)`` uint8 BGR arrays works. Take the capture time as soon as
the image arrives: the age of a result is measured from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg import Segmenter


def driver(device: str) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield images and their arrival time, ``time.monotonic_ns()``."""
    camera = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if not camera.isOpened():
        raise SystemExit(f"cannot open {device}; give a camera number or a video file")
    try:
        while True:
            success, image = camera.read()
            arrival_ns = time.monotonic_ns()
            if not success:
                return
            yield np.asarray(image, np.uint8), arrival_ns
    finally:
        camera.release()


def main() -> None:
    """Segment the camera images until the video ends or Ctrl-C is pressed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("device", help="camera number or video file")
    parser.add_argument("--max-frames", type=int, default=0, help="stop after this many frames; 0 for no limit")
    arguments = parser.parse_args()
    with Segmenter.open(arguments.bundle, threads=2) as segmenter:
        names = [label.name for label in segmenter.bundle.manifest.labels]
        for image, arrival_ns in driver(arguments.device):
            result = segmenter.push(image, capture_ns=arrival_ns)
            largest = names[int(np.bincount(result.labels.ravel()).argmax())]
            print(f"frame {result.seq}: mostly {largest}, {result.age_ms:.1f} ms after capture", flush=True)
            if result.seq + 1 == arguments.max_frames:
                break


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
