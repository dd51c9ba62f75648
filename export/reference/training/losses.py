"""Losses that add up: labels, distillation from a larger network, consistency over time."""

from __future__ import annotations

import torch
from torch.nn import functional

from edge_vseg.types import IGNORE_ID

LOSS_STRIDE = 2
"""Losses on labels are taken at this stride: a quarter of the work of full resolution, and the same result."""


def label_loss(
    scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, hard_share: float = 1.0
) -> torch.Tensor:
    """Weighted cross-entropy over the hardest pixels.

    Args:
        scores: ``(N, C, h, w)`` logits of any stride.
        labels: ``(N, H, W)`` int64; 255 does not count.
        weights: ``(C,)`` class weights.
        hard_share: Share of the pixels that count, those with the largest loss.

    Returns:
        A scalar.

    Reference: Shrivastava et al., Training TileGraph-Based Object Detectors with Online Hard Example Mining,
    CVPR 2016, on pixels.
    """
    labels = labels[:, ::LOSS_STRIDE, ::LOSS_STRIDE]
    scores = functional.interpolate(scores.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
    if hard_share >= 1:
        return functional.cross_entropy(scores, labels, weights, ignore_index=IGNORE_ID)
    each = functional.cross_entropy(scores, labels, weights, ignore_index=IGNORE_ID, reduction="none").flatten()
    weight = weights[labels.clamp(max=len(weights) - 1)].flatten() * (labels != IGNORE_ID).flatten()
    hardest = each.topk(max(1, int(hard_share * each.numel()))).indices
    return each[hardest].sum() / weight[hardest].sum().clamp(min=1e-6)


def jaccard_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One minus the IoU, over the classes that occur, made differentiable by its Lovász extension.

    Args:
        scores: ``(N, C, h, w)`` logits of any stride; the loss is taken at that stride.
        labels: ``(N, H, W)`` int64, multiples of ``h`` and ``w``; 255 does not count.

    Returns:
        A scalar.

    Reference: Berman et al., The Lovász-Softmax Loss, CVPR 2018, eq. 11 and algorithm 1, over the whole batch.
    """
    stride = labels.shape[1] // scores.shape[2]
    labels = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    counted = labels != IGNORE_ID
    found, truth = functional.softmax(scores.float(), 1).movedim(1, -1)[counted], labels[counted]
    losses = []
    for number in truth.unique().tolist():
        mine = (truth == number).float()
        errors, order = (mine - found[:, number]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(mine[order]))
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def _jaccard_steps(truth: torch.Tensor) -> torch.Tensor:
    """What each further wrong pixel, from the worst on, adds to one minus the IoU."""
    missed, extra = truth.cumsum(0), (1 - truth).cumsum(0)
    total = truth.sum()
    lost = 1 - (total - missed) / (total + extra)
    return torch.cat((lost[:1], lost[1:] - lost[:-1]))


def response_loss(scores: torch.Tensor, teacher: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's softened classes, per pixel.

    Args:
        scores: ``(N, C, h, w)`` logits of the student.
        teacher: ``(N, C, h, w)`` logits of the teacher.
        temperature: Softening of both.

    Returns:
        A scalar, scaled by the temperature squared.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    student = functional.log_softmax(scores.float() / temperature, dim=1)
    target = functional.softmax(teacher.float() / temperature, dim=1)
    each = functional.kl_div(student, target, reduction="none").sum(1)
    return each.mean() * temperature**2


def feature_loss(features: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Distance of the two attention maps: where each network's features are strong.

    Args:
        features: ``(N, C, h, w)`` of the student.
        teacher: ``(N, D, h, w)`` of the teacher; channels may differ, which needs no adapter.

    Returns:
        A scalar.

    Reference: Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, eq. 2.
    """
    attention = [functional.normalize(value.float().square().mean(1).flatten(1)) for value in (features, teacher)]
    return (attention[0] - attention[1]).square().sum(1).mean()


def relation_loss(features: torch.Tensor, teacher: torch.Tensor, cells: int = 4) -> torch.Tensor:
    """Distance of the two tables of pairwise similarity between tiles.

    Args:
        features: ``(N, C, h, w)`` of the student.
        teacher: ``(N, D, h, w)`` of the teacher.
        cells: Side of a tile in cells.

    Returns:
        A scalar.

    Reference: Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019, eq. 2.
    """
    tables = []
    for value in (features, teacher):
        tiles = functional.avg_pool2d(value.float(), cells).flatten(2)
        directions = functional.normalize(tiles, dim=1)
        tables.append(directions.transpose(1, 2) @ directions)
    return (tables[0] - tables[1]).square().mean()


def consistency_loss(scores: torch.Tensor, warped: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Distance of a frame's class probabilities from those of its neighbour, carried along the true motion.

    Args:
        scores: ``(N, C, h, w)`` logits of frame t.
        warped: ``(N, C, h, w)`` logits of frame t-1, warped into t.
        visible: ``(N, h, w)`` 1 where the surface is seen in both frames, else 0.

    Returns:
        A scalar.

    Reference: Liu et al., Efficient Semantic Video Segmentation with Per-Frame Inference, ECCV 2020, eq. 2;
    they weigh by a photometric mask where this takes the renderer's own occlusion mask.
    """
    difference = functional.softmax(scores.float(), 1) - functional.softmax(warped.float(), 1)
    each = difference.square().sum(1) * visible
    return each.sum() / visible.sum().clamp(min=1)
