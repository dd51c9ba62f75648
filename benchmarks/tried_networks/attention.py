"""One attention block of a paper each: DANet, PSANet, EMANet, CBAM and SK, MedT, SegNeXt, EfficientViT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import AtStride8, InvertedResidual, conv


class Danet(AtStride8):
    """After Fu et al., DANet, 2019: attention between positions, and between channels."""

    def __init__(self) -> None:
        super().__init__(_Dual(32))


class _Dual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positions, self.channels = _Positions(channels), _Channels()

    def forward(self, x: Tensor) -> Tensor:
        return self.positions(x) + self.channels(x)


class _Positions(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(channels, channels // 8, 1), nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.share = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.size()
        query = self.query(x).view(n, -1, height * width).permute(0, 2, 1)
        weights = F.softmax(torch.bmm(query, self.key(x).view(n, -1, height * width)), -1)
        found = torch.bmm(self.value(x).view(n, -1, height * width), weights.permute(0, 2, 1))
        return self.share * found.view(n, channels, height, width) + x


class _Channels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.size()
        flat = x.view(n, channels, -1)
        energy = torch.bmm(flat, flat.permute(0, 2, 1))
        energy = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        return self.share * torch.bmm(F.softmax(energy, -1), flat).view(n, channels, height, width) + x


class Psanet(AtStride8):
    """After Zhao et al., PSANet, 2018: each of 4x8 positions cuts its mask out of an over-complete map."""

    def __init__(self) -> None:
        size = 4, 8
        spread = _PointwiseAttention(32, *size)
        super().__init__(nn.Sequential(nn.AdaptiveAvgPool2d(size), spread, nn.Upsample((8, 16), mode="bilinear")))


class _PointwiseAttention(nn.Module):
    def __init__(self, channels: int, height: int, width: int, narrow: int = 16) -> None:
        super().__init__()
        self.map_hw = 2 * height - 1, 2 * width - 1
        self.reduce = conv(channels, narrow, 1)
        self.maps = nn.Conv2d(narrow, self.map_hw[0] * self.map_hw[1], 1)
        self.project = conv(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        reduced = self.reduce(x)
        maps = self.maps(reduced)
        masks = []
        for row in range(height):
            for column in range(width):
                whole = maps[:, :, row, column].view(n, *self.map_hw)
                top, left = height - 1 - row, width - 1 - column
                masks.append(whole[:, top : top + height, left : left + width].reshape(n, 1, height * width))
        weights = torch.cat(masks, 1).softmax(-1)
        found = torch.bmm(weights, reduced.flatten(2).transpose(1, 2))
        return x + self.project(found.transpose(1, 2).reshape(n, -1, height, width))


class Emanet(AtStride8):
    """After Li et al., EMANet, 2019: three rounds of expectation and maximization over 16 bases."""

    def __init__(self) -> None:
        super().__init__(_ExpectationMaximization(32))


class _ExpectationMaximization(nn.Module):
    def __init__(self, channels: int, bases: int = 16) -> None:
        super().__init__()
        self.register_buffer("bases", F.normalize(torch.randn(1, channels, bases), dim=1))
        self.first, self.last = nn.Conv2d(channels, channels, 1), conv(channels, channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        n, channels, height, width = first.size()
        flat = first.view(n, channels, height * width)
        bases = self.bases.repeat(n, 1, 1)
        for _ in range(3):
            shares = F.softmax(torch.bmm(flat.permute(0, 2, 1), bases), 2)
            bases = torch.bmm(flat, shares / (1e-6 + shares.sum(1, keepdim=True)))
            bases = bases / (1e-6 + bases.norm(dim=1, keepdim=True))
        rebuilt = bases.matmul(shares.permute(0, 2, 1)).view(n, channels, height, width)
        return F.relu(self.last(F.relu(rebuilt)) + x)


class CbamAndSk(AtStride8):
    """After Woo et al., CBAM, 2018, and Li et al., Selective Kernel Networks, 2019: one block of each."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(_Cbam(32), _SelectiveKernel(32)))


class _Cbam(nn.Module):
    """As its published code writes it: pooling with the size as kernel, ``expand_as``, maxima with indices."""

    def __init__(self, channels: int, narrow: int = 4) -> None:
        super().__init__()
        self.channels = nn.Sequential(nn.Flatten(), nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels))
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        size = x.size(2), x.size(3)
        weights = self.channels(F.avg_pool2d(x, size, stride=size)) + self.channels(F.max_pool2d(x, size))
        x = x * torch.sigmoid(weights).unsqueeze(2).unsqueeze(3).expand_as(x)
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), 1)
        return x * torch.sigmoid(self.places(pooled))


class _SelectiveKernel(nn.Module):
    def __init__(self, channels: int, narrow: int = 8) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv(channels, channels, dilation=dilation, groups=8) for dilation in (1, 2))
        self.reduce = nn.Linear(channels, narrow)
        self.choose = nn.ModuleList(nn.Linear(narrow, channels) for _ in self.branches)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.stack([branch(x) for branch in self.branches], 1)
        reduced = self.reduce(found.sum(1).mean(-1).mean(-1))
        weights = torch.stack([choose(reduced) for choose in self.choose], 1).softmax(1)
        return (found * weights.unsqueeze(-1).unsqueeze(-1)).sum(1)


