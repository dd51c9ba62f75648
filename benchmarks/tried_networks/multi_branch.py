"""Branches of several resolutions: ContextNet, ICNet, PP-LiteSeg, RegSeg, Lite-HRNet and SFNet, at small width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from paper_networks import ShortTermDense
from torch import Tensor, nn

from .blocks import CLASSES, AtStride8, InvertedResidual, SqueezeExcite, conv, resize, shuffle


class Contextnet(nn.Module):
    """After Poudel et al., ContextNet, 2018: a deep branch of the small image, a shallow one of the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Sequential(conv(3, 16, 3, 2), _separable(16, 32, 2), _separable(32, 32, 2), _separable(32, 32))
        self.context = nn.Sequential(
            conv(3, 16, 3, 2),
            InvertedResidual(16, 16),
            InvertedResidual(16, 24, 2),
            InvertedResidual(24, 32, 2),
            InvertedResidual(32, 48),
            conv(48, 32),
        )
        self.detail_last = nn.Conv2d(32, 32, 1)
        self.context_last = nn.Sequential(
            nn.Conv2d(32, 32, 3, padding=4, dilation=4, groups=32), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 1)
        )
        self.head = nn.Sequential(_separable(32, 32), _separable(32, 32), nn.Dropout(0.1), nn.Conv2d(32, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        detail = self.detail(image)
        small = F.interpolate(image, scale_factor=0.25, mode="bilinear", align_corners=True)
        context = resize(self.context(small), detail.shape[2:], align_corners=True)
        joined = F.relu(self.detail_last(detail) + self.context_last(context))
        return resize(self.head(joined), image.shape[2:], align_corners=True)


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(conv(inputs, inputs, 3, stride, groups=inputs, activation=None), conv(inputs, outputs, 1))


class Icnet(nn.Module):
    """After Zhao et al., ICNet, 2018: a cascade of three resolutions with a pyramid by average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2), conv(16, 16, 3, 2))
        self.branch2 = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32, 3, 2))
        self.branch4, self.branch4_last = conv(32, 32, 3, 2), conv(32, 32, dilation=2)
        self.up1, self.skip2 = conv(32, 16, dilation=2, activation=None), conv(32, 16, 1, activation=None)
        self.up2, self.skip1 = conv(16, 16, dilation=2, activation=None), conv(16, 16, 1, activation=None)
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        half = self.branch2(_scale(image, 0.5))
        quarter = self.branch4_last(self._pyramid(_scale(self.branch4(half), 0.5)))
        quarter = resize(quarter, half.shape[2:], align_corners=True)
        joined = F.relu(self.up1(quarter) + self.skip2(half))
        whole = self.branch1(image)
        joined = resize(joined, whole.shape[2:], align_corners=True)
        joined = F.relu(self.up2(joined) + self.skip1(whole))
        return _scale(self.head(_scale(joined, 2)), 4)

    @staticmethod
    def _pyramid(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        for bins in (1, 2):
            cell = max(height // bins, 1), max(width // bins, 1)
            x = x + resize(F.avg_pool2d(x, cell, cell), (height, width), align_corners=True)
        return x


def _scale(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


class PpLiteSeg(nn.Module):
    """After Peng et al., PP-LiteSeg, 2022: STDC encoder, pooled context, fusion weighed by means and maxima."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2), ShortTermDense(16, 32, 2))
        self.middle, self.deep = ShortTermDense(32, 64, 2), ShortTermDense(64, 64, 2)
        self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv(64, 32, 1)) for bins in (1, 2, 4))
        self.pooled_last = conv(32, 64)
        self.fuse_middle, self.fuse_shallow = _AttentionFusion(64, 64, 32), _AttentionFusion(32, 32, 32)
        self.head = nn.Sequential(conv(32, 16), nn.Conv2d(16, CLASSES, 1, bias=False))

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.shallow(image)
        middle = self.middle(shallow)
        deep = self.deep(middle)
        first, *others = (resize(pool(deep), deep.shape[2:]) for pool in self.pools)
        context = self.pooled_last(sum(others, first))
        fused = self.fuse_shallow(shallow, self.fuse_middle(middle, context))
        return resize(self.head(fused), image.shape[2:])


