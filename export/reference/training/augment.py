"""Augmentation: random scale, crop, rotation and mirroring, copy-paste of rare objects, colour changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import IGNORE_ID, Image, LabelMap, Size

GREY = (114.0, 114.0, 114.0)
MIN_OBJECT_PX = 40
"""Smallest area of an object to paste."""
MAX_PASTED_OBJECTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Position of a crop in its frame.

    Attributes:
        matrix: ``(2, 3)`` float64 affine transform from frame to crop, in pixels.
        size_hw: Size of the crop.
    """

    matrix: NDArray[np.float64]
    size_hw: Size

    def image(self, image: Image) -> Image:
        """Crop an image; grey outside the frame."""
        return self._warp(image, cv2.INTER_LINEAR, GREY)

    def labels(self, labels: LabelMap) -> LabelMap:
        """Crop a label map, or their confidence; :data:`IGNORE_ID` outside the frame."""
        return self._warp(labels, cv2.INTER_NEAREST, (float(IGNORE_ID),))

    def _warp(self, value: NDArray[np.uint8], interpolation: int, border: tuple[float, ...]) -> NDArray[np.uint8]:
        height, width = self.size_hw
        warped = cv2.warpAffine(
            value, self.matrix, (width, height), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=border
        )
        return np.asarray(warped, np.uint8)


def place(
    frame_hw: Size,
    crop_hw: Size,
    scale: tuple[float, float],
    rng: np.random.Generator,
    around: tuple[float, float] | None = None,
) -> Placement:
    """Draw scale, aspect ratio, rotation, mirroring and position of a crop.

    Args:
        frame_hw: Size of the frame.
        crop_hw: Size of the crop.
        scale: Smallest and largest scale of the content, log-uniform.
        rng: Random generator.
        around: Column and row that the crop shall show, if there is one; anywhere in it.
    """
    size = np.exp(rng.uniform(*np.log(scale)))
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    across, down = size * stretch, size / stretch
    turn = np.deg2rad(rng.normal(0, 2.0))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([mirror * across, down])
    # Draw the frame point at the centre of the crop such that as little as possible of the crop is outside the frame.
    reach = np.array([crop_hw[1] / across, crop_hw[0] / down]) / 2
    extent = np.array([frame_hw[1], frame_hw[0]], np.float64)
    low, high = np.minimum(reach, extent / 2), np.maximum(extent - reach, extent / 2)
    if around is not None:
        point = np.array(around)
        low, high = np.clip(point - 0.8 * reach, low, high), np.clip(point + 0.8 * reach, low, high)
    centre = rng.uniform(low, high)
    offset = np.array([crop_hw[1], crop_hw[0]]) / 2 - linear @ centre
    return Placement(matrix=np.column_stack((linear, offset)), size_hw=crop_hw)


def paste_things(
    image: Image,
    labels: LabelMap,
    donor: Image,
    donor_labels: LabelMap,
    things: Sequence[int],
    rng: np.random.Generator,
    confidence: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
) -> tuple[Image, LabelMap, NDArray[np.uint8] | None]:
    """Paste objects of another crop near their original position.

    Args:
        image: ``(H, W, 3)`` uint8.
        labels: ``(H, W)`` uint8.
        donor: Another crop of the same size.
        donor_labels: Its labels.
        things: Countable classes, such as cars and pedestrians. All are equally likely, so rare ones are seen more
            often.
        rng: Random generator.
        confidence: ``(H, W)`` uint8 of the labels of both, if they have one: a pasted object keeps its own.

    Returns:
        A new image, new labels and their confidence.

    Reference: Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method, CVPR 2021; here with connected
    components as instances, and a small shift that keeps the perspective.
    """
    height, width = labels.shape
    image, labels = image.copy(), labels.copy()
    sure, donor_sure = (confidence[0].copy(), confidence[1]) if confidence else (None, None)
    present = [number for number in things if np.count_nonzero(donor_labels == number) >= MIN_OBJECT_PX]
    if not present:
        return image, labels, sure
    for number in rng.choice(present, int(rng.integers(1, MAX_PASTED_OBJECTS + 1))):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((donor_labels == number).astype(np.uint8))
        large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= MIN_OBJECT_PX]
        if not large:
            continue
        mask = np.asarray(parts == rng.choice(large), np.uint8)
        shift = np.array(
            [[1, 0, round(rng.normal(0, 0.1 * width))], [0, 1, round(rng.normal(0, 0.015 * height))]], float
        )
        shifted_mask = cv2.warpAffine(mask, shift, (width, height), flags=cv2.INTER_NEAREST)
        source = cv2.warpAffine(donor, shift, (width, height), flags=cv2.INTER_NEAREST)
        opacity = cv2.GaussianBlur(shifted_mask.astype(np.float32), (0, 0), 0.6)[..., None]
        image = np.asarray(np.rint(image + (source.astype(np.float32) - image) * opacity), np.uint8)
        labels[shifted_mask > 0] = number
        if sure is not None and donor_sure is not None:
            moved = cv2.warpAffine(donor_sure, shift, (width, height), flags=cv2.INTER_NEAREST)
            sure[shifted_mask > 0] = moved[shifted_mask > 0]
    return image, labels, sure


def recolour(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Change exposure, contrast, gamma, white balance, saturation and hue; sometimes blur or add noise.

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
        rng: Random generator.
        strength: 1 for training; lower is milder.
    """
    ramp = np.linspace(0, 1, 256)
    gamma = np.exp(strength * rng.normal(0, 0.25))
    contrast = np.exp(strength * rng.normal(0, 0.2))
    bright = strength * rng.normal(0, 0.08)
    balance = np.exp(strength * rng.normal(0, 0.06, 3))
    curves = ((ramp[:, None] ** gamma - 0.5) * contrast + 0.5 + bright) * balance
    table = (np.clip(curves, 0, 1) * 255).astype(np.uint8).reshape(1, 256, 3)
    changed: Image = np.asarray(cv2.LUT(image, table), np.uint8)
    if rng.random() < 0.8 * strength:
        changed = _tint(changed, rng, strength)
    if rng.random() < 0.15 * strength:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < 0.5 * strength:
        # The same grain in all channels: takes a third of the time, and makes no difference to the network.
        grain = np.float32(rng.uniform(1, 8)) * rng.standard_normal(changed.shape[:2], dtype=np.float32)
        noise = np.asarray(cv2.merge([grain] * 3), np.float32)
        changed = np.asarray(cv2.add(changed, noise, dtype=cv2.CV_8U), np.uint8)
    return changed


def _tint(image: Image, rng: np.random.Generator, strength: float) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    steps = np.arange(256)
    hue = ((steps + strength * rng.normal(0, 4)) % 180).astype(np.uint8)
    saturation = np.clip(steps * np.exp(strength * rng.normal(0, 0.3)), 0, 255).astype(np.uint8)
    table = np.stack((hue, saturation, steps.astype(np.uint8)), axis=-1).reshape(1, 256, 3)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2BGR), np.uint8)
