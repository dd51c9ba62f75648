"""Random variants of a frame: what the same camera might have seen."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.imaging.label_maps import resize_labels

MIN_SIDE = 0.8
"""Smallest part of the frame that is enlarged to the whole."""
MAX_GAIN = 1.05


def vary_frame(frame: TrainingFrame, rng: np.random.Generator) -> TrainingFrame:
    """Crop, flip and expose a frame anew, each in half of the cases; its truth is cropped and flipped alike.

    Args:
        frame: The frame.
        rng: Source of chance.

    Returns:
        A frame of the same size.
    """
    image, labels = frame.image, frame.labels
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        side = rng.uniform(MIN_SIDE, 1.0)
        rows, columns = max(1, round(height * side)), max(1, round(width * side))
        top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
        part = slice(top, top + rows), slice(left, left + columns)
        image = np.asarray(cv2.resize(image[part], (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        labels = None if labels is None else resize_labels(labels[part], (height, width))
    if rng.random() < 0.5:
        image = image[:, ::-1]
        labels = None if labels is None else labels[:, ::-1]
    if rng.random() < 0.5:
        gain = MAX_GAIN ** rng.uniform(-1, 1)
        image = np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)
    return TrainingFrame(
        image=np.ascontiguousarray(image), labels=None if labels is None else np.ascontiguousarray(labels)
    )
