"""Videos with known content, written with bare PyAV, so that reading them checks our code and not itself."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8


def numbered(number: int, size_hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A BGR picture that carries its number as bright and dark stripes, which survive compression."""
    height, width = size_hw
    image = np.zeros((height, width, 3), dtype=np.uint8)
    stripe = width // BITS
    for bit in range(BITS):
        image[:, bit * stripe : (bit + 1) * stripe] = 220 if number >> bit & 1 else 30
    return image


def number_of(image: np.ndarray) -> int:
    stripe = image.shape[1] // BITS
    means = [image[:, bit * stripe : (bit + 1) * stripe].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 125)


def write_video(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 30,
    ticks: Sequence[int] | None = None,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Write a video; ``ticks`` are presentation times in units of 1/fps."""
    with av.open(str(path), "w", format=container_format, container_options=container or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts = index if ticks is None else ticks[index]
            picture.time_base = Fraction(1, fps)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with a second of silence and no picture."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        for index in range(40):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            samples.sample_rate = 48000
            samples.pts = index * 1024
            out.mux(stream.encode(samples))
        out.mux(stream.encode(None))
    return path
