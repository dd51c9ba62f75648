"""Networks of other libraries, and those written from their papers, as sources for ``edge-vseg export``.

A network has random weights, from a fixed seed, and batch normalization as measured on smooth random images: agreement
of int8 with float is then harder to reach than with trained weights, whose decisions are clearer. ``WEIGHTS`` in the
environment names a state dict to load instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from branch_networks import Ddrnet, Pidnet
from paper_networks import CLASSES, Bisenet, Enet, FastScnn, Segnet, Sinet, Stdc
from random_weights import settle
from torch import Tensor, nn

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
    half_hw = (SIZE_HW[0] // 2, SIZE_HW[1] // 2)
    return settle(lambda: Scores(make()), half_hw, MEASURED_IMAGES)


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


def _mobilenet() -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

    return MobileNetV2ForSemanticSegmentation(MobileNetV2Config(num_labels=CLASSES, output_stride=16))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lraspp": lambda: _torchvision("lraspp_mobilenet_v3_large"),
    "deeplabv3_mobilenet": lambda: _torchvision("deeplabv3_mobilenet_v3_large"),
    "deeplabv3_resnet50": lambda: _torchvision("deeplabv3_resnet50"),
    "fcn_resnet50": lambda: _torchvision("fcn_resnet50"),
    "fast_scnn": FastScnn,
    "bisenet": Bisenet,
    "ddrnet": Ddrnet,
    "sinet": Sinet,
    "stdc": Stdc,
    "pidnet": Pidnet,
    "enet": Enet,
    "segnet": Segnet,
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
    "mobilenetv2": _mobilenet,
}
"""By name; each is a factory of this file, too."""


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in NETWORKS:
        raise AttributeError(name)
    return lambda: _settled(NETWORKS[name])
