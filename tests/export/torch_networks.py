"""Factories of torch networks, as users write them: ``torch_networks:name`` or ``…/torch_networks.py:name``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Small(nn.Module):
    """3 to 8 to 4 channels at half size, enlarged again."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, classes, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores = self.last(torch.relu(self.norm(self.first(image))))
        return nn.functional.interpolate(scores, scale_factor=2.0, mode="bilinear", align_corners=False)


class Wrapped(nn.Module):
    """Gives its scores inside something, with an auxiliary output."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.network = small()
        self.how = how

    def forward(self, image: torch.Tensor) -> Any:
        scores = self.network(image)
        match self.how:
            case "dict":
                return {"out": scores, "aux": scores[:, :2]}
            case "tuple":
                return scores, scores[:, :2]
            case _:
                return [{"out": (scores,)}]


class Branching(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image if image.sum().item() > 0 else -image


def small() -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network.last.weight.mul_(4)
    return network.eval()


def in_dict() -> nn.Module:
    return Wrapped("dict")


def in_tuple() -> nn.Module:
    return Wrapped("tuple")


def nested() -> nn.Module:
    return Wrapped("nested")


def branching() -> nn.Module:
    return Branching()


def failing() -> nn.Module:
    raise RuntimeError("no such checkpoint")


def no_module() -> int:
    return 5


NOT_CALLABLE = 3
