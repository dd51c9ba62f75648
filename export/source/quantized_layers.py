"""Networks that torch has quantized, or prepared for it, which have no form in ONNX that int8 could be made from."""

from __future__ import annotations

import torch

from edge_vseg.errors import ModelFileError
from edge_vseg.export.graph.layer_names import own_path


def refuse_quantized(network: torch.nn.Module, source: str) -> None:
    """Name the first layer that computes in torch's own int8, or imitates it.

    Raises:
        ModelFileError: If there is one.
    """
    for path, part in network.named_modules():
        if any(_is_quantizing(kind) for kind in type(part).__mro__):
            raise ModelFileError(
                f"{source}: layer {own_path(path)!r} is torch's own {type(part).__name__} for quantized networks, which"
                " ONNX has no form for; give the float network as it was before prepare() and convert(): the export"
                " makes int8 by itself, and --finetune trains it"
            )


def _is_quantizing(kind: type) -> bool:
    quantized = kind.__module__.startswith("torch.") and ".quantized" in kind.__module__
    return quantized or kind.__name__ == "FakeQuantizeBase"
