"""Cut a network in rounds until it takes so many milliseconds.

In each round every group of channels is cut alone by so much time on the device; the cut that costs least is kept, and
what is left learns from the whole network. Unlike in the paper, cuts are first compared without training, and only the
best few are trained before one is chosen: with tens of groups that takes minutes instead of hours.

Reference: Yang et al., NetAdapt: Platform-Aware Neural Network Adaptation for Mobile Applications, 2018.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge_vseg.export.finetuning.lesson_loss import output_loss
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.graph.layer_names import noted_layer
from edge_vseg.export.pipeline.work_folder import frames_sha256
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.shrinking.channels import Channel, PruningGroup, find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.shrinking.importance import Criterion, Importance, channel_importance
from edge_vseg.export.shrinking.latency import LatencyTable
from edge_vseg.export.shrinking.layers import Layer, find_layers, slices_cut, width_step
from edge_vseg.export.shrinking.trainable import RATE, Trainable, teach

log = logging.getLogger(__name__)
TRAINED_PROPOSALS = 3
LEAST_SAVING = 0.25
"""Of a round's saving, or of the most that a group can save, that a group must give to be proposed."""
ROUND_RATE = 0.0015
"""Learning rate of the few steps in a round; with more, they do harm before they do good."""
LEAST_LEFT = 0.5
"""Of a group's channels, after a round."""
IMPORTANCE_FRAMES = 12
SCREENING_FRAMES = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """How networks learn from the whole one.

    Attributes:
        teacher: The whole network.
        frames: What to train on.
        screening: Frames on which proposals are compared; not trained on.
        criterion: How the channels of a group are compared.
        seed: Of all that is random.
        fixed: Constants that do not learn.
        align: Sampling grid of the network's own upsampling, by which scores are compared with labels.
    """

    teacher: onnx.ModelProto
    frames: Sequence[TrainingFrame]
    screening: Sequence[TrainingFrame]
    criterion: Criterion = "taylor"
    seed: int = 0
    fixed: frozenset[str] = frozenset()
    align: str = "half_pixel"

    @property
    def frames_sha256(self) -> str:
        """A hash of all that is looked at and learnt."""
        frames = [*self.screening, *self.frames]
        return frames_sha256([part for frame in frames for part in (frame.image, frame.labels) if part is not None])


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did.

    ``group`` is the activation whose channels were cut from ``before`` to ``after``, ``layer`` what the user calls the
    layer that makes it, ``ms`` the predicted time of the
    network now, and ``loss`` how much its probabilities differ from the whole network's on the screening frames, in
    nats.
    """

    group: str
    layer: str
    before: int
    after: int
    ms: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Proposal:
    group: PruningGroup
    removed: tuple[Channel, ...]
    ms: float


class NetAdapt:
    """Makes a network smaller, round by round.

    Args:
        model: A float graph with the input ``frame`` and scores; not changed.
        table: Times of its layers.
        lesson: How it learns.

    Attributes:
        model: The network now.
        last_removed: The channels that the last round cut, as they were in the network before it.
        trainings: Rounds and trainings so far, of which each has a seed of its own.
    """

    def __init__(self, model: onnx.ModelProto, table: LatencyTable, lesson: Lesson) -> None:
        self.model = model
        self._table = table
        self._lesson = lesson
        self._teacher = Trainable(lesson.teacher)
        self._targets = [torch.from_numpy(each) for each in self._scores(lesson.teacher)]
        self.last_removed: tuple[Channel, ...] = ()
        self.trainings = 0

    @property
    def ms(self) -> float:
        """Predicted time of the network now."""
        return self._table.network_ms(find_layers(self.model))

    def cut(self, saving_ms: float, steps: int) -> Round | None:
        """One round.

        Args:
            saving_ms: How much faster the network shall become.
            steps: Training steps of each of the best proposals, and after the choice.

        Returns:
            What was done; ``None`` if nothing is left that could be cut.
        """
        self.trainings += 1
        now, loss = self.ms, self.loss(self.model)
        proposals = self._proposals(now, saving_ms)
        if not proposals:
            return None
        scored = sorted(
            ((self.loss(cut_channels(self.model, each.removed)) - loss) / (now - each.ms), number)
            for number, each in enumerate(proposals)
        )
        best: tuple[float, _Proposal, onnx.ModelProto] | None = None
        for _, number in scored[:TRAINED_PROPOSALS]:
            proposal = proposals[number]
            trained = self._train(cut_channels(self.model, proposal.removed), steps, ROUND_RATE)
            price = (self.loss(trained) - loss) / (now - proposal.ms)
            if best is None or price < best[0]:
                best = price, proposal, trained
        assert best is not None
        _, chosen, self.model = best
        self.last_removed = chosen.removed
        count = len(chosen.group.channels)
        return Round(
            group=chosen.group.name,
            layer=self._layer(chosen.group.name),
            before=count,
            after=count - len(chosen.removed),
            ms=self.ms,
            loss=self.loss(self.model),
        )

    def train(self, steps: int, progress: Callable[[int, float], None] = lambda step, loss: None) -> None:
        """Let the network learn; ``progress`` is called with the number of each step and its loss."""
        self.trainings += 1
        self.model = self._train(self.model, steps, RATE, progress)

    def loss(self, model: onnx.ModelProto) -> float:
        """Difference of probabilities from the whole network's, in nats, on the screening frames."""
        pairs = zip(self._scores(model), self._targets, strict=True)
        return sum(float(output_loss(torch.from_numpy(found), target)) for found, target in pairs) / len(self._targets)

    def _layer(self, activation: str) -> str:
        node = next(node for node in self.model.graph.node if activation in node.output)
        return noted_layer(node) or node.name

    def _scores(self, model: onnx.ModelProto) -> list[NDArray[np.float32]]:
        return run_frames(model, [frame.image for frame in self._lesson.screening])

    def _train(
        self,
        model: onnx.ModelProto,
        steps: int,
        rate: float,
        progress: Callable[[int, float], None] = lambda step, loss: None,
    ) -> onnx.ModelProto:
        student = Trainable(model, self._lesson.fixed)
        seed = self._lesson.seed * 1000 + self.trainings
        lesson = self._lesson
        teach(
            student, self._teacher, lesson.frames, steps, seed=seed, rate=rate, align=lesson.align, progress=progress
        )  # fmt: skip
        return student.write(model)

    def _proposals(self, now: float, saving_ms: float) -> list[_Proposal]:
        groups = find_channels(self.model)
        layers = find_layers(self.model)
        frames = self._lesson.frames[:: max(1, len(self._lesson.frames) // IMPORTANCE_FRAMES)]
        importance = channel_importance(
            self.model, groups, frames, criterion=self._lesson.criterion, seed=self._lesson.seed
        )  # fmt: skip
        found = (self._proposal(group, importance, layers, now - saving_ms) for group in groups)
        faster = [proposal for proposal in found if proposal is not None and proposal.ms < now]
        most = max((now - proposal.ms for proposal in faster), default=0.0)
        # Where no group can save what the round has to, those that save most are still the best there is.
        least = LEAST_SAVING * min(saving_ms, most)
        return [proposal for proposal in faster if now - proposal.ms >= least]

    def _proposal(
        self, group: PruningGroup, importance: Importance, layers: Sequence[Layer], wanted_ms: float
    ) -> _Proposal | None:
        """The fewest of the least important channels that save enough; as many as may go, if even these do not."""
        order = sorted(group.channels, key=lambda channel: importance[channel])
        proposal = None
        step = width_step(len(order))
        left = (len(order) - 1) // step * step
        while left >= max(step, LEAST_LEFT * len(order)):
            removed = tuple(order[: len(order) - left])
            cut = slices_cut(removed)
            ms = self._table.network_ms(layer.without(cut) for layer in layers)
            proposal = _Proposal(group=group, removed=removed, ms=ms)
            if ms <= wanted_ms:
                break
            left -= step
        return proposal
