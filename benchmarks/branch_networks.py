"""Networks from papers that keep branches of several resolutions side by side: DDRNet and PIDNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from paper_networks import CLASSES, conv
from torch import Tensor, nn


class Ddrnet(nn.Module):
    """After Hong et al., Deep Dual-resolution Networks, 2021: two branches that exchange features; no pyramid."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv(3, w, 3, 2), conv(w, w, 3, 2), _Basic(w, w), _Basic(w, 2 * w, 2))
        self.low3, self.high3 = _Basic(2 * w, 4 * w, 2), _Basic(2 * w, 2 * w)
        self.down3, self.up3 = conv(2 * w, 4 * w, 3, 2), conv(4 * w, 2 * w, 1)
        self.low4, self.high4 = _Basic(4 * w, 8 * w, 2), _Basic(2 * w, 2 * w)
        self.up4 = conv(8 * w, 2 * w, 1)
        self.head = nn.Sequential(conv(2 * w, 2 * w), nn.Conv2d(2 * w, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        low, high = self.low3(stem), self.high3(stem)
        size = high.shape[-2:]
        low, high = low + self.down3(high), high + F.interpolate(self.up3(low), size, mode="bilinear")
        low, high = self.low4(torch.relu(low)), self.high4(torch.relu(high))
        scores = self.head(high + F.interpolate(self.up4(low), size, mode="bilinear"))
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")


class _Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class Pidnet(nn.Module):
    """After Xu et al., PIDNet, 2023, the small one: a branch each for details, context and boundaries."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv(3, w, 3, 2), conv(w, w, 3, 2), _Basic(w, w), _Basic(w, w))
        self.stem8 = nn.Sequential(_Basic(w, 2 * w, 2), _Basic(2 * w, 2 * w))
        self.context3 = nn.Sequential(_Basic(2 * w, 4 * w, 2), _Basic(4 * w, 4 * w), _Basic(4 * w, 4 * w))
        self.context4 = nn.Sequential(_Basic(4 * w, 8 * w, 2), _Basic(8 * w, 8 * w), _Basic(8 * w, 8 * w))
        self.context5 = nn.Sequential(_Narrow(8 * w, 16 * w, 2), _Narrow(16 * w, 16 * w))
        self.pyramid = _Pyramid(16 * w, 3 * w, 4 * w)
        self.detail3 = nn.Sequential(_Basic(2 * w, 2 * w), _Basic(2 * w, 2 * w))
        self.detail4 = nn.Sequential(_Basic(2 * w, 2 * w), _Basic(2 * w, 2 * w))
        self.detail5 = _Narrow(2 * w, 4 * w)
        self.guide3, self.guide4 = _Guide(2 * w, 4 * w, w), _Guide(2 * w, 8 * w, w)
        self.edge3, self.edge4, self.edge5 = _Basic(2 * w, w), _Narrow(w, 2 * w), _Narrow(2 * w, 4 * w)
        self.differ3, self.differ4 = conv(4 * w, w), conv(8 * w, 2 * w)
        self.detail_out, self.context_out = conv(4 * w, 4 * w, 1), conv(4 * w, 4 * w, 1)
        self.head = nn.Sequential(conv(4 * w, 4 * w), nn.Conv2d(4 * w, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem8(self.stem(image)))
        size = x.shape[-2:]
        context = self.context3(x)
        detail = self.guide3(self.detail3(x), context)
        edge = self.edge3(x) + _resize(self.differ3(context), size)
        context = self.context4(context)
        detail = self.guide4(self.detail4(torch.relu(detail)), context)
        edge = self.edge4(torch.relu(edge)) + _resize(self.differ4(context), size)
        detail, edge = self.detail5(torch.relu(detail)), self.edge5(torch.relu(edge))
        context = _resize(self.pyramid(self.context5(context)), size)
        at_edge = torch.sigmoid(edge)
        fused = self.detail_out((1 - at_edge) * context + detail) + self.context_out(context + at_edge * detail)
        return _resize(self.head(fused), image.shape[-2:])


class _Narrow(nn.Module):
    """A residual block whose 3x3 convolution has half of the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        half = outputs // 2
        last = nn.Sequential(nn.Conv2d(half, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.body = nn.Sequential(conv(inputs, half, 1), conv(half, half, 3, stride), last)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


class _Guide(nn.Module):
    """Takes details or context, whichever a product of both over the channels says."""

    def __init__(self, detail: int, context: int, middle: int) -> None:
        super().__init__()
        self.of_detail = nn.Sequential(nn.Conv2d(detail, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.of_context = nn.Sequential(nn.Conv2d(context, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.narrow = nn.Sequential(nn.Conv2d(context, detail, 1, bias=False), nn.BatchNorm2d(detail))

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        size = detail.shape[-2:]
        alike = self.of_detail(detail) * _resize(self.of_context(context), size)
        share = torch.sigmoid(alike.sum(1, keepdim=True))
        return share * _resize(self.narrow(context), size) + (1 - share) * detail


class _Pyramid(nn.Module):
    """Averages over larger and larger windows, joined by one convolution in groups."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(2**k + 1, 2 ** (k - 1), 2 ** (k - 1)) for k in (2, 3, 4)]
        self.pools = nn.ModuleList([*pools, nn.AdaptiveAvgPool2d(1)])
        self.narrow = nn.ModuleList(nn.Conv2d(inputs, middle, 1) for _ in range(5))
        self.join = conv(4 * middle, 4 * middle, groups=4)
        self.last, self.skip = nn.Conv2d(5 * middle, outputs, 1), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, *narrow = self.narrow
        near = first(x)
        far = [near + _resize(one(pool(x)), x.shape[-2:]) for one, pool in zip(narrow, self.pools, strict=True)]
        return self.last(torch.cat([near, self.join(torch.cat(far, 1))], 1)) + self.skip(x)


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear")
