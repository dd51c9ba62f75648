"""Training losses: labels, distillation from a teacher, temporal consistency."""

from __future__ import annotations

import torch
from torch.nn import functional

from edge_vseg.types import IGNORE_ID

LOSS_STRIDE = 2
"""Stride of the label loss: a quarter of the work of full resolution, with the same result."""


def label_loss(
    scores: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    hard_share: float = 1.0,
    boundary: float = 0.0,
    relaxed: int = 0,
    confidence: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted cross-entropy over the hardest pixels, those at borders of classes with more weight or relaxed.

    Args:
        scores: ``(N, C, h, w)`` logits of any stride.
        labels: ``(N, H, W)`` int64, multiples of two; 255 is ignored.
        weights: ``(C,)`` class weights.
        hard_share: Share of the labelled pixels to use, those with the largest loss.
        boundary: Weight that pixels near a border get on top of 1.
        relaxed: 1 asks pixels near a border for any of the classes that meet there; see :func:`relaxed_loss`.
        confidence: ``(N, H, W)`` from 0 to 1, a further weight of each pixel; ``None`` for 1.

    Returns:
        A scalar; 0 if no pixel has a class.

    Reference: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining,
    CVPR 2016; here on pixels.
    """
    labels = _labels_at(labels, LOSS_STRIDE)
    scores = functional.interpolate(scores.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
    if not (labels != IGNORE_ID).any():
        return scores.sum() * 0  # the mean of nothing is NaN, and would be in every weight
    if hard_share >= 1 and not boundary and not relaxed and confidence is None:
        return functional.cross_entropy(scores, labels, weights, ignore_index=IGNORE_ID)
    weight = weights[labels.clamp(max=len(weights) - 1)].flatten() * (labels != IGNORE_ID).flatten()
    if relaxed:
        each = relaxed_loss(scores, labels).flatten() * weight
    else:
        each = functional.cross_entropy(scores, labels, weights, ignore_index=IGNORE_ID, reduction="none").flatten()
    if confidence is not None:
        sure = _labels_at(confidence, LOSS_STRIDE).flatten()
        each, weight = each * sure, weight * sure
    if boundary:
        near = 1 + boundary * near_border(labels).flatten()
        each, weight = each * near, weight * near
    known = (labels != IGNORE_ID).flatten()
    each, weight = each[known], weight[known]
    hardest = each.topk(max(1, int(hard_share * each.numel()))).indices
    return each[hardest].sum() / weight[hardest].sum().clamp(min=1e-6)


def _labels_at(labels: torch.Tensor, stride: int) -> torch.Tensor:
    """Labels of a coarser grid, ``(N, H / stride, W / stride)``: of the pixel at the centre of each cell.

    With an even stride the centre lies between pixels: every second crop takes the one after it, the others the one
    before. One and the same for all would teach the network maps that are shifted by half a pixel.
    """
    before, after = (stride - 1) // 2, stride // 2
    coarse = labels[:, before::stride, before::stride].clone()
    coarse[1::2] = labels[1::2, after::stride, after::stride]
    return coarse


def relaxed_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy that asks for the classes within a cell together: at borders, where labels are least sure.

    Elsewhere that is the pixel's own class alone, and the plain cross-entropy.

    Args:
        scores: ``(N, C, h, w)`` logits.
        labels: ``(N, h, w)`` int64; 255 is ignored.

    Returns:
        ``(N, h, w)``; 0 where the label is 255.

    Reference: Zhu et al., Improving Semantic Segmentation via Video Propagation and Label Relaxation, CVPR 2019, eq. 4,
    in windows of 3x3.
    """
    known = labels != IGNORE_ID
    ids = labels.clamp(max=scores.shape[1] - 1)
    own = functional.one_hot(ids, scores.shape[1]).movedim(-1, 1) * known[:, None]
    meeting = functional.max_pool2d(own.float(), 3, 1, 1) > 0
    log_probabilities = functional.log_softmax(scores.float(), 1).masked_fill(~meeting, -torch.inf)
    # A pixel of no class may have none around it: it is left out before the sum, whose gradient would be nan.
    together = log_probabilities.movedim(1, -1)[known].logsumexp(-1)
    return torch.zeros_like(labels, dtype=together.dtype).masked_scatter(known, -together)


def near_border(labels: torch.Tensor) -> torch.Tensor:
    """Where another class is within a cell: ``(N, h, w)`` of 0 and 1, from ``(N, h, w)`` int64; 255 is no class."""
    known = labels != IGNORE_ID
    low = torch.where(known, labels, IGNORE_ID + 1).float()[:, None]
    high = torch.where(known, labels, -1).float()[:, None]
    least = -functional.max_pool2d(-low, 3, 1, 1)
    most = functional.max_pool2d(high, 3, 1, 1)
    return ((most > least) & known[:, None])[:, 0].float()


def jaccard_loss(scores: torch.Tensor, labels: torch.Tensor, confidence: torch.Tensor | None = None) -> torch.Tensor:
    """Lovász extension of one minus the IoU, averaged over the classes that occur.

    Args:
        scores: ``(N, C, h, w)`` logits of any stride; the loss is computed at that stride.
        labels: ``(N, H, W)`` int64, multiples of ``h`` and ``w``; 255 is ignored.
        confidence: ``(N, H, W)`` from 0 to 1, how much of each pixel is counted; ``None`` for all of it.

    Returns:
        A scalar.

    Reference: Berman et al., The Lovász-Softmax Loss, CVPR 2018, eq. 11 and algorithm 1, over the whole batch; sizes of
    sets are sums of confidences.
    """
    stride = labels.shape[1] // scores.shape[2]
    labels = _labels_at(labels, stride)
    labelled = labels != IGNORE_ID
    sure = None if confidence is None else _labels_at(confidence, stride)[labelled]
    probabilities, truth = functional.softmax(scores.float(), 1).movedim(1, -1)[labelled], labels[labelled]
    losses = []
    for number in truth.unique().tolist():
        target = (truth == number).float()
        errors, order = (target - probabilities[:, number]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_gradient(target[order], 1.0 if sure is None else sure[order]))
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def _jaccard_gradient(truth: torch.Tensor, sure: torch.Tensor | float) -> torch.Tensor:
    """Increase of one minus the IoU with each further wrong pixel, in order of descending error."""
    missed, extra = (truth * sure).cumsum(0), ((1 - truth) * sure).cumsum(0)
    total = (truth * sure).sum()
    lost = 1 - (total - missed) / (total + extra)
    return torch.cat((lost[:1], lost[1:] - lost[:-1]))


def response_loss(scores: torch.Tensor, teacher: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's softened probabilities, per pixel.

    Args:
        scores: ``(N, C, h, w)`` logits of the student.
        teacher: ``(N, C, h, w)`` logits of the teacher.
        temperature: Softmax temperature of both.

    Returns:
        A scalar, scaled by the temperature squared.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    student = functional.log_softmax(scores.float() / temperature, dim=1)
    target = functional.softmax(teacher.float() / temperature, dim=1)
    each = functional.kl_div(student, target, reduction="none").sum(1)
    return each.mean() * temperature**2


def feature_loss(features: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Distance between the attention maps of student and teacher: where their features are strong.

    Args:
        features: ``(N, C, h, w)`` of the student.
        teacher: ``(N, D, h, w)`` of the teacher; the channels may differ.

    Returns:
        A scalar.

    Reference: Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, eq. 2.
    """
    attention = [functional.normalize(value.float().square().mean(1).flatten(1)) for value in (features, teacher)]
    return (attention[0] - attention[1]).square().sum(1).mean()


def relation_loss(features: torch.Tensor, teacher: torch.Tensor, cells: int = 4) -> torch.Tensor:
    """Distance between the pairwise similarities of image patches in student and teacher.

    Args:
        features: ``(N, C, h, w)`` of the student.
        teacher: ``(N, D, h, w)`` of the teacher.
        cells: Side of a patch in cells.

    Returns:
        A scalar.

    Reference: Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019, eq. 2.
    """
    similarities = []
    for value in (features, teacher):
        patches = functional.avg_pool2d(value.float(), cells).flatten(2)
        directions = functional.normalize(patches, dim=1)
        similarities.append(directions.transpose(1, 2) @ directions)
    return (similarities[0] - similarities[1]).square().mean()


def consistency_loss(scores: torch.Tensor, warped: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Distance between the probabilities of a frame and those of the previous frame, warped along the true motion.

    Args:
        scores: ``(N, C, h, w)`` logits of frame t.
        warped: ``(N, C, h, w)`` logits of frame t-1, warped to t.
        visible: ``(N, h, w)`` 1 where the surface is visible in both frames, else 0.

    Returns:
        A scalar.

    Reference: Liu et al., Efficient Semantic Video Segmentation with Per-Frame Inference, ECCV 2020, eq. 2; with the
    renderer's occlusion mask instead of a photometric one.
    """
    difference = functional.softmax(scores.float(), 1) - functional.softmax(warped.float(), 1)
    each = difference.square().sum(1) * visible
    return each.sum() / visible.sum().clamp(min=1)
