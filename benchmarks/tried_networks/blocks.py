"""What several of the networks tried have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5

Activation = Callable[[], nn.Module]


def conv(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    stride: int = 1,
    *,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = False,
    activation: Activation | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, batch normalization, and an activation unless ``None``."""
    kernel_hw = (kernel, kernel) if isinstance(kernel, int) else kernel
    dilation_hw = (dilation, dilation) if isinstance(dilation, int) else dilation
    padding_hw = (kernel_hw[0] // 2 * dilation_hw[0], kernel_hw[1] // 2 * dilation_hw[1])
    layers = [
        nn.Conv2d(inputs, outputs, kernel_hw, stride, padding_hw, dilation_hw, groups, bias=bias),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def line_conv(channels: int, along: str, dilation: int = 1, *, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """A bare 3x1 (``along`` is ``"y"``) or 1x3 (``"x"``) convolution that keeps size and channels."""
    kernel, padding, step = (
        ((3, 1), (dilation, 0), (dilation, 1)) if along == "y" else ((1, 3), (0, dilation), (1, dilation))
    )
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=step, groups=groups, bias=bias)


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Bilinear, to a height and width."""
    return F.interpolate(x, list(size), mode="bilinear", align_corners=align_corners)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of each group in turns (ShuffleNet)."""
    n, channels, height, width = x.shape
    return x.view(n, groups, channels // groups, height, width).transpose(1, 2).contiguous().view(n, -1, height, width)


class ConvAndPool(nn.Module):
    """ENet's first step down: a convolution of stride 2 and max-pooling, side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, 2, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2, 2)], 1)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: wide, depthwise, narrow."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, *, expand: int = 3, activation: Activation = nn.ReLU6
    ) -> None:
        super().__init__()
        wide = expand * inputs
        self.body = nn.Sequential(
            conv(inputs, wide, 1, activation=activation),
            conv(wide, wide, 3, stride, groups=wide, activation=activation),
            conv(wide, outputs, 1, activation=None),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


class SqueezeExcite(nn.Module):
    """Channels weighed by what the whole image holds."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(x)


class HardSigmoid(nn.Module):
    """As MobileNetV3's code writes it, not torch's own operator."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


class AtStride8(nn.Module):
    """Three convolutions of stride 2, the block that a paper is about, and scores."""

    def __init__(self, block: nn.Module, channels: int = 32) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, channels, 3, 2))
        self.block = block
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        return resize(self.head(self.block(self.backbone(image))), image.shape[2:], align_corners=True)
