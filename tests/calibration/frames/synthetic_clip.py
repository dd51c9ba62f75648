"""Synthetic clips with known good and bad frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE_HW = (90, 160)


def panorama(seed: int = 0, width: int = 4000) -> np.ndarray:
    """A wide textured image: coloured patches, edges, fine grain."""
    rng = np.random.default_rng(seed)
    height = SIZE_HW[0]
    patches = rng.integers(30, 226, (6, width // 15, 3), dtype=np.uint8)
    image = cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)
    grain = rng.integers(0, 60, (height, width, 1), dtype=np.uint8)
    return cv2.add(image, np.repeat(grain, 3, axis=2)) - 15


def view(scene: np.ndarray, step: int, pixels: int = 9) -> np.ndarray:
    """A view of a camera that pans along the panorama."""
    return np.ascontiguousarray(scene[:, step * pixels : step * pixels + SIZE_HW[1]])


def blur(image: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def save_folder(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        (folder / f"f{index:04d}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder
