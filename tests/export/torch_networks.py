"""Factories of torch networks, as users write them: ``torch_networks:name`` or ``…/torch_networks.py:name``."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
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


class Strict(nn.Module):
    """Wants sides that divide by 32, and says so or not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.network, self.how = small(), how

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.how == "assertion":
            assert image.shape[2] % 32 == 0
        elif image.shape[2] % 32:
            raise RuntimeError("\x1b[91msides must divide by 32\x1b[0m;\nsee the manual")
        return self.network(image)


class Unknown(nn.Module):
    """An operator that ONNX does not have."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svd(image)[0]


class Several(nn.Module):
    """Gives what was pooled, scores of another size and the like, in many ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.network, self.how = small(), how

    def forward(self, image: torch.Tensor) -> Any:
        scores = self.network(image)
        pooled, half = scores.mean((2, 3)), scores[:, :3, ::2, ::2]
        match self.how:
            case "pooled, scores":
                return pooled, scores
            case "aux, out":
                return {"aux": half, "out": scores}
            case "edges, scores":
                return scores[:, :1], scores
            case "features, out":
                return {"features": torch.cat([scores] * 2, 1), "out": half}
            case "named":
                return Named(loss=None, logits=half, hidden=(scores, pooled))
            case _:
                return half, scores


class TwoClamps(nn.Module):
    """Two clamps behind one ReLU: the bounds of the second are what torch 2.13's optimizer of ONNX graphs loses."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores = torch.relu(self.network(image))
        return scores.clamp(-1, 1) + scores.clamp(-2, 2)


@dataclasses.dataclass
class Named:
    loss: Any
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


def assertion() -> nn.Module:
    return Strict("assertion")


def colourful() -> nn.Module:
    return Strict("message")


def unknown() -> nn.Module:
    return nn.Sequential(OrderedDict(odd=Unknown(), head=nn.Conv2d(3, 4, 1)))


def pooled_scores() -> nn.Module:
    return Several("pooled, scores")


def aux_out() -> nn.Module:
    return Several("aux, out")


def edges_scores() -> nn.Module:
    return Several("edges, scores")


def features_out() -> nn.Module:
    return Several("features, out")


def named() -> nn.Module:
    return Several("named")


def says_it() -> nn.Module:
    """Says of itself what it expects."""
    network = small()
    network.normalization = {"mean": 127.5, "scale": (60, 61, 62), "color": "bgr"}
    return network


def factory_says_it() -> nn.Module:
    return small()


factory_says_it.normalization = {"mean": 127.5, "scale": (60, 61, 62), "color": "bgr"}


def says_nonsense() -> nn.Module:
    return small()


says_nonsense.normalization = {"mean": 127.5, "std": 60}


def says_too_little() -> nn.Module:
    return small()


says_too_little.normalization = {"mean": (1, 2), "scale": 60}


def has_a_layer_of_that_name() -> nn.Module:
    network = small()
    network.normalization = nn.BatchNorm2d(3)
    return network


def two_sizes() -> nn.Module:
    return Several("two sizes")


def small() -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network.last.weight.mul_(4)
    return network.eval()


def in_float16() -> nn.Module:
    return small().half()


def in_double() -> nn.Module:
    return small().double()


def in_bfloat16() -> nn.Module:
    return small().bfloat16()


def compiled() -> nn.Module:
    return torch.compile(small())


def scripted() -> nn.Module:
    return torch.jit.script(small())


def two_clamps() -> nn.Module:
    return TwoClamps()


def in_dict() -> nn.Module:
    return Wrapped("dict")


def in_tuple() -> nn.Module:
    return Wrapped("tuple")


def nested() -> nn.Module:
    return Wrapped("nested")


def branching() -> nn.Module:
    return Branching()


def gray() -> nn.Module:
    return nn.Conv2d(1, 4, 3)


def failing() -> nn.Module:
    raise RuntimeError("no such checkpoint")


def no_module() -> int:
    return 5


NOT_CALLABLE = 3
