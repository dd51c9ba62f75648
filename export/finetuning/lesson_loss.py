"""What a network loses against its teacher, and against labels."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.imaging.border_labels import sample_places
from edge_vseg.types import IGNORE_ID, LabelMap, Size

LABEL_WEIGHT = 0.5
"""Of the truth, beside what the whole float network says."""


def lesson_loss(found: Tensor, target: Tensor, truth: LabelMap | None, align: str = "half_pixel") -> Tensor:
    """What a network loses against its teacher, and against the truth where there is one.

    Args:
        found: ``(1, C, h, w)`` logits of the student, of two classes or more, as float graphs give them.
        target: The same of the teacher.
        truth: ``(H, W)`` uint8 or ``None``; pixels of 255 do not count.
        align: Sampling grid of the network's own upsampling, as
            :class:`~edge_vseg.imaging.label_maps.LabelMapper` has it: labels are compared where a device looks.
    """
    loss = output_loss(found, target)
    if truth is None or (truth == IGNORE_ID).all():
        return loss
    wanted = torch.from_numpy(truth.astype(np.int64))[None].to(found.device)
    scores = upsample_scores(found, (truth.shape[0], truth.shape[1]), align)
    return loss + LABEL_WEIGHT * F.cross_entropy(scores, wanted, ignore_index=IGNORE_ID)


def output_loss(found: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the student's classes against the teacher's, less the teacher's own entropy.

    Args:
        found: ``(1, C, h, w)`` logits of the student.
        target: The same of the teacher; a single channel is a logit of two classes.
    """
    if target.shape[1] == 1:
        wanted = torch.sigmoid(target)
        floor = F.binary_cross_entropy_with_logits(target, wanted)
        return F.binary_cross_entropy_with_logits(found, wanted) - floor
    wanted = torch.softmax(target, 1)
    return (wanted * (torch.log_softmax(target, 1) - torch.log_softmax(found, 1))).sum(1).mean()


def upsample_scores(scores: Tensor, size_hw: Size, align: str) -> Tensor:
    """Scores at the size of a label map, sampled as :class:`~edge_vseg.imaging.label_maps.LabelMapper` does it.

    Args:
        scores: ``(1, C, h, w)``.
        size_hw: Size of the label map.
        align: ``half_pixel``, ``align_corners``, ``asymmetric`` or ``nearest``.

    Returns:
        ``(1, C, H, W)``.
    """
    match align:
        case "half_pixel" | "align_corners":
            return F.interpolate(scores, size_hw, mode="bilinear", align_corners=align == "align_corners")
        case "nearest":
            rows, columns = (_nearest(scores.shape[2 + axis], size_hw[axis]).to(scores.device) for axis in (0, 1))
            return scores[:, :, rows][..., columns]
        case _:
            rows, columns = (_weights(scores.shape[2 + axis], size_hw[axis], align) for axis in (0, 1))
            return rows.to(scores) @ scores @ columns.to(scores).T


def _nearest(source: int, target: int) -> Tensor:
    """``(target,)``: the cell of each pixel of an axis; torch's own takes the other one in some cases of a tie."""
    cells = np.arange(source, dtype=np.float32)[:, None]
    return torch.from_numpy(cv2.resize(cells, (1, target), interpolation=cv2.INTER_NEAREST_EXACT)[:, 0]).long()


def _weights(source: int, target: int, align: str) -> Tensor:
    """``(target, source)``: how much of each cell of an axis a pixel takes."""
    places = torch.from_numpy(np.clip(sample_places(source, target, align), 0, source - 1))
    return (1 - (places[:, None] - torch.arange(source)).abs()).clamp(min=0)
