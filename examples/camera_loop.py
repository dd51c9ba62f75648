"""Feed a segmenter from your own camera driver, and know how old each answer is.

    python examples/camera_loop.py street.evseg 0

OpenCV stands for the driver here; anything that gives ``(H, W, 3)`` uint8 BGR arrays will do. Take the
time when the image arrives, before anything else is done with it: the age of a result counts from there.
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
    """Images and the time of their arrival, ``time.monotonic_ns()``."""
    camera = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if not camera.isOpened():
        raise SystemExit(f"{device} cannot be opened; give a camera's number or a video")
    try:
        while True:
            there, image = camera.read()
            arrived_ns = time.monotonic_ns()
            if not there:
                return
            yield np.asarray(image, np.uint8), arrived_ns
    finally:
        camera.release()


def main() -> None:
    """Segment what the camera gives until it ends, or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("device", help="number of a camera, or a video to play instead")
    parser.add_argument("--max-frames", type=int, default=0, help="stop after so many frames; 0 goes on")
    arguments = parser.parse_args()
    with Segmenter.open(arguments.bundle, threads=2) as segmenter:
        names = [label.name for label in segmenter.bundle.manifest.labels]
        for image, arrived_ns in driver(arguments.device):
            result = segmenter.push(image, capture_ns=arrived_ns)
            largest = names[int(np.bincount(result.labels.ravel()).argmax())]
            print(f"frame {result.seq}: mostly {largest}, {result.age_ms:.1f} ms after capture", flush=True)
            if result.seq + 1 == arguments.max_frames:
                break


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
