"""A camera in a process of its own: publishes one picture again and again, by Cyclone DDS's own types.

    python camera_process.py DOMAIN HEIGHT WIDTH ENCODING

The picture is ``picture_of((height, width))``, in the channel order of the encoding; stamps count seconds from 100.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from robot import Image_, Robot, image_of

TOPIC = "/camera/image_raw"


def picture_of(size_hw: tuple[int, int]) -> np.ndarray:
    """``(H, W, 3)`` uint8 BGR noise; the same for the same size."""
    return np.random.default_rng(size_hw).integers(0, 256, (*size_hw, 3), np.uint8)


def main() -> None:
    domain, height, width = (int(text) for text in sys.argv[1:4])
    encoding = sys.argv[4]
    pixels = picture_of((height, width))
    writer = Robot(domain).writer(TOPIC, Image_, reliable=True)
    message = image_of(pixels[..., ::-1] if encoding == "rgb8" else pixels, 100, 7, encoding=encoding)
    while True:
        writer.write(message)
        message.header.stamp.sec += 1
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
