"""Networks of the library transformers, at small width: UPerNet on ConvNeXt and on Swin, and MobileViTV2."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .blocks import CLASSES

STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Logits(nn.Module):
    """The scores of a network of transformers, which returns an object."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).logits


def upernet_convnext() -> nn.Module:
    """After Xiao et al., UPerNet, 2018, on Liu et al., ConvNeXt, 2022."""
    from transformers import ConvNextConfig

    return _upernet(ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1], out_features=STAGES))


def upernet_swin() -> nn.Module:
    """After Xiao et al., UPerNet, 2018, on Liu et al., Swin Transformer, 2021."""
    from transformers import SwinConfig

    return _upernet(
        SwinConfig(
            embed_dim=24,
            depths=[1, 1, 2, 1],
            num_heads=[1, 2, 4, 8],
            window_size=4,
            image_size=64,
            out_features=STAGES,
        )
    )


def _upernet(backbone: Any) -> nn.Module:
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    config = UperNetConfig(
        backbone_config=backbone, num_labels=CLASSES, hidden_size=32, use_auxiliary_head=False
    )  # fmt: skip
    return Logits(UperNetForSemanticSegmentation(config))


def mobilevitv2() -> nn.Module:
    """After Mehta and Rastegari, MobileViTV2, 2022: separable self-attention."""
    from transformers import MobileViTV2Config, MobileViTV2ForSemanticSegmentation

    return Logits(MobileViTV2ForSemanticSegmentation(MobileViTV2Config(num_labels=CLASSES, width_multiplier=0.5)))