class AxialNet(AtStride8):
    """After Valanarasu et al., MedT, 2021: attention along rows with relative positions; for images 128 wide."""

    def __init__(self) -> None:
        super().__init__(_AxialAttention(32, 16))


class _AxialAttention(nn.Module):
    """In four groups; queries and keys have half as many channels as values."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.width, self.depth = width, channels // 4
        self.project = nn.Sequential(nn.Conv1d(channels, 2 * channels, 1, bias=False), nn.BatchNorm1d(2 * channels))
        self.relative = nn.Parameter(torch.randn(2 * self.depth, 2 * width - 1) * 0.1)
        self.last = nn.BatchNorm1d(channels)

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 2, 1, 3)
        n, height, channels, width = x.shape
        parts = [self.depth // 2, self.depth // 2, self.depth]
        lines = self.project(x.contiguous().view(n * height, channels, width))
        query, key, value = torch.split(lines.reshape(n * height, 4, 2 * self.depth, width), parts, 2)
        of_query, of_key, of_value = torch.split(self._relative_places(), parts, 0)
        by_query = torch.einsum("bgci,cij->bgij", query, of_query)
        by_key = torch.einsum("bgci,cij->bgij", key, of_key).transpose(2, 3)
        weights = F.softmax(torch.einsum("bgci,bgcj->bgij", query, key) + by_query + by_key, 3)
        found = torch.einsum("bgij,bgcj->bgci", weights, value) + torch.einsum("bgij,cij->bgci", weights, of_value)
        found = self.last(found.reshape(n * height, channels, width)).view(n, height, channels, width)
        return image + found.permute(0, 2, 1, 3)

    def _relative_places(self) -> Tensor:
        places = torch.arange(self.width)
        steps = places[None] - places[:, None] + self.width - 1
        return torch.index_select(self.relative, 1, steps.view(-1)).view(-1, self.width, self.width)


class Segnext(AtStride8):
    """After Guo et al., SegNeXt, 2022, with the Hamburger of Geng et al., 2021: strip convolutions, matrix factors."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(nn.BatchNorm2d(32), _StripAttention(32), nn.BatchNorm2d(32), nn.GELU(), _Hamburger(32))
        )


class _StripAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.first, self.last = nn.Conv2d(c, c, 5, padding=2, groups=c), nn.Conv2d(c, c, 1)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, c, (1, length), padding=(0, length // 2), groups=c),
                nn.Conv2d(c, c, (length, 1), padding=(length // 2, 0), groups=c),
            )
            for length in (7, 11, 21)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.first(x)
        return self.last(weights + sum(strip(weights) for strip in self.strips)) * x


class _Hamburger(nn.Module):
    """Three rounds of non-negative matrix factorization."""

    def __init__(self, channels: int, rank: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.register_buffer("bases", F.normalize(torch.rand(1, channels, rank), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        y = F.relu(self.first(x)).view(n, channels, height * width)
        bases = self.bases.expand(n, -1, -1)
        codes = torch.bmm(y.transpose(1, 2), bases).softmax(-1)
        for _ in range(3):
            codes = codes * torch.bmm(y.transpose(1, 2), bases) / (codes.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)
            bases = bases * torch.bmm(y, codes) / (bases.bmm(codes.transpose(1, 2).bmm(codes)) + 1e-6)
        return F.relu(x + self.last(torch.bmm(bases, codes.transpose(1, 2)).view(n, channels, height, width)))


class EfficientVit(AtStride8):
    """After Cai et al., EfficientViT, 2023: linear attention with ReLU, divided by its sums."""

    def __init__(self) -> None:
        between = InvertedResidual(32, 32, activation=nn.Hardswish)
        super().__init__(nn.Sequential(_LinearAttention(32), between, _LinearAttention(32)))


class _LinearAttention(nn.Module):
    """At two scales, in heads of eight channels."""

    def __init__(self, channels: int, depth: int = 8) -> None:
        super().__init__()
        wide, self.depth = 3 * channels, depth
        self.first = nn.Conv2d(channels, wide, 1, bias=False)
        self.around = nn.Sequential(
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False),
            nn.Conv2d(wide, wide, 1, groups=wide // depth, bias=False),
        )
        self.last = conv(2 * channels, channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.size()
        first, d = self.first(x), self.depth
        both = torch.cat([first, self.around(first)], 1).reshape(n, -1, 3 * d, height * width)
        query, key = F.relu(both[:, :, :d]), F.relu(both[:, :, d : 2 * d])
        value = F.pad(both[:, :, 2 * d :], (0, 0, 0, 1), value=1)
        found = torch.matmul(torch.matmul(value, key.transpose(-1, -2)), query)
        found = found[:, :, :-1] / (found[:, :, -1:] + 1e-3)
        return x + self.last(found.reshape(n, -1, height, width))
