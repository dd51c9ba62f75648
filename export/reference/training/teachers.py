"""A torch module of any kind as the teacher of a reference network: it says which classes it sees in a crop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import ModelFileError, OptionError
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.export.reference.zoo.weights import NORMALIZATION, read_network
from edge_vseg.export.source.source_network import TRAINED
from edge_vseg.export.source.torch_module import open_torch
from edge_vseg.types import Size


class ForeignTeacher(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """Gives a module the images that it was trained on, and its scores in the order of the student's classes.

    Args:
        network: Takes ``(N, 3, H, W)`` float32, and gives ``(N, C, h, w)`` logits of any size.
        normalization: What it expects.
        order: ``(C,)`` which of its classes each of the student's is.
    """

    def __init__(self, network: nn.Module, normalization: Normalization, order: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        own, ours = (torch.tensor((norm.mean, norm.scale)) for norm in (_in_bgr(normalization), NORMALIZATION))
        # One affine map per channel takes the student's input to the teacher's.
        self.register_buffer("factor", (ours[1] / own[1])[:, None, None], persistent=False)
        self.register_buffer("shift", ((ours[0] - own[0]) / own[1])[:, None, None], persistent=False)
        self.register_buffer("order", torch.tensor(list(order)), persistent=False)
        self.is_bgr = normalization.color == "bgr"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, C, h, w)`` logits of ``(N, 3, H, W)`` images, normalised as the student's."""
        given = images * self.factor + self.shift
        return self.network(given if self.is_bgr else given.flip(1)).index_select(1, self.order)


Teacher: TypeAlias = TwoBranch | ForeignTeacher


def open_teacher(source: str, labels: Sequence[Label], crop_hw: Size) -> Teacher:
    """Open what a network is to learn from.

    Args:
        source: Weights of a reference network; or ``package.module:factory``, ``path/file.py:factory``, as for export.
        labels: The student's classes.
        crop_hw: Size of the crops that it will see.

    Raises:
        ModelFileError: If the factory cannot be found or fails, or the module does not run on such crops.
        WeightsError: If the weights are damaged.
        OptionError: If it does not know the student's classes.
    """
    if source.lower().endswith(TRAINED):
        return read_network(Path(source))
    found = open_torch(source, None, classes=len(labels))
    if found.normalization is None:
        raise ModelFileError(
            f"--teacher {source} does not say how its images are normalized: give the module an attribute"
            " normalization, such as {'mean': (123.7, 116.3, 103.5), 'scale': (58.4, 57.1, 57.4)}"
        )
    found.try_out(crop_hw)
    channels = _channels(found.module, source, crop_hw)
    return ForeignTeacher(found.module, found.normalization, _order(source, found.labels, channels, labels))


def _channels(network: nn.Module, source: str, crop_hw: Size) -> int:
    """How many classes it scores; two crops, for a batch has several."""
    try:
        with torch.no_grad():
            scores = network(torch.zeros(2, 3, *crop_hw))
    except Exception as exc:  # the user's code
        raise ModelFileError(f"--teacher {source} does not run on crops of {crop_hw[0]}x{crop_hw[1]}: {exc}") from exc
    if scores.ndim != 4 or len(scores) != 2:
        raise ModelFileError(
            f"--teacher {source} gives {tuple(scores.shape)} for two crops; expected scores (2, C, h, w)"
        )
    return int(scores.shape[1])


def _order(source: str, own: Sequence[Label] | None, channels: int, labels: Sequence[Label]) -> list[int]:
    if own is None:
        if channels != len(labels):
            raise OptionError(
                f"--teacher {source} has {channels} classes and the data {len(labels)}; give the module an attribute"
                " labels, a list of class names, if the data's are among them"
            )
        return list(range(channels))
    names = [label.name.casefold() for label in own]
    missing = [label.name for label in labels if label.name.casefold() not in names]
    if missing or len(own) != channels:
        what = f"does not know {missing[0]!r}" if missing else f"names {len(own)} classes and scores {channels}"
        raise OptionError(f"--teacher {source} {what}; a teacher needs all classes of the data")
    return [names.index(label.name.casefold()) for label in labels]


def _in_bgr(norm: Normalization) -> Normalization:
    """The same with its channels in the order of the student's input."""
    if norm.color == NORMALIZATION.color:
        return norm
    return Normalization(mean=norm.mean[::-1], scale=norm.scale[::-1], color=NORMALIZATION.color)
