"""Encoder-decoders: ENet, SegNet, ERFNet, Attention U-Net and U2-Net, at small width."""

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


class Enet(nn.Module):
    """After Paszke et al., ENet, 2016: bottlenecks, dilated or asymmetric; the decoder unpools where maxima were.

    Many rewrites resize bilinearly instead: ``upsampling="bilinear"``.
    """

    def __init__(self, upsampling: str = "unpool") -> None:
        super().__init__()
        self.unpools = upsampling == "unpool"
        self.initial = nn.Conv2d(3, 13, 3, 2, 1)
        self.initial_last = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU())
        self.down1, self.stage1 = _Down(16, 32), nn.Sequential(_Bottleneck(32), _Bottleneck(32))
        self.down2 = _Down(32, 64)
        self.stage2 = nn.Sequential(
            _Bottleneck(64, 2), _Bottleneck(64, asymmetric=True), _Bottleneck(64, 4), _Bottleneck(64, 8)
        )
        self.up2, self.up1 = _Up(64, 32), _Up(32, 16)
        self.stage3 = _Bottleneck(32)
        self.head = nn.ConvTranspose2d(16, CLASSES, 3, 2, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.initial_last(torch.cat([self.initial(image), F.max_pool2d(image, 2, 2)], 1))
        x, places1 = self.down1(x, self.unpools)
        x, places2 = self.down2(self.stage1(x), self.unpools)
        x = self.stage3(self.up2(self.stage2(x), places2))
        return self.head(self.up1(x, places1))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, dilation: int = 1, *, asymmetric: bool = False) -> None:
        super().__init__()
        m = channels // 4
        middle: nn.Module = nn.Conv2d(m, m, 3, padding=dilation, dilation=dilation)
        if asymmetric:
            middle = nn.Sequential(
                nn.Conv2d(m, m, (5, 1), padding=(2, 0), bias=False), nn.Conv2d(m, m, (1, 5), padding=(0, 2), bias=False)
            )
        self.body = nn.Sequential(
            conv(channels, m, 1, activation=nn.PReLU),
            middle,
            nn.BatchNorm2d(m),
            nn.PReLU(),
            conv(m, channels, 1, activation=None),
            nn.Dropout(0.1),
        )
        self.last = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.body(x))


class _Down(nn.Module):
    """Halves the size; the pooled branch is filled up with channels of zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        m = inputs // 4
        self.outputs = outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, m, 2, 2, bias=False),
            nn.BatchNorm2d(m),
            nn.PReLU(),
            conv(m, m, bias=True, activation=nn.PReLU),
            conv(m, outputs, 1, bias=True, activation=None),
        )
        self.last = nn.PReLU()

    def forward(self, x: Tensor, unpools: bool) -> tuple[Tensor, Tensor | None]:
        pooled, places = F.max_pool2d(x, 2, 2, return_indices=True) if unpools else (F.max_pool2d(x, 2, 2), None)
        n, channels, height, width = pooled.shape
        padded = torch.cat([pooled, torch.zeros(n, self.outputs - channels, height, width)], 1)
        return self.last(padded + self.body(x)), places


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        m = inputs // 4
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.body = nn.Sequential(
            conv(inputs, m, 1, bias=True),
            nn.ConvTranspose2d(m, m, 2, 2),
            nn.BatchNorm2d(m),
            nn.ReLU(),
            conv(m, outputs, 1, bias=True, activation=None),
        )

    def forward(self, x: Tensor, places: Tensor | None) -> Tensor:
        skip = self.skip(x)
        if places is None:
            skip = F.interpolate(skip, scale_factor=2, mode="bilinear")
        else:
            skip = F.max_unpool2d(skip, places, 2)
        return F.relu(skip + self.body(x))


class Segnet(nn.Module):
    """After Badrinarayanan et al., SegNet, 2017: the decoder unpools where the encoder's maxima were."""

    def __init__(self) -> None:
        super().__init__()
        self.at1, self.at2, self.at4 = conv(3, 16), conv(16, 32), conv(32, 32)
        self.up2, self.head = conv(32, 16), nn.Conv2d(16, CLASSES, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x, places1 = F.max_pool2d(self.at1(image), 2, return_indices=True)
        x, places2 = F.max_pool2d(self.at2(x), 2, return_indices=True)
        x = self.up2(F.max_unpool2d(self.at4(x), places2, 2))
        return self.head(F.max_unpool2d(x, places1, 2))


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
