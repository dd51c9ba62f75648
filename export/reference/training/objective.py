"""The loss of a step: run the network with fresh and aged context, and sum the configured losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from edge_vseg.export.reference.training.batches import Batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.losses import (
    consistency_loss,
    feature_loss,
    jaccard_loss,
    label_loss,
    relation_loss,
    response_loss,
)
from edge_vseg.export.reference.training.older_view import warp
from edge_vseg.export.reference.training.streets import Neighbours
from edge_vseg.export.reference.training.teachers import ForeignTeacher, Teacher
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

DISTILLATION = frozenset({"response", "feature", "relation"})
"""Losses that compare with a teacher."""


class Trainee(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A network with the auxiliary head that only training needs."""

    def __init__(self, network: TwoBranch) -> None:
        super().__init__()
        self.network = network
        self.auxiliary = nn.Conv2d(network.spec.context_width, network.spec.classes, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageOutputs:
    """Outputs of a network for a batch.

    Attributes:
        scores: ``(N, C, H/4, W/4)`` logits.
        context: ``(N, D, H/8, W/8)``; warped for the crops that have an older view.
    """

    scores: torch.Tensor
    context: torch.Tensor


def run_stages(network: TwoBranch, batch: Batch) -> StageOutputs:
    """Run the stages; crops with an older view get its context, warped."""
    aged = len(batch.older)
    shared = network.stem(torch.cat((batch.images, batch.older)) if aged else batch.images)
    present = shared[: len(batch.images)]
    context = network.context(torch.cat((shared[len(batch.images) :], present[aged:])))
    if aged:
        context = torch.cat((warp(context[:aged], batch.motion), context[aged:]))
    return StageOutputs(scores=network.detail(present, context), context=context)


def losses(
    trainee: Trainee, batch: Batch, config: TrainConfig, weights: torch.Tensor, teacher: Teacher | None
) -> dict[str, torch.Tensor]:
    """The weighted losses of a step by name; training minimises their sum."""
    outputs = run_stages(trainee.network, batch)
    main = label_loss(
        outputs.scores, batch.labels, weights, config.hard_share, config.boundary, config.relaxed, batch.confidence
    )
    by_name = {"labels": main}
    if config.auxiliary:
        scores = trainee.auxiliary(outputs.context)
        by_name["auxiliary"] = config.auxiliary * label_loss(
            scores, batch.labels, weights, relaxed=config.relaxed, confidence=batch.confidence
        )
    if config.jaccard:
        by_name["jaccard"] = config.jaccard * jaccard_loss(outputs.scores, batch.labels, batch.confidence)
    if teacher is not None:
        by_name |= _distillation(outputs, batch, config, teacher)
    if batch.neighbours is not None:
        by_name["consistency"] = config.consistency * _consistency(trainee.network, batch.neighbours)
    return by_name


def _consistency(network: TwoBranch, pairs: Neighbours) -> torch.Tensor:
    shared = network.stem(torch.cat((pairs.present, pairs.previous)))
    present, previous = network.detail(shared, network.context(shared)).chunk(2)
    return consistency_loss(present, warp(previous, pairs.motion), pairs.visible)


def _distillation(
    outputs: StageOutputs, batch: Batch, config: TrainConfig, teacher: Teacher
) -> dict[str, torch.Tensor]:
    by_name = {}
    with torch.no_grad():  # the teacher always gets the current crop, even if the student's context is aged
        if isinstance(teacher, ForeignTeacher):
            size_hw = outputs.scores.shape[2:]
            scores = functional.interpolate(teacher(batch.images).float(), size_hw, mode="bilinear", antialias=True)
        else:
            shared = teacher.stem(batch.images)
            context = teacher.context(shared)
            scores = teacher.detail(shared, context)
    if config.response:
        by_name["response"] = config.response * response_loss(outputs.scores, scores)
    if isinstance(teacher, ForeignTeacher):
        return by_name
    if config.feature:
        by_name["feature"] = config.feature * feature_loss(outputs.context, context)
    if config.relation:
        by_name["relation"] = config.relation * relation_loss(outputs.context, context)
    return by_name
