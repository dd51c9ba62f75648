"""How much a network loses with each channel.

References: Molchanov et al., Importance Estimation for Neural Network Pruning, 2019, and Theis et al., Faster Gaze
Prediction with Dense Networks and Fisher Pruning, 2018 (``taylor``); Li et al., Pruning Filters for Efficient ConvNets,
2017 (``l1``); Liu et al., Network Slimming, 2017 (``scale``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.shrinking.channels import Channel, PruningGroup
from edge_vseg.export.shrinking.trainable import Trainable, output_axis
from edge_vseg.types import IGNORE_ID, LabelMap

Criterion = Literal["taylor", "l1", "scale"]
Importance = dict[Channel, float]


def channel_importance(
    model: onnx.ModelProto,
    groups: Sequence[PruningGroup],
    frames: Sequence[TrainingFrame],
    *,
    criterion: Criterion = "taylor",
    seed: int = 0,
) -> Importance:
    """Importance of every channel; comparable within a group, with ``taylor`` between groups too.

    Args:
        model: A float graph with the input ``frame``.
        groups: Its channels.
        frames: A dozen or so.
        criterion: ``taylor`` squares what the loss would change by if the channel were zero, with classes drawn from
            the network's own probabilities as the truth where there is none; ``l1`` sums the filter's absolute
            weights; ``scale`` is the channel's standard deviation over the frames, which is what a batch
            normalization's scale is before it is folded.
        seed: Of the classes that are drawn.
    """
    wanted = {name for group in groups for channel in group.channels for name, _ in channel.made}
    match criterion:
        case "taylor":
            found = _taylor(model, wanted, frames, seed)
        case "scale":
            found = _spread(model, wanted, frames)
        case "l1":
            found = _l1(model, wanted)
    return {
        channel: float(sum(found[name][at] for name, at in channel.made))
        for group in groups
        for channel in group.channels
    }  # fmt: skip


def _l1(model: onnx.ModelProto, wanted: set[str]) -> dict[str, NDArray[np.float64]]:
    index = GraphIndex(model)
    found = {}
    for name in wanted:
        node = index.producer[name]
        weight = np.abs(np.asarray(index.constant(node.input[1]), np.float64))
        axis = output_axis(node, weight)
        found[name] = weight.sum(tuple(at for at in range(weight.ndim) if at != axis))
    return found


def _spread(
    model: onnx.ModelProto, wanted: set[str], frames: Sequence[TrainingFrame]
) -> dict[str, NDArray[np.float64]]:
    network, axes = Trainable(model), _channel_axes(model, wanted)
    total: dict[str, list[NDArray[np.float64]]] = {}

    def see(name: str, value: Tensor) -> Tensor:
        if name in wanted:
            flat = _by_channel(value, axes[name])
            total.setdefault(name, []).append(np.stack([flat.mean(1).numpy(), flat.square().mean(1).numpy()]))
        return value

    with torch.no_grad():
        for frame in frames:
            network(torch.from_numpy(frame.image[None]), see)
    means = {name: np.mean(values, 0) for name, values in total.items()}
    return {name: np.sqrt(np.maximum(square - mean**2, 0)) for name, (mean, square) in means.items()}


def _taylor(
    model: onnx.ModelProto, wanted: set[str], frames: Sequence[TrainingFrame], seed: int
) -> dict[str, NDArray[np.float64]]:
    network, axes = Trainable(model), _channel_axes(model, wanted)
    generator = torch.Generator().manual_seed(seed)
    total: dict[str, NDArray[np.float64]] = {}
    for frame in frames:
        kept: dict[str, Tensor] = {}

        def see(name: str, value: Tensor, kept: dict[str, Tensor] = kept) -> Tensor:
            if name in wanted:
                value.retain_grad()
                kept[name] = value
            return value

        scores = network(torch.from_numpy(frame.image[None]), see)
        _log_loss(scores, frame.labels, generator).backward()
        for name, value in kept.items():
            change = _by_channel(value.detach() * value.grad, axes[name]).sum(1).square().double().numpy()
            total[name] = total.get(name, 0.0) + change
    return total


def _log_loss(scores: Tensor, labels: LabelMap | None, generator: torch.Generator) -> Tensor:
    """Minus log probability of the truth, or of classes drawn from the probabilities, summed over cells."""
    if labels is not None:
        truth = torch.from_numpy(labels.astype(np.int64))[None]
        # The pixel in the middle of each cell.
        middle = F.interpolate(truth[None].float(), scores.shape[2:], mode="nearest-exact")[0].long()
        return F.cross_entropy(scores, middle, ignore_index=IGNORE_ID, reduction="sum")
    rows = scores.movedim(1, -1).reshape(-1, scores.shape[1])
    drawn = torch.multinomial(torch.softmax(rows.detach(), 1), 1, generator=generator)[:, 0]
    return F.cross_entropy(rows, drawn, reduction="sum")


def _channel_axes(model: onnx.ModelProto, names: set[str]) -> dict[str, int]:
    """Axis of the channels that each of some layers makes: a product has them last, others at 1."""
    producer = GraphIndex(model).producer
    return {name: -1 if producer[name].op_type == "MatMul" else 1 for name in names}


def _by_channel(value: Tensor, axis: int) -> Tensor:
    """``(C, everything else)`` of an activation with the channels at an axis."""
    return value.movedim(axis, 0).flatten(1)
