"""Encoder-decoders: ERFNet, Attention U-Net and U2-Net, at small width; ENet and SegNet are in ``paper_networks``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CLASSES, ConvAndPool, conv, line_conv, resize


class Erfnet(nn.Sequential):
    """After Romera et al., ERFNet, 2018: residual blocks of 3x1 and 1x3 convolutions, transposed ones upwards."""

    def __init__(self) -> None:
        super().__init__(
            ConvAndPool(3, 8),
            ConvAndPool(8, 24),
            _NonBottleneck1d(24),
            _NonBottleneck1d(24),
            ConvAndPool(24, 48),
            *(_NonBottleneck1d(48, dilation) for dilation in (2, 4, 8)),
            _transposed(48, 24),
            _NonBottleneck1d(24),
            _transposed(24, 8),
            _NonBottleneck1d(8),
            nn.ConvTranspose2d(8, CLASSES, 2, 2),
        )


class _NonBottleneck1d(nn.Module):
    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.near = nn.Sequential(
            line_conv(channels, "y"), nn.ReLU(), line_conv(channels, "x"), nn.BatchNorm2d(channels, eps=1e-3), nn.ReLU()
        )
        self.far = nn.Sequential(
            line_conv(channels, "y", dilation),
            nn.ReLU(),
            line_conv(channels, "x", dilation),
            nn.BatchNorm2d(channels, eps=1e-3),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.far(self.near(x)) + x)


def _transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class AttentionUnet(nn.Module):
    """After Oktay et al., Attention U-Net, 2018: skips are weighed by what the decoder knows already."""

    def __init__(self) -> None:
        super().__init__()
        self.at1, self.at2, self.at4 = _two_convs(3, 12), _two_convs(12, 24), _two_convs(24, 32)
        self.to2 = nn.Sequential(nn.Upsample(scale_factor=2), conv(32, 24))
        self.to1 = nn.Sequential(nn.Upsample(scale_factor=2), conv(24, 12))
        self.gate2, self.gate1 = _Gate(24, 12), _Gate(12, 6)
        self.up2, self.up1 = _two_convs(48, 24), _two_convs(24, 12)
        self.head = nn.Conv2d(12, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        at1 = self.at1(image)
        at2 = self.at2(F.max_pool2d(at1, 2))
        up = self.to2(self.at4(F.max_pool2d(at2, 2)))
        up = self.to1(self.up2(torch.cat([self.gate2(up, at2), up], 1)))
        return self.head(self.up1(torch.cat([self.gate1(up, at1), up], 1)))


def _two_convs(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))


class _Gate(nn.Module):
    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.of_decoder = conv(channels, narrow, 1, activation=None)
        self.of_skip = conv(channels, narrow, 1, activation=None)
        self.weigh = conv(narrow, 1, 1, activation=nn.Sigmoid)

    def forward(self, decoder: Tensor, skip: Tensor) -> Tensor:
        return skip * self.weigh(F.relu(self.of_decoder(decoder) + self.of_skip(skip)))


class U2Net(nn.Module):
    """After Qin et al., U2-Net, 2020: stages that are U-Nets; outputs are the scores of all depths, the fused first."""

    def __init__(self) -> None:
        super().__init__()
        self.at1, self.at2, self.at4 = _ResidualU(4, 3, 16), _ResidualU(3, 16, 24), _ResidualU(3, 24, 24)
        self.up2, self.up1 = _ResidualU(3, 48, 16), _ResidualU(4, 32, 16)
        self.sides = nn.ModuleList(nn.Conv2d(channels, CLASSES, 3, padding=1) for channels in (16, 16, 24))
        self.fuse = nn.Conv2d(3 * CLASSES, CLASSES, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        at1 = self.at1(image)
        at2 = self.at2(F.max_pool2d(at1, 2, 2, ceil_mode=True))
        at4 = self.at4(F.max_pool2d(at2, 2, 2, ceil_mode=True))
        up2 = self.up2(torch.cat([resize(at4, at2.shape[2:]), at2], 1))
        up1 = self.up1(torch.cat([resize(up2, at1.shape[2:]), at1], 1))
        depths = zip(self.sides, (up1, up2, at4), strict=True)
        sides = [resize(side(x), image.shape[2:]) for side, x in depths]
        return tuple(torch.sigmoid(scores) for scores in (self.fuse(torch.cat(sides, 1)), *sides))


class _ResidualU(nn.Module):
    def __init__(self, depth: int, inputs: int, outputs: int, middle: int = 8) -> None:
        super().__init__()
        m, inner = middle, range(depth - 2)
        self.first = conv(inputs, outputs)
        self.down = nn.ModuleList([conv(outputs, m), *(conv(m, m) for _ in inner)])
        self.bottom = conv(m, m, dilation=2)
        self.up = nn.ModuleList([*(conv(2 * m, m) for _ in inner), conv(2 * m, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        skips: list[Tensor] = []
        for down in self.down:
            skips.append(down(F.max_pool2d(skips[-1], 2, 2, ceil_mode=True) if skips else first))
        y = self.bottom(skips[-1])
        for up, skip in zip(self.up, reversed(skips), strict=True):
            y = up(torch.cat([resize(y, skip.shape[2:]), skip], 1))
        return y + first
