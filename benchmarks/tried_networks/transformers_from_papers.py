"""Transformers written from their papers: TopFormer, SeaFormer, PoolFormer and MaskFormer's head, at small width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CLASSES, AtStride8, HardSigmoid, InvertedResidual, conv, resize


class Topformer(nn.Module):
    """After Zhang et al., TopFormer, 2022: tokens pooled from all scales, injected into each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = [8, 16, 32, 48]
        total = sum(self.channels)
        self.stem = conv(3, 8, 3, 2, activation=nn.ReLU6)
        pairs = [(8, 8), (8, 16), (16, 32), (32, 48)]
        self.stages = nn.ModuleList(InvertedResidual(inputs, outputs, 2) for inputs, outputs in pairs)
        self.mixers = nn.ModuleList(part for _ in range(2) for part in (_TokenAttention(total), _Mlp(total)))
        self.injections = nn.ModuleList(_Injection(channels, 32) for channels in self.channels[1:])
        self.head = nn.Sequential(conv(32, 32, 1), nn.Conv2d(32, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        scales: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            scales.append(x)
        size = (x.shape[2] - 1) // 2 + 1, (x.shape[3] - 1) // 2 + 1
        tokens = torch.cat([F.adaptive_avg_pool2d(scale, size) for scale in scales], 1)
        for mixer in self.mixers:
            tokens = tokens + mixer(tokens)
        parts = tokens.split(self.channels, 1)
        triples = zip(self.injections, scales[1:], parts[1:], strict=True)
        first, *others = (inject(scale, part) for inject, scale, part in triples)
        fused = sum((resize(other, first.shape[2:]) for other in others), first)
        return resize(self.head(fused), image.shape[2:])


class _TokenAttention(nn.Module):
    """Four heads; queries and keys of eight channels, values of sixteen."""

    def __init__(self, channels: int, depth: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.depth, self.heads, wide = depth, heads, depth * heads
        self.query, self.key = conv(channels, wide, 1, activation=None), conv(channels, wide, 1, activation=None)
        self.value = conv(channels, 2 * wide, 1, activation=None)
        self.project = nn.Sequential(nn.ReLU6(), conv(2 * wide, channels, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        places = height * width
        query = self.query(x).reshape(n, self.heads, self.depth, places).permute(0, 1, 3, 2)
        key = self.key(x).reshape(n, self.heads, self.depth, places)
        value = self.value(x).reshape(n, self.heads, 2 * self.depth, places).permute(0, 1, 3, 2)
        found = torch.matmul(torch.matmul(query, key).softmax(-1), value).permute(0, 1, 3, 2)
        return self.project(found.reshape(n, 2 * self.depth * self.heads, height, width))


class _Mlp(nn.Sequential):
    def __init__(self, channels: int) -> None:
        wide = 2 * channels
        super().__init__(
            conv(channels, wide, 1, activation=None),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.ReLU6(),
            conv(wide, channels, 1, activation=None),
        )


class _Injection(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.local, self.add = conv(channels, outputs, 1, activation=None), conv(channels, outputs, 1, activation=None)
        self.weigh = nn.Sequential(conv(channels, outputs, 1, activation=None), HardSigmoid())

    def forward(self, local: Tensor, tokens: Tensor) -> Tensor:
        size = local.shape[2:]
        return self.local(local) * resize(self.weigh(tokens), size) + resize(self.add(tokens), size)


class Seaformer(nn.Module):
    """After Wan et al., SeaFormer, 2023: attention along rows and along columns of squeezed features."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Sequential(
            conv(3, 16, 3, 2, activation=nn.Hardswish), InvertedResidual(16, 16, 2), InvertedResidual(16, 32, 2)
        )
        self.deep, self.attend = InvertedResidual(32, 48, 2), _SqueezedAttention(48)
        self.local = conv(32, 32, 1, activation=None)
        self.weigh = nn.Sequential(conv(48, 32, 1, activation=None), nn.Hardsigmoid())
        self.head = nn.Sequential(conv(32, 32, 1), nn.Conv2d(32, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.shallow(image)
        deep = self.deep(shallow)
        deep = deep + self.attend(deep)
        fused = self.local(shallow) * resize(self.weigh(deep), shallow.shape[2:])
        return resize(self.head(fused), image.shape[2:])


class _SqueezedAttention(nn.Module):
    def __init__(self, channels: int, depth: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.depth, self.heads, wide = depth, heads, depth * heads
        self.query, self.key = conv(channels, wide, 1, activation=None), conv(channels, wide, 1, activation=None)
        self.value = conv(channels, 2 * wide, 1, activation=None)
        self.row_places = nn.Parameter(torch.randn(1, wide, 16))
        self.column_places = nn.Parameter(torch.randn(1, wide, 16))
        self.row_last, self.column_last = conv(2 * wide, 2 * wide, 1), conv(2 * wide, 2 * wide, 1)
        self.project = conv(2 * wide, channels, 1, activation=HardSigmoid)
        self.detail = nn.Sequential(
            conv(4 * wide, 4 * wide, groups=4 * wide, activation=nn.ReLU6), conv(4 * wide, channels, 1, activation=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        query, key, value = self.query(x), self.key(x), self.value(x)
        detail = self.detail(torch.cat([query, key, value], 1))
        rows = self._along(query.mean(-1), key.mean(-1), value.mean(-1), self.row_places)
        columns = self._along(query.mean(-2), key.mean(-2), value.mean(-2), self.column_places)
        rows = self.row_last(rows.reshape(n, -1, height, 1))
        columns = self.column_last(columns.reshape(n, -1, 1, width))
        return self.project(value + (rows + columns)) * detail

    def _along(self, query: Tensor, key: Tensor, value: Tensor, places: Tensor) -> Tensor:
        n, _, length = query.shape
        offset = F.interpolate(places, size=length, mode="linear", align_corners=False)
        query = (query + offset).reshape(n, self.heads, -1, length).permute(0, 1, 3, 2)
        key = (key + offset).reshape(n, self.heads, -1, length)
        value = value.reshape(n, self.heads, -1, length).permute(0, 1, 3, 2)
        weights = (torch.matmul(query, key) * self.depth**-0.5).softmax(-1)
        return torch.matmul(weights, value).permute(0, 1, 3, 2)


class Poolformer(AtStride8):
    """After Yu et al., MetaFormer, 2022: average pooling in the place of attention."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(_PoolBlock(32), _PoolBlock(32)))


class _PoolBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.scale = nn.Parameter(torch.ones(channels))
        self.mlp = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.scale.unsqueeze(-1).unsqueeze(-1) * (self.pool(y) - y)
        return x + self.mlp(x)


class MaskFormerHead(nn.Module):
    """After Cheng et al., MaskFormer, 2021: queries of a transformer's decoder, each a mask and its classes."""

    def __init__(self, queries: int = 10) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.queries = nn.Embedding(queries, 32)
        self.decoder = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True)
        self.classes, self.masks = nn.Linear(32, CLASSES + 1), nn.Linear(32, 32)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(image)
        queries = self.queries.weight[None].expand(features.shape[0], -1, -1)
        queries = self.decoder(queries, features.flatten(2).transpose(1, 2))
        classes = self.classes(queries).softmax(-1)[..., :-1]  # the last means: no object
        masks = torch.einsum("bqc,bchw->bqhw", self.masks(queries), features).sigmoid()
        return resize(torch.einsum("bqc,bqhw->bchw", classes, masks), image.shape[2:])
