"""Networks that torch has quantized are refused by the layer's name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch_networks import small

from edge_vseg.errors import ModelFileError
from edge_vseg.export.source.torch_module import open_torch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's own


def for_training() -> nn.Module:
    network = small().train()
    network.qconfig = quantization.get_default_qat_qconfig("x86")
    return quantization.prepare_qat(network)


def dynamic() -> nn.Module:
    return quantization.quantize_dynamic(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(32, 32)), {nn.Linear})


@pytest.mark.parametrize(
    ("make", "layer"),
    [(for_training, r"'[\w.]+' is torch's own \w*FakeQuant"), (dynamic, "'1' is torch's own Linear")],
    ids=["fake quantization", "converted"],
)
def test_refused(make, layer, monkeypatch):
    monkeypatch.setattr("torch_networks.small", make)
    with pytest.raises(ModelFileError, match=rf"layer {layer}.*give the float network"):
        open_torch("torch_networks:small", None)


def test_layers_of_the_user_called_alike_are_taken(monkeypatch):
    class QuantizedLater(nn.Conv2d):
        pass

    monkeypatch.setattr("torch_networks.small", lambda: nn.Sequential(QuantizedLater(3, 4, 1)))
    assert isinstance(open_torch("torch_networks:small", None).module, torch.nn.Module)
