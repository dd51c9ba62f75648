"""Frames of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.export.reference.scenes import SceneFrame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Frames of a training run.

    Attributes:
        train: Training frames.
        val: Validation frames; may be empty.
        streets: Rendered frames to mix into the batches; may be empty.
    """

    train: Sequence[LabelledFrame]
    val: Sequence[LabelledFrame]
    streets: Sequence[SceneFrame] = ()


def class_shares(frames: Sequence[LabelledFrame], classes: int) -> NDArray[np.float64]:
    """Share of each class in the labelled pixels, ``(classes,)``."""
    counts = sum(np.bincount(frame.labels.ravel(), minlength=256)[:classes] for frame in frames)
    return np.asarray(counts / np.sum(counts), np.float64)
