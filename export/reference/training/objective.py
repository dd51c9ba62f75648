"""One step's loss: the network with fresh and old context, and every loss that the run asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edge_vseg.export.reference.training.ageing import warp
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.losses import (
    consistency_loss,
    feature_loss,
    jaccard_loss,
    label_loss,
    relation_loss,
    response_loss,
)
from edge_vseg.export.reference.training.streets import Neighbours
from edge_vseg.export.reference.training.training_data import Batch
from edge_vseg.export.reference.zoo.two_branch import TwoBranch


class Trainee(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A network and the auxiliary head that only training needs."""

    def __init__(self, network: TwoBranch) -> None:
        super().__init__()
        self.network = network
        self.auxiliary = nn.Conv2d(network.spec.stem[-1], network.spec.classes, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherOutputs:
    """What a network made of a batch.

    Attributes:
        scores: ``(N, C, H/4, W/4)`` logits.
        context: ``(N, D, H/8, W/8)``, warped where it was old.
    """

    scores: torch.Tensor
    context: torch.Tensor


def look(network: TwoBranch, batch: Batch) -> TeacherOutputs:
    """Run the stages; the first crops get the context of their older views, warped."""
    aged = len(batch.older)
    shared = network.stem(torch.cat((batch.images, batch.older)) if aged else batch.images)
    present = shared[: len(batch.images)]
    context = network.context(torch.cat((shared[len(batch.images) :], present[aged:])))
    if aged:
        context = torch.cat((warp(context[:aged], batch.motion), context[aged:]))
    return TeacherOutputs(scores=network.detail(present, context), context=context)


def losses(
    trainee: Trainee, batch: Batch, config: TrainConfig, weights: torch.Tensor, teacher: TwoBranch | None
) -> dict[str, torch.Tensor]:
    """All losses of a step by name, weighted; their sum is what is minimised."""
    seen = look(trainee.network, batch)
    found = {"labels": label_loss(seen.scores, batch.labels, weights, config.hard_share)}
    if config.auxiliary:
        found["auxiliary"] = config.auxiliary * label_loss(trainee.auxiliary(seen.context), batch.labels, weights)
    if config.jaccard:
        found["jaccard"] = config.jaccard * jaccard_loss(seen.scores, batch.labels)
    if teacher is not None:
        found |= _distillation(seen, batch, config, teacher)
    if batch.neighbours is not None:
        found["consistency"] = config.consistency * _consistency(trainee.network, batch.neighbours)
    return found


def _consistency(network: TwoBranch, pairs: Neighbours) -> torch.Tensor:
    shared = network.stem(torch.cat((pairs.present, pairs.previous)))
    present, previous = network.detail(shared, network.context(shared)).chunk(2)
    return consistency_loss(present, warp(previous, pairs.motion), pairs.visible)


def _distillation(
    seen: TeacherOutputs, batch: Batch, config: TrainConfig, teacher: TwoBranch
) -> dict[str, torch.Tensor]:
    with torch.no_grad():  # the teacher sees the present even where the student's context is old
        shared = teacher.stem(batch.images)
        context = teacher.context(shared)
        scores = teacher.detail(shared, context)
    found = {}
    if config.response:
        found["response"] = config.response * response_loss(seen.scores, scores)
    if config.feature:
        found["feature"] = config.feature * feature_loss(seen.context, context)
    if config.relation:
        found["relation"] = config.relation * relation_loss(seen.context, context)
    return found
