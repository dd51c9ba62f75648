"""Rendered streets as training frames: many short clips, each of another street, light and camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.export.reference.scenes import CAMERAS, SceneFrame, StreetOptions, render_street
from edge_vseg.export.reference.training.augment import recolour
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE
from edge_vseg.types import Image

CLIP_FRAMES = 4
"""Frames of one street; few, so that streets differ."""
FIRST_SEED = 1_000_000
"""Streets of smaller seeds are never trained on: they are for tests and for the demo."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Pairs of neighbouring frames, for the consistency loss.

    Attributes:
        present: ``(K, 3, H, W)`` float32, normalised.
        previous: ``(K, 3, H, W)`` float32, the frames before.
        motion: ``(K, H/4, W/4, 2)`` float32, true motion from present to previous in cells of stride 4.
        visible: ``(K, H/4, W/4)`` float32, 1 where the surface is seen in both.
    """

    present: torch.Tensor
    previous: torch.Tensor
    motion: torch.Tensor
    visible: torch.Tensor

    def to(self, device: str) -> Neighbours:
        """The same on a device."""
        return Neighbours(
            present=self.present.to(device),
            previous=self.previous.to(device),
            motion=self.motion.to(device),
            visible=self.visible.to(device),
        )


def render_streets(config: TrainConfig) -> list[SceneFrame]:
    """Render ``config.streets`` frames, in clips of :data:`CLIP_FRAMES`; the seed fixes them."""
    frames: list[SceneFrame] = []
    for clip in range(-(-config.streets // CLIP_FRAMES)):
        seed = FIRST_SEED + config.seed * 100_003 + clip
        options = StreetOptions(camera=CAMERAS[clip % len(CAMERAS)], seed=seed)
        frames += render_street(options, CLIP_FRAMES)
    return frames[: config.streets]


def labelled(frames: Sequence[SceneFrame]) -> list[LabelledFrame]:
    """Rendered frames without their motion."""
    return [LabelledFrame(image=frame.image, labels=frame.labels) for frame in frames]


def neighbours(config: TrainConfig, frames: Sequence[SceneFrame], step: int) -> Neighbours:
    """The pairs of one step, cropped and recoloured alike."""
    rng = np.random.default_rng((config.seed, 3, step))
    seconds = [index for index in range(len(frames)) if index % CLIP_FRAMES]
    height, width = config.crop_hw
    present, previous, motions, visible = [], [], [], []
    for index in rng.choice(seconds, config.pairs):
        frame, before = frames[index], frames[index - 1]
        top = int(rng.integers(0, frame.labels.shape[0] - height + 1))
        left = int(rng.integers(0, frame.labels.shape[1] - width + 1))
        window = np.s_[top : top + height, left : left + width]
        colour = int(rng.integers(2**32))
        present.append(_recoloured(frame.image[window], colour))
        previous.append(_recoloured(before.image[window], colour))
        motions.append(_shrink(frame.motion[window]) / SCORES_STRIDE)
        visible.append(_shrink(1 - frame.occluded[window].astype(np.float32)) > 0.99)
    return Neighbours(
        present=to_input(present),
        previous=to_input(previous),
        motion=torch.from_numpy(np.stack(motions)),
        visible=torch.from_numpy(np.stack(visible).astype(np.float32)),
    )


def _recoloured(image: Image, seed: int) -> Image:
    return recolour(np.ascontiguousarray(image), np.random.default_rng(seed))


def _shrink(value: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (value.shape[1] // SCORES_STRIDE, value.shape[0] // SCORES_STRIDE)
    return np.asarray(cv2.resize(np.ascontiguousarray(value), size, interpolation=cv2.INTER_AREA), np.float32)
