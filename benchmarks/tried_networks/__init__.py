"""Networks that the exporter was not made for, each a source for ``edge-vseg export``.

They are written from their papers, in our own words and at small width, for the operators that they bring, or are
made by transformers. ``tried_networks:NAME`` is a factory: random weights from a fixed seed, and batch normalization as
measured on smooth random images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paper_networks import Enet, Segnet
from random_weights import settle
from torch import nn

from . import blocks, from_transformers
from .attention import AxialNet, CbamAndSk, Danet, EfficientVit, Emanet, Psanet, Segnext
from .compact import Cgnet, Dabnet, Edanet, EspnetV2, Lednet
from .encoder_decoders import AttentionUnet, Erfnet, U2Net
from .multi_branch import Contextnet, Icnet, LiteHrnet, PpLiteSeg, Regseg, Sfnet
from .transformers_from_papers import MaskFormerHead, Poolformer, Seaformer, Topformer

MEASURED_IMAGES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedNetwork:
    """A network, what it is called, and the input size that it is tried at unless another is asked for."""

    title: str
    make: Callable[[], nn.Module]
    size_hw: tuple[int, int] = (64, 128)


NETWORKS = {
    "attention_unet": TriedNetwork(title="Attention U-Net", make=AttentionUnet),
    "axial": TriedNetwork(title="Axial attention (MedT)", make=AxialNet),
    "cbam_sk": TriedNetwork(title="CBAM and SK blocks", make=CbamAndSk),
    "cgnet": TriedNetwork(title="CGNet", make=Cgnet),
    "contextnet": TriedNetwork(title="ContextNet", make=Contextnet),
    "dabnet": TriedNetwork(title="DABNet", make=Dabnet),
    "danet": TriedNetwork(title="DANet", make=Danet),
    "edanet": TriedNetwork(title="EDANet", make=Edanet),
    "efficientvit": TriedNetwork(title="EfficientViT-Seg", make=EfficientVit),
    "emanet": TriedNetwork(title="EMANet", make=Emanet),
    "enet": TriedNetwork(title="ENet, max-unpooling", make=lambda: Enet(blocks.CLASSES)),
    "enet_bilinear": TriedNetwork(title="ENet, bilinear", make=lambda: Enet(blocks.CLASSES, unpools=False)),
    "erfnet": TriedNetwork(title="ERFNet", make=Erfnet),
    "espnetv2": TriedNetwork(title="ESPNetv2", make=EspnetV2),
    "icnet": TriedNetwork(title="ICNet", make=Icnet),
    "lednet": TriedNetwork(title="LEDNet", make=Lednet),
    "lite_hrnet": TriedNetwork(title="Lite-HRNet", make=LiteHrnet),
    "maskformer_head": TriedNetwork(title="MaskFormer's head", make=MaskFormerHead),
    "poolformer": TriedNetwork(title="PoolFormer", make=Poolformer),
    "pp_liteseg": TriedNetwork(title="PP-LiteSeg", make=PpLiteSeg),
    "psanet": TriedNetwork(title="PSANet", make=Psanet),
    "regseg": TriedNetwork(title="RegSeg", make=Regseg),
    "seaformer": TriedNetwork(title="SeaFormer", make=Seaformer),
    "segnet": TriedNetwork(title="SegNet, max-unpooling", make=lambda: Segnet(blocks.CLASSES)),
    "segnext": TriedNetwork(title="SegNeXt with Hamburger", make=Segnext),
    "sfnet": TriedNetwork(title="SFNet", make=Sfnet),
    "topformer": TriedNetwork(title="TopFormer", make=Topformer),
    "u2net": TriedNetwork(title="U2-Net", make=U2Net),
    "upernet_convnext": TriedNetwork(title="UPerNet, ConvNeXt (transformers)", make=from_transformers.upernet_convnext),
    "upernet_swin": TriedNetwork(title="UPerNet, Swin (transformers)", make=from_transformers.upernet_swin),
    "mobilevitv2": TriedNetwork(
        title="MobileViTV2 (transformers)", make=from_transformers.mobilevitv2, size_hw=(128, 256)
    ),
}
"""By the name of the factory."""


def __getattr__(name: str) -> Callable[[], nn.Module]:
    if name not in NETWORKS:
        raise AttributeError(name)
    network = NETWORKS[name]
    return lambda: settle(network.make, network.size_hw, MEASURED_IMAGES).eval()
