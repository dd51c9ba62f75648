"""Networks of other libraries as sources for ``edge-vseg export``, and networks written from their papers.

A network has random weights, from a fixed seed, and batch normalization as measured on smooth random images: agreement
of int8 with float is then harder to reach than with trained weights, whose decisions are clearer. ``WEIGHTS`` in the
environment names a state dict to load instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 11
SIZE_HW = (256, 512)
MEASURED_IMAGES = 24


class Scores(nn.Module):
    """The scores alone, of a network that returns a dict or an object."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        found = self.network(image)
        if isinstance(found, Tensor):
            return found
        # What transformers gives is a dict, too.
        return found["out" if "out" in found else "logits"]


def _settled(make: Callable[[], nn.Module]) -> nn.Module:
    """The network with weights from a file, or with random ones."""
    weights = os.environ.get("WEIGHTS")
    if not weights:
        return random_weights(make).eval()
    network = Scores(make())
    network.network.load_state_dict(torch.load(Path(weights), weights_only=True))
    return network.eval()


def random_weights(make: Callable[[], nn.Module]) -> Scores:
    """A network with random weights and batch normalization that fits them."""
    torch.manual_seed(0)
    network = Scores(make())
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    network.train()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(MEASURED_IMAGES // 2):
            network(torch.stack([_image(rng), _image(rng)]))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1
    return network


def _image(rng: np.random.Generator) -> Tensor:
    coarse = rng.uniform(-2, 2, (9, 16, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (SIZE_HW[1] // 2, SIZE_HW[0] // 2), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(smooth + rng.normal(0, 0.1, smooth.shape).astype(np.float32)).permute(2, 0, 1)


def _torchvision(name: str) -> nn.Module:
    from torchvision.models import segmentation

    return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=CLASSES)


def _smp(name: str, encoder: str, **more: object) -> nn.Module:
    import segmentation_models_pytorch as smp

    return getattr(smp, name)(encoder, encoder_weights=None, classes=CLASSES, **more)


def _segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES))


def _mobilevit() -> nn.Module:
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    return MobileViTForSemanticSegmentation(MobileViTConfig(num_labels=CLASSES))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Module:
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
        self.shallow = nn.Sequential(_conv(3, 32, 3, 2), self._separable(32, 48, 2), self._separable(48, 64, 2))
        blocks = [(64, 64, 2), (64, 64, 1), (64, 64, 1), (64, 96, 2), (96, 96, 1), (96, 96, 1)]
        blocks += [(96, 128, 1), (128, 128, 1), (128, 128, 1)]
        self.deep = nn.Sequential(*(_Bottleneck(*block) for block in blocks))
        self.pools = nn.ModuleList(_conv(128, 32, 1) for _ in range(4))
        self.join = _conv(256, 128, 1)
        self.low = nn.Sequential(_conv(128, 128, 3, 1, 128, 4), nn.Conv2d(128, 128, 1))
        self.high = nn.Conv2d(64, 128, 1)
        self.head = nn.Sequential(self._separable(128, 128), self._separable(128, 128), nn.Conv2d(128, CLASSES, 1))

    @staticmethod
    def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(_conv(inputs, inputs, 3, stride, inputs), _conv(inputs, outputs, 1))

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
            _conv(inputs, wide, 1),
            _conv(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


class Ddrnet(nn.Module):
    """After Hong et al., Deep Dual-resolution Networks, 2021: two branches that exchange features; no pyramid."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(_conv(3, w, 3, 2), _conv(w, w, 3, 2), _Basic(w, w), _Basic(w, 2 * w, 2))
        self.low3, self.high3 = _Basic(2 * w, 4 * w, 2), _Basic(2 * w, 2 * w)
        self.down3, self.up3 = _conv(2 * w, 4 * w, 3, 2), _conv(4 * w, 2 * w, 1)
        self.low4, self.high4 = _Basic(4 * w, 8 * w, 2), _Basic(2 * w, 2 * w)
        self.up4 = _conv(8 * w, 2 * w, 1)
        self.head = nn.Sequential(_conv(2 * w, 2 * w), nn.Conv2d(2 * w, CLASSES, 1))

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
            _conv(inputs, outputs, 3, stride),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class Bisenet(nn.Module):
    """After Yu et al., BiSeNet V2, 2020: a detail and a semantic branch, guided aggregation, max-pooled stem."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            _conv(3, 64, 3, 2), _conv(64, 64), _conv(64, 64, 3, 2), _conv(64, 64), _conv(64, 128, 3, 2), _conv(128, 128)
        )
        self.stem = _conv(3, 16, 3, 2)
        self.stem_left = nn.Sequential(_conv(16, 8, 1), _conv(8, 16, 3, 2))
        self.stem_right = nn.MaxPool2d(3, 2, 1)
        self.stem_join = _conv(32, 16)
        blocks = [(16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1)]
        self.semantic = nn.Sequential(*(_Bottleneck(*block) for block in blocks))
        self.context = _conv(128, 128, 1)
        self.detail_keep, self.semantic_keep = nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 1)
        self.gate = nn.Conv2d(128, 128, 3, 1, 1)
        self.head = nn.Sequential(_conv(128, 128), nn.Conv2d(128, CLASSES, 1))

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
        self.stem = nn.Sequential(_conv(3, 12, 3, 2), _Squeeze(12, 16), nn.AvgPool2d(2))
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


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lraspp": lambda: _torchvision("lraspp_mobilenet_v3_large"),
    "deeplabv3_mobilenet": lambda: _torchvision("deeplabv3_mobilenet_v3_large"),
    "fcn_resnet50": lambda: _torchvision("fcn_resnet50"),
    "fast_scnn": FastScnn,
    "bisenet": Bisenet,
    "ddrnet": Ddrnet,
    "sinet": Sinet,
    "deeplabv3plus": lambda: _smp("DeepLabV3Plus", "mobilenet_v2"),
    "fpn": lambda: _smp("FPN", "resnet18"),
    "unet": lambda: _smp("Unet", "resnet18"),
    "unetplusplus": lambda: _smp("UnetPlusPlus", "resnet18"),
    "linknet": lambda: _smp("Linknet", "resnet18"),
    "pspnet": lambda: _smp("PSPNet", "resnet18"),
    "pan": lambda: _smp("PAN", "resnet18"),
    "manet": lambda: _smp("MAnet", "resnet18"),
    "upernet": lambda: _smp("UPerNet", "resnet18"),
    "segformer_smp": lambda: _smp("Segformer", "resnet18"),
    "segformer": _segformer,
    "mobilevit": _mobilevit,
}
"""By name; each is a factory of this file, too."""


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in NETWORKS:
        raise AttributeError(name)
    return lambda: _settled(NETWORKS[name])
