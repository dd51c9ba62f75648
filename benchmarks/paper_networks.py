"""Segmentation networks written from the descriptions in their papers, in our own words and at their usual widths."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 11


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Module:
    """A convolution that keeps the size but for its stride, batch normalization and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class FastScnn(nn.Module):
    """After Poudel et al., Fast-SCNN, 2019: learning to downsample, pyramid pooling, feature fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Sequential(conv(3, 32, 3, 2), self._separable(32, 48, 2), self._separable(48, 64, 2))
        blocks = [(64, 64, 2), (64, 64, 1), (64, 64, 1), (64, 96, 2), (96, 96, 1), (96, 96, 1)]
        blocks += [(96, 128, 1), (128, 128, 1), (128, 128, 1)]
        self.deep = nn.Sequential(*(_Bottleneck(*block) for block in blocks))
        self.pools = nn.ModuleList(conv(128, 32, 1) for _ in range(4))
        self.join = conv(256, 128, 1)
        self.low = nn.Sequential(conv(128, 128, 3, 1, 128, 4), nn.Conv2d(128, 128, 1))
        self.high = nn.Conv2d(64, 128, 1)
        self.head = nn.Sequential(self._separable(128, 128), self._separable(128, 128), nn.Conv2d(128, CLASSES, 1))

    @staticmethod
    def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(conv(inputs, inputs, 3, stride, inputs), conv(inputs, outputs, 1))

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.shallow(image)
        deep = self.deep(shallow)
        size = deep.shape[-2:]
        pooled = [
            F.interpolate(part(F.adaptive_avg_pool2d(deep, bins)), size, mode="bilinear")
            for part, bins in zip(self.pools, (1, 2, 3, 6), strict=True)
        ]
        joined = self.join(torch.cat([deep, *pooled], 1))
        low = self.low(F.interpolate(joined, shallow.shape[-2:], mode="bilinear"))
        scores = self.head(torch.relu(low + self.high(shallow)))
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.body = nn.Sequential(
            conv(inputs, wide, 1),
            conv(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


class Bisenet(nn.Module):
    """After Yu et al., BiSeNet V2, 2020: a detail and a semantic branch, guided aggregation, max-pooled stem."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            conv(3, 64, 3, 2), conv(64, 64), conv(64, 64, 3, 2), conv(64, 64), conv(64, 128, 3, 2), conv(128, 128)
        )
        self.stem = conv(3, 16, 3, 2)
        self.stem_left = nn.Sequential(conv(16, 8, 1), conv(8, 16, 3, 2))
        self.stem_right = nn.MaxPool2d(3, 2, 1)
        self.stem_join = conv(32, 16)
        blocks = [(16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1)]
        self.semantic = nn.Sequential(*(_Bottleneck(*block) for block in blocks))
        self.context = conv(128, 128, 1)
        self.detail_keep, self.semantic_keep = nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 1)
        self.gate = nn.Conv2d(128, 128, 3, 1, 1)
        self.head = nn.Sequential(conv(128, 128), nn.Conv2d(128, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        detail = self.detail(image)
        stem = self.stem(image)
        semantic = self.semantic(self.stem_join(torch.cat([self.stem_left(stem), self.stem_right(stem)], 1)))
        semantic = semantic + self.context(semantic.mean((2, 3), keepdim=True))
        size = detail.shape[-2:]
        gate = torch.sigmoid(F.interpolate(self.gate(semantic), size, mode="bilinear"))
        kept = F.interpolate(self.semantic_keep(semantic), size, mode="bilinear")
        scores = self.head(self.detail_keep(detail) * gate + kept)
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")


class Sinet(nn.Module):
    """After Park et al., SINet, 2020: spatial squeeze blocks and a mask of what is sure, one channel over all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 12, 3, 2), _Squeeze(12, 16), nn.AvgPool2d(2))
        self.deep = nn.Sequential(_Squeeze(16, 48), nn.AvgPool2d(2), _Squeeze(48, 64), _Squeeze(64, 64))
        self.guess = nn.Conv2d(64, CLASSES, 1)
        self.skip = nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        guess = F.interpolate(self.guess(self.deep(stem)), stem.shape[-2:], mode="bilinear")
        unsure = 1 - torch.softmax(guess, 1).max(1, keepdim=True).values
        scores = guess + unsure * self.skip(stem)
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")


class _Squeeze(nn.Module):
    """Two depthwise branches, one at half the size; PReLU and channel attention."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.first = nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.PReLU(half))
        self.near = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.far = nn.Conv2d(half, half, 5, 1, 2, groups=half, bias=False)
        self.attend = nn.Sequential(nn.Conv2d(outputs, outputs // 4, 1), nn.ReLU(), nn.Conv2d(outputs // 4, outputs, 1))
        self.last = nn.Sequential(nn.BatchNorm2d(outputs), nn.PReLU(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        far = F.interpolate(self.far(F.avg_pool2d(x, 2)), x.shape[-2:], mode="bilinear")
        both = torch.cat([self.near(x), far], 1)
        return self.last(both * torch.sigmoid(self.attend(F.adaptive_avg_pool2d(both, 1))))


class Stdc(nn.Module):
    """After Fan et al., Rethinking BiSeNet, 2021: STDC1 blocks, context with attention, features fused at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.shallow = nn.Sequential(
            conv(3, 32, 3, 2), conv(32, 64, 3, 2), ShortTermDense(64, 256, 2), ShortTermDense(256, 256)
        )
        self.middle = nn.Sequential(ShortTermDense(256, 512, 2), ShortTermDense(512, 512))
        self.deep = nn.Sequential(ShortTermDense(512, 1024, 2), ShortTermDense(1024, 1024))
        self.refine_middle, self.refine_deep = _Refine(512, 128), _Refine(1024, 128)
        self.whole = conv(1024, 128, 1)
        self.after_middle, self.after_deep = conv(128, 128), conv(128, 128)
        self.fuse = conv(256 + 128, 256, 1)
        self.attend = nn.Sequential(nn.Conv2d(256, 64, 1, bias=False), nn.ReLU(), nn.Conv2d(64, 256, 1, bias=False))
        self.head = nn.Sequential(conv(256, 64), nn.Conv2d(64, CLASSES, 1))

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.shallow(image)
        middle = self.middle(shallow)
        deep = self.deep(middle)
        whole = self.whole(F.adaptive_avg_pool2d(deep, 1))
        context = self.refine_deep(deep) + F.interpolate(whole, deep.shape[-2:], mode="nearest")
        context = self.after_deep(F.interpolate(context, middle.shape[-2:], mode="nearest"))
        context = self.after_middle(
            F.interpolate(self.refine_middle(middle) + context, shallow.shape[-2:], mode="nearest")
        )
        fused = self.fuse(torch.cat([shallow, context], 1))
        fused = fused + fused * torch.sigmoid(self.attend(F.adaptive_avg_pool2d(fused, 1)))
        return F.interpolate(self.head(fused), image.shape[-2:], mode="bilinear")


class ShortTermDense(nn.Module):
    """STDC's block: four convolutions, each of what the one before gives, halved in width; all are concatenated."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        n = outputs
        self.first = conv(inputs, n // 2, 1)
        self.second = conv(n // 2, n // 4, 3, stride)
        self.third, self.fourth = conv(n // 4, n // 8), conv(n // 8, n // 8)
        self.skip = nn.AvgPool2d(3, 2, 1) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        third = self.third(second)
        return torch.cat([self.skip(first), second, third, self.fourth(third)], 1)


class _Refine(nn.Module):
    """Channels weighed by what the whole image holds."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = conv(inputs, outputs)
        self.attend = nn.Sequential(nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return x * torch.sigmoid(self.attend(F.adaptive_avg_pool2d(x, 1)))


class Enet(nn.Module):
    """After Paszke et al., ENet, 2016: bottlenecks; maxima go back to where they were found.

    Many rewrites resize bilinearly instead: ``unpools=False``.
    """

    def __init__(self, classes: int = CLASSES, *, unpools: bool = True) -> None:
        super().__init__()
        self.unpools = unpools
        self.first = nn.Conv2d(3, 13, 3, 2, 1, bias=False)
        self.after_first = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU(16))
        self.down_near = _EnetDown(16, 64)
        self.near = nn.Sequential(*(_EnetBlock(64) for _ in range(4)))
        self.down_far = _EnetDown(64, 128)
        kinds: list[dict[str, int]] = [{}, {"dilation": 2}, {"asymmetric": 5}, {"dilation": 4}]
        kinds += [{}, {"dilation": 8}, {"asymmetric": 5}, {"dilation": 16}]
        self.far = nn.Sequential(*(_EnetBlock(128, **kind) for kind in 2 * kinds))
        self.up_far = _EnetUp(128, 64)
        self.after_far = nn.Sequential(_EnetBlock(64, nn.ReLU), _EnetBlock(64, nn.ReLU))
        self.up_near = _EnetUp(64, 16)
        self.after_near = _EnetBlock(16, nn.ReLU)
        self.head = nn.ConvTranspose2d(16, classes, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.after_first(torch.cat([self.first(image), F.max_pool2d(image, 2)], 1))
        x, near = self.down_near(x, self.unpools)
        x, far = self.down_far(self.near(x), self.unpools)
        x = self.after_far(self.up_far(self.far(x), far))
        return self.head(self.after_near(self.up_near(x, near)))


def _activation(kind: type[nn.Module], channels: int) -> nn.Module:
    return nn.PReLU(channels) if kind is nn.PReLU else kind()


class _EnetBlock(nn.Module):
    def __init__(self, channels: int, kind: type[nn.Module] = nn.PReLU, dilation: int = 1, asymmetric: int = 0) -> None:
        super().__init__()
        middle, n = channels // 4, asymmetric
        spatial = [nn.Conv2d(middle, middle, 3, 1, dilation, dilation)]
        if asymmetric:
            spatial = [
                nn.Conv2d(middle, middle, (n, 1), 1, (n // 2, 0), bias=False),
                nn.Conv2d(middle, middle, (1, n), 1, (0, n // 2)),
            ]
        self.body = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle), _activation(kind, middle),
            *spatial, nn.BatchNorm2d(middle), _activation(kind, middle),
            nn.Conv2d(middle, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.Dropout2d(0.1),
        )  # fmt: skip
        self.last = _activation(kind, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.body(x))


class _EnetDown(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.more = outputs - inputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inputs, 2, 2, bias=False), nn.BatchNorm2d(inputs), nn.PReLU(inputs),
            nn.Conv2d(inputs, inputs, 3, 1, 1), nn.BatchNorm2d(inputs), nn.PReLU(inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Dropout2d(0.1),
        )  # fmt: skip
        self.last = nn.PReLU(outputs)

    def forward(self, x: Tensor, unpools: bool) -> tuple[Tensor, Tensor | None]:
        pooled, places = F.max_pool2d(x, 2, return_indices=True) if unpools else (F.max_pool2d(x, 2), None)
        return self.last(F.pad(pooled, (0, 0, 0, 0, 0, self.more)) + self.body(x)), places


class _EnetUp(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = inputs // 4
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.body = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.ConvTranspose2d(middle, middle, 2, 2, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.Conv2d(middle, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Dropout2d(0.1),
        )  # fmt: skip

    def forward(self, x: Tensor, places: Tensor | None) -> Tensor:
        skip = self.skip(x)
        if places is None:
            skip = F.interpolate(skip, scale_factor=2, mode="bilinear")
        else:
            skip = F.max_unpool2d(skip, places, 2)
        return torch.relu(skip + self.body(x))


class Segnet(nn.Module):
    """After Badrinarayanan et al., SegNet, 2015: VGG-16 and its mirror image, at an eighth of their width."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        stages = [(3, 8, 2), (8, 16, 2), (16, 32, 3), (32, 64, 3), (64, 64, 3)]
        self.encoder = nn.ModuleList(self._stage(inputs, outputs, count) for inputs, outputs, count in stages)
        back = [(outputs, max(inputs, 8), count) for inputs, outputs, count in reversed(stages)]
        self.decoder = nn.ModuleList(self._stage(inputs, outputs, count, last=True) for inputs, outputs, count in back)
        self.head = nn.Conv2d(8, classes, 1)

    @staticmethod
    def _stage(inputs: int, outputs: int, count: int, *, last: bool = False) -> nn.Module:
        """The convolution that changes the width is the first, or the last."""
        narrow = [inputs] * (count - 1) if last else [outputs] * (count - 1)
        widths = [inputs, *narrow, outputs]
        return nn.Sequential(*(conv(a, b) for a, b in itertools.pairwise(widths)))

    def forward(self, image: Tensor) -> Tensor:
        x, found = image, []
        for stage in self.encoder:
            x, places = F.max_pool2d(stage(x), 2, return_indices=True)
            found.append(places)
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, found.pop(), 2))
        return self.head(x)
