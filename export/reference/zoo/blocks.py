"""Building blocks of the reference networks, and the alternatives they were compared with.

Every block keeps height and width, or halves them (rounding up) at stride 2, and uses operators that are fast in int8
on all three runtimes. ``benchmarks/blocks.py`` compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

BlockKind = Literal["plain", "residual", "inverted", "shuffle", "factorised"]
Activation = Literal["relu", "relu6", "hardswish"]


def activation_layer(kind: Activation) -> nn.Module:
    """An activation by name.

    Raises:
        ValueError: If the name is unknown.
    """
    match kind:
        case "relu":
            return nn.ReLU()
        case "relu6":
            return nn.ReLU6()
        case "hardswish":
            return nn.Hardswish()
    raise ValueError(f"unknown activation {kind!r}; known: relu, relu6, hardswish")


def conv_norm(
    channels: int, out: int, kernel: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution and batch normalisation without activation; one convolution after export."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    conv = nn.Conv2d(channels, out, (height, width), stride, (height // 2, width // 2), groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class Plain(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """One 3x3 convolution, normalised and activated."""

    def __init__(self, channels: int, out: int, stride: int = 1, activation: Activation = "relu") -> None:
        super().__init__()
        self.conv = conv_norm(channels, out, 3, stride)
        self.act = activation_layer(activation)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(value))


class Residual(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions beside a shortcut (He et al., Deep Residual Learning, CVPR 2016)."""

    def __init__(self, channels: int, out: int, stride: int = 1, activation: Activation = "relu") -> None:
        super().__init__()
        self.first = Plain(channels, out, stride, activation)
        self.second = conv_norm(out, out)
        self.shortcut = _shortcut(channels, out, stride)
        self.act = activation_layer(activation)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.act(self.second(self.first(value)) + self.shortcut(value))


class Inverted(nn.Module):  # type: ignore[misc]
    """Inverted residual with a linear bottleneck (Sandler et al., MobileNetV2, CVPR 2018).

    1x1 to ``expand`` times the channels, depthwise 3x3, 1x1 back; with a shortcut if the shapes are equal.
    """

    def __init__(
        self, channels: int, out: int, stride: int = 1, activation: Activation = "relu", expand: int = 4
    ) -> None:
        super().__init__()
        wide = expand * channels
        self.body = nn.Sequential(
            conv_norm(channels, wide, 1),
            activation_layer(activation),
            conv_norm(wide, wide, 3, stride, groups=wide),
            activation_layer(activation),
            conv_norm(wide, out, 1),
        )
        self.adds = stride == 1 and channels == out

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value + self.body(value) if self.adds else self.body(value)


class Shuffle(nn.Module):  # type: ignore[misc]
    """Channel split and shuffle (Ma et al., ShuffleNet V2, ECCV 2018, fig. 3c and 3d).

    The shuffle of two groups is a reshape, a transpose and a reshape, as in the paper.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, activation: Activation = "relu") -> None:
        super().__init__()
        self.splits = stride == 1 and channels == out
        branch_in, half = (channels // 2 if self.splits else channels), out // 2
        self.branch = nn.Sequential(
            conv_norm(branch_in, half, 1),
            activation_layer(activation),
            conv_norm(half, half, 3, stride, groups=half),
            conv_norm(half, half, 1),
            activation_layer(activation),
        )
        self.other: nn.Module = nn.Identity()
        if not self.splits:
            self.other = nn.Sequential(
                conv_norm(channels, channels, 3, stride, groups=channels),
                conv_norm(channels, half, 1),
                activation_layer(activation),
            )

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        left, right = value.chunk(2, dim=1) if self.splits else (value, value)
        both = torch.cat((self.other(left), self.branch(right)), dim=1)
        batch, channels, height, width = both.shape
        pairs = both.reshape(batch, 2, channels // 2, height, width).transpose(1, 2)
        return pairs.reshape(batch, channels, height, width)


class Factorised(nn.Module):  # type: ignore[misc]
    """Non-bottleneck-1D (Romera et al., ERFNet, T-ITS 2018, fig. 2c): 3x1, 1x3, twice, beside a shortcut."""

    def __init__(self, channels: int, out: int, stride: int = 1, activation: Activation = "relu") -> None:
        super().__init__()
        self.down = Plain(channels, out, stride, activation) if stride != 1 or channels != out else nn.Identity()
        self.body = nn.Sequential(
            conv_norm(out, out, (3, 1)),
            activation_layer(activation),
            conv_norm(out, out, (1, 3)),
            activation_layer(activation),
            conv_norm(out, out, (3, 1)),
            activation_layer(activation),
            conv_norm(out, out, (1, 3)),
        )
        self.act = activation_layer(activation)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        value = self.down(value)
        return self.act(self.body(value) + value)


_BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "plain": Plain,
    "residual": Residual,
    "inverted": Inverted,
    "shuffle": Shuffle,
    "factorised": Factorised,
}


def block(kind: BlockKind, channels: int, out: int, stride: int = 1, activation: Activation = "relu") -> nn.Module:
    """A block by name.

    Args:
        kind: ``plain``, ``residual``, ``inverted``, ``shuffle`` or ``factorised``.
        channels: Input channels; even for ``shuffle``.
        out: Output channels; even for ``shuffle``.
        stride: 1 or 2.
        activation: ``relu``, ``relu6`` or ``hardswish``.

    Raises:
        ValueError: If the kind or the activation is unknown, or the channels of a ``shuffle`` block are odd.
    """
    if kind not in _BLOCKS:
        raise ValueError(f"unknown block {kind!r}; known: {', '.join(_BLOCKS)}")
    if kind == "shuffle" and (out % 2 or channels % 2):
        raise ValueError(f"a shuffle block needs even channels, got {channels} and {out}")
    return _BLOCKS[kind](channels, out, stride, activation)


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    if stride == 1 and channels == out:
        return nn.Identity()
    return conv_norm(channels, out, 1, stride)