class _AttentionFusion(nn.Module):
    """The paper's UAFM with spatial attention."""

    def __init__(self, high: int, low: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = conv(high, low), conv(low, outputs)
        self.weigh = nn.Sequential(conv(4, 2, activation=nn.LeakyReLU), conv(2, 1, activation=None))

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        low = resize(low, high.shape[2:])
        high = self.first(high)
        of_high = [high.mean(1, keepdim=True), high.amax(1, keepdim=True)]
        of_low = [low.mean(1, keepdim=True), low.max(1, keepdim=True)[0]]
        share = torch.sigmoid(self.weigh(torch.cat([*of_high, *of_low], 1)))
        return self.last(high * share + low * (1 - share))


class Regseg(nn.Module):
    """After Gao, RegSeg, 2021: blocks of grouped convolutions, each half with a dilation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(conv(3, 16, 3, 2), _Dilated(16, 32, (1,), 2))
        self.eighth = nn.Sequential(_Dilated(32, 64, (1,), 2), _Dilated(64, 64, (1,)))
        self.sixteenth = nn.Sequential(
            _Dilated(64, 64, (1,), 2), *(_Dilated(64, 64, (1, far)) for far in (2, 4, 14)), _Dilated(64, 96, (1, 14))
        )
        self.of_quarter, self.of_eighth, self.of_sixteenth = conv(32, 8, 1), conv(64, 32, 1), conv(96, 32, 1)
        self.join_eighth, self.join_quarter = conv(32, 24), conv(32, 24)
        self.head = nn.Conv2d(24, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        quarter = self.quarter(image)
        eighth = self.eighth(quarter)
        up = resize(self.of_sixteenth(self.sixteenth(eighth)), eighth.shape[2:])
        up = resize(self.join_eighth(self.of_eighth(eighth) + up), quarter.shape[2:])
        joined = self.join_quarter(torch.cat([up, self.of_quarter(quarter)], 1))
        return resize(self.head(joined), image.shape[2:])


class _Dilated(nn.Module):
    """The paper's D block, in groups of eight channels."""

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        part = outputs // len(dilations)
        self.first = conv(inputs, outputs, 1)
        self.parts = nn.ModuleList(
            nn.Conv2d(part, part, 3, stride, dilation, dilation, part // 8, bias=False) for dilation in dilations
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU(), SqueezeExcite(outputs, inputs // 4))
        self.last = conv(outputs, outputs, 1, activation=None)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = [nn.AvgPool2d(2, 2, ceil_mode=True)] if stride > 1 else []
            self.skip = nn.Sequential(*pool, conv(inputs, outputs, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.tensor_split(self.first(x), len(self.parts), dim=1)
        y = torch.cat([part(share) for part, share in zip(self.parts, shares, strict=True)], 1)
        return F.relu(self.last(self.norm(y)) + self.skip(x))


class LiteHrnet(nn.Module):
    """After Yu et al., Lite-HRNet, 2021: shuffle blocks whose channels are weighed across resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2))
        self.to_eighth, self.to_sixteenth = conv(16, 32, 3, 2), conv(32, 64, 3, 2)
        self.two = nn.ModuleList(_Weighted((16, 32)) for _ in range(2))
        self.up, self.down = conv(32, 16, 1, activation=None), conv(16, 32, 3, 2, activation=None)
        self.three = _Weighted((16, 32, 64))
        self.head = nn.Conv2d(112, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        high = self.stem(image)
        low = self.to_eighth(high)
        for block in self.two:
            high, low = block([high, low])
        up = F.interpolate(self.up(low), scale_factor=2, mode="nearest")
        high, low = F.relu(high + up), F.relu(low + self.down(high))
        first, *others = self.three([high, low, self.to_sixteenth(low)])
        joined = torch.cat([first, *(resize(each, first.shape[2:]) for each in others)], 1)
        return resize(self.head(joined), image.shape[2:])


class _Weighted(nn.Module):
    """The paper's conditional channel weighting, of half of the channels of each resolution."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        halves = [each // 2 for each in channels]
        self.across = _AcrossResolutions(halves)
        self.within = nn.ModuleList(
            nn.Sequential(conv(half, half, 3, groups=half, activation=None), SqueezeExcite(half, 4)) for half in halves
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        pairs = [branch.chunk(2, 1) for branch in branches]
        weighed = self.across([right for _, right in pairs])
        weighed = [part(x) for part, x in zip(self.within, weighed, strict=True)]
        return [shuffle(torch.cat([left, x], 1), 2) for (left, _), x in zip(pairs, weighed, strict=True)]


class _AcrossResolutions(nn.Module):
    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.channels, total = channels, sum(channels)
        self.narrow = conv(total, total // 4, 1)
        self.weigh = nn.Sequential(nn.Conv2d(total // 4, total, 1), nn.BatchNorm2d(total), nn.Sigmoid())

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        size = branches[-1].shape[2:]
        pooled = [F.adaptive_avg_pool2d(branch, size) for branch in branches[:-1]]
        weights = self.weigh(self.narrow(torch.cat([*pooled, branches[-1]], 1))).split(self.channels, 1)
        return [
            branch * F.interpolate(weight, size=branch.shape[2:], mode="nearest")
            for branch, weight in zip(branches, weights, strict=True)
        ]


class Sfnet(AtStride8):
    """After Li et al., Semantic Flow, 2020: low features are moved by a learned flow (``grid_sample``)."""

    def __init__(self) -> None:
        super().__init__(_FlowAlignment(32))


class _FlowAlignment(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.flow = nn.Conv2d(2 * channels, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        low = F.avg_pool2d(x, 2)
        height, width = x.shape[2:]
        flow = self.flow(torch.cat([resize(low, (height, width), align_corners=True), x], 1))
        y, x_of = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        grid = torch.stack((x_of, y), 2).unsqueeze(0).repeat(x.shape[0], 1, 1, 1)
        grid = grid + flow.permute(0, 2, 3, 1) / torch.tensor([width, height])
        return x + F.grid_sample(low, grid, align_corners=True)
