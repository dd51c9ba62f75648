"""Small encoders of dilated and factorized convolutions: ESPNetv2, CGNet, DABNet, LEDNet and EDANet."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CLASSES, ConvAndPool, conv, line_conv, resize, shuffle


class EspnetV2(nn.Module):
    """After Mehta et al., ESPNetv2, 2019: depthwise dilated branches summed step by step, the image at each scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, activation=partial(nn.PReLU, 16))
        self.down1, self.stage1 = _EspDown(16, 32), _Esp(32, 32)
        self.down2, self.stage2 = _EspDown(32, 64), nn.Sequential(_Esp(64, 64), _Esp(64, 64))
        self.reduce = _Esp(64, 32)
        self.head = nn.Conv2d(64, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.stage1(self.down1(self.stem(image), image))
        deep = self.reduce(self.stage2(self.down2(shallow, image)))
        both = torch.cat([resize(deep, shallow.shape[2:], align_corners=True), shallow], 1)
        return resize(self.head(both), image.shape[2:], align_corners=True)


class _Esp(nn.Module):
    """The paper's EESP unit of four branches."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        n = outputs // 4
        self.stride = stride
        self.project = conv(inputs, n, 1, groups=4, activation=partial(nn.PReLU, n))
        self.branches = nn.ModuleList(
            nn.Conv2d(n, n, 3, stride, dilation, dilation, n, bias=False) for dilation in (1, 2, 3, 4)
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(outputs), nn.PReLU(outputs))
        self.expand = conv(outputs, outputs, 1, groups=4, activation=None)
        self.last = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.project(x)
        found: list[Tensor] = []
        for branch in self.branches:
            found.append(branch(narrow) + found[-1] if found else branch(narrow))
        y = self.expand(self.norm(torch.cat(found, 1)))
        if self.stride == 2:
            return y
        return self.last(y + x if y.shape == x.shape else y)


class _EspDown(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.units = _Esp(inputs, outputs - inputs, 2)
        self.of_image = nn.Sequential(conv(3, 3, activation=partial(nn.PReLU, 3)), conv(3, outputs, 1, activation=None))
        self.last = nn.PReLU(outputs)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        y = torch.cat([F.avg_pool2d(x, 3, 2, 1), self.units(x)], 1)
        while image.shape[2] != y.shape[2]:
            image = F.avg_pool2d(image, 3, 2, 1)
        return self.last(y + self.of_image(image))


class Cgnet(nn.Module):
    """After Wu et al., CGNet, 2018: local features joined with those around them, weighed by the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, 16, 3, 2, activation=partial(nn.PReLU, 16)), conv(16, 16, activation=partial(nn.PReLU, 16))
        )
        self.norm1, self.norm2, self.norm3 = (_norm_prelu(channels) for channels in (19, 67, 128))
        self.down1, self.stage1 = _ContextGuided(19, 32, 2, 2), nn.Sequential(*(_ContextGuided(32, 32) for _ in "12"))
        self.down2, self.stage2 = (
            _ContextGuided(67, 64, 4, 2),
            nn.Sequential(*(_ContextGuided(64, 64, 4) for _ in "12")),
        )
        self.head = nn.Conv2d(128, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        half = F.avg_pool2d(image, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        down1 = self.down1(self.norm1(torch.cat([self.stem(image), half], 1)))
        down2 = self.down2(self.norm2(torch.cat([self.stage1(down1), down1, quarter], 1)))
        scores = self.head(self.norm3(torch.cat([down2, self.stage2(down2)], 1)))
        return resize(scores, image.shape[2:])


class _ContextGuided(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int = 2, stride: int = 1) -> None:
        super().__init__()
        self.steps_down = stride == 2
        n = outputs if self.steps_down else outputs // 2
        self.first = conv(inputs, n, 3 if self.steps_down else 1, stride, activation=partial(nn.PReLU, n))
        self.near = nn.Conv2d(n, n, 3, padding=1, groups=n, bias=False)
        self.around = nn.Conv2d(n, n, 3, padding=dilation, dilation=dilation, groups=n, bias=False)
        self.norm = _norm_prelu(2 * n)
        self.reduce = nn.Conv2d(2 * n, outputs, 1, bias=False) if self.steps_down else nn.Identity()
        self.weigh = nn.Sequential(
            nn.Linear(outputs, outputs // 8), nn.ReLU(), nn.Linear(outputs // 8, outputs), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = self.reduce(self.norm(torch.cat([self.near(y), self.around(y)], 1)))
        n, channels = y.shape[:2]
        y = y * self.weigh(F.adaptive_avg_pool2d(y, 1).view(n, channels)).view(n, channels, 1, 1)
        return y if self.steps_down else x + y


class Dabnet(nn.Module):
    """After Li et al., DABNet, 2019: bottlenecks of two depthwise asymmetric branches, one of them dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            _norm_prelu(16),
            nn.Conv2d(16, 16, 3, 1, 1, bias=False),
            _norm_prelu(16),
        )
        self.norm1, self.down1, self.pooled1 = _norm_prelu(19), nn.Conv2d(19, 29, 3, 2, 1, bias=False), _norm_prelu(48)
        self.stage1 = nn.Sequential(_Asymmetric(48, 2), _Asymmetric(48, 2))
        self.norm2, self.down2 = _norm_prelu(99), nn.Conv2d(99, 64, 3, 2, 1, bias=False)
        self.stage2 = nn.Sequential(_Asymmetric(64, 4), _Asymmetric(64, 8), _Asymmetric(64, 16))
        self.norm3, self.head = _norm_prelu(131), nn.Conv2d(131, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        half = F.avg_pool2d(image, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        eighth = F.avg_pool2d(quarter, 3, 2, 1)
        x = self.norm1(torch.cat([self.stem(image), half], 1))
        x = self.pooled1(torch.cat([self.down1(x), F.max_pool2d(x, 2)], 1))
        x = self.down2(self.norm2(torch.cat([self.stage1(x), x, quarter], 1)))
        x = self.norm3(torch.cat([self.stage2(x), x, eighth], 1))
        return resize(self.head(x), image.shape[2:])


def _norm_prelu(channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


class _Asymmetric(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        m = channels // 2
        self.first = nn.Sequential(_norm_prelu(channels), nn.Conv2d(channels, m, 3, 1, 1, bias=False), _norm_prelu(m))
        self.near, self.far = self._branch(m, 1), self._branch(m, dilation)
        self.last = nn.Sequential(_norm_prelu(m), nn.Conv2d(m, channels, 1, bias=False))

    @staticmethod
    def _branch(m: int, dilation: int) -> nn.Module:
        lines = [line_conv(m, along, dilation, groups=m, bias=False) for along in ("y", "x")]
        return nn.Sequential(lines[0], _norm_prelu(m), lines[1], _norm_prelu(m))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(self.near(y) + self.far(y)) + x


class Lednet(nn.Module):
    """After Wang et al., LEDNet, 2019: split channels, shuffled; an attention pyramid of 7x7, 5x5 and 3x3."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(ConvAndPool(3, 16), _SplitShuffle(16, 1), ConvAndPool(16, 32), _SplitShuffle(32, 1), ConvAndPool(32, 64)),
            *(_SplitShuffle(64, dilation) for dilation in (1, 2, 5, 9)),
        )
        self.decoder = _AttentionPyramid(64)

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.decoder(self.encoder(image)), scale_factor=8, mode="bilinear", align_corners=True)


class _SplitShuffle(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.left = self._branch(channels // 2, "yx", dilation)
        self.right = self._branch(channels // 2, "xy", dilation)

    @staticmethod
    def _branch(m: int, order: str, dilation: int) -> nn.Module:
        layers: list[nn.Module] = []
        for step in (1, dilation):
            layers += [
                line_conv(m, order[0], step),
                nn.ReLU(),
                line_conv(m, order[1], step),
                nn.BatchNorm2d(m),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return shuffle(F.relu(torch.cat([self.left(left), self.right(right)], 1) + x), 2)


class _AttentionPyramid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(channels, CLASSES, 1))
        self.middle = conv(channels, CLASSES, 1)
        self.down1, self.down2 = conv(channels, 1, 7, 2), conv(1, 1, 5, 2)
        self.down3 = nn.Sequential(conv(1, 1, 3, 2), conv(1, 1))
        self.at2, self.at1 = conv(1, 1, 5), conv(1, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        down1 = self.down1(x)
        down2 = self.down2(down1)
        up = self.at2(down2) + resize(self.down3(down2), (height // 4, width // 4))
        up = self.at1(down1) + resize(up, (height // 2, width // 2))
        return resize(up, (height, width)) * self.middle(x) + resize(self.whole(x), (height, width))


class Edanet(nn.Sequential):
    """After Lo et al., EDANet, 2019: dense blocks of asymmetric dilated convolutions; no decoder."""

    def __init__(self, growth: int = 12) -> None:
        first, second, middle = (1, 1, 2), (2, 4, 8, 16), 30 + 3 * growth
        super().__init__(
            ConvAndPool(3, 15),
            ConvAndPool(15, 30),
            *(_DenseAsymmetric(30 + i * growth, growth, dilation) for i, dilation in enumerate(first)),
            nn.Conv2d(middle, 64, 3, 2, 1),
            *(_DenseAsymmetric(64 + i * growth, growth, dilation) for i, dilation in enumerate(second)),
            nn.Conv2d(64 + len(second) * growth, CLASSES, 1),
            nn.Upsample(scale_factor=8, mode="bilinear", align_corners=True),
        )


class _DenseAsymmetric(nn.Module):
    def __init__(self, inputs: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, growth, 1, bias=True),
            line_conv(growth, "y"),
            conv(growth, growth, (1, 3)),
            line_conv(growth, "y", dilation),
            line_conv(growth, "x", dilation),
            nn.BatchNorm2d(growth),
            nn.Dropout(0.02),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([self.body(x), x], 1))
