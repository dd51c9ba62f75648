"""Rendered streets as training frames, in short clips of different streets, light and cameras; and pairs of frames."""

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
from edge_vseg.export.reference.training.video_pairs import FramePair
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE
from edge_vseg.types import Image, Size

CLIP_FRAMES = 4
"""Frames per street; few, for many different streets."""
FIRST_SEED = 1_000_000
"""First seed used for training. Smaller seeds are for tests and for the demo."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Pairs of consecutive frames, for the consistency loss.

    Attributes:
        present: ``(K, 3, H, W)`` float32, normalised.
        previous: ``(K, 3, H, W)`` float32, the frames before.
        motion: ``(K, H/4, W/4, 2)`` float32, from present to previous in cells of stride 4: true or estimated.
        visible: ``(K, H/4, W/4)`` float32 from 0 to 1, 1 where the surface is visible in both frames.
    """

    present: torch.Tensor
    previous: torch.Tensor
    motion: torch.Tensor
    visible: torch.Tensor

    def to(self, device: str) -> Neighbours:
        """A copy on another device."""
        return Neighbours(
            present=self.present.to(device),
            previous=self.previous.to(device),
            motion=self.motion.to(device),
            visible=self.visible.to(device),
        )


def render_streets(config: TrainConfig) -> list[SceneFrame]:
    """Render ``config.streets`` frames in clips of :data:`CLIP_FRAMES`; determined by the options.

    Pairs of them are cropped and not scaled, so with a consistency loss they are at least as large as a crop.
    """
    size_hw = StreetOptions().size_hw
    if config.consistency:
        size_hw = max(size_hw[0], config.crop_hw[0]), max(size_hw[1], config.crop_hw[1])
    frames: list[SceneFrame] = []
    for clip in range(-(-config.streets // CLIP_FRAMES)):
        seed = FIRST_SEED + config.seed * 100_003 + clip
        options = StreetOptions(camera=CAMERAS[clip % len(CAMERAS)], seed=seed, size_hw=size_hw)
        frames += render_street(options, CLIP_FRAMES)
    return frames[: config.streets]


def labelled(frames: Sequence[SceneFrame]) -> list[LabelledFrame]:
    """Rendered frames as labelled frames."""
    return [LabelledFrame(image=frame.image, labels=frame.labels) for frame in frames]


def neighbours(
    config: TrainConfig, frames: Sequence[SceneFrame], step: int, pairs: Sequence[FramePair] = ()
) -> Neighbours:
    """The frame pairs of a step, rendered and of videos; both frames get the same crop and the same colours."""
    rng = np.random.default_rng((config.seed, 3, step))
    followers = [index for index in range(len(frames)) if index % CLIP_FRAMES]
    present: list[Image] = []
    previous: list[Image] = []
    motions, visible = [], []
    for choice in rng.choice(len(followers) + len(pairs), config.pairs):
        if choice < len(followers):
            frame, before = frames[followers[choice]], frames[followers[choice] - 1]
            window, _ = _window(frame.image.shape, config.crop_hw, rng, 1)
            images = frame.image[window], before.image[window]
            motions.append(_shrink(frame.motion[window]) / SCORES_STRIDE)
            visible.append((_shrink(1 - frame.occluded[window].astype(np.float32)) > 0.99).astype(np.float32))
        else:
            pair = pairs[choice - len(followers)]
            window, cells = _window(pair.present.shape, config.crop_hw, rng, SCORES_STRIDE)
            images = pair.present[window], pair.previous[window]
            motions.append(pair.motion[cells])
            visible.append(pair.visible[cells])
        color_seed = int(rng.integers(2**32))
        for image, chosen in zip(images, (present, previous), strict=True):
            chosen.append(_recolour(image, color_seed))
    return Neighbours(
        present=to_input(present),
        previous=to_input(previous),
        motion=torch.from_numpy(np.stack(motions)),
        visible=torch.from_numpy(np.stack(visible)),
    )


def _window(
    shape: tuple[int, ...], crop_hw: Size, rng: np.random.Generator, stride: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A crop that begins at a multiple of ``stride``, and the same in cells of it."""
    spare = [(whole - side) // stride for whole, side in zip(shape[:2], crop_hw, strict=True)]
    starts = [stride * int(rng.integers(0, most + 1)) for most in spare]
    rows, columns = (slice(at, at + side) for at, side in zip(starts, crop_hw, strict=True))
    cells = [slice(at // stride, (at + side) // stride) for at, side in zip(starts, crop_hw, strict=True)]
    return (rows, columns), (cells[0], cells[1])


def _recolour(image: Image, seed: int) -> Image:
    return recolour(np.ascontiguousarray(image), np.random.default_rng(seed))


def _shrink(value: NDArray[np.float32]) -> NDArray[np.float32]:
    size = (value.shape[1] // SCORES_STRIDE, value.shape[0] // SCORES_STRIDE)
    return np.asarray(cv2.resize(np.ascontiguousarray(value), size, interpolation=cv2.INTER_AREA), np.float32)
