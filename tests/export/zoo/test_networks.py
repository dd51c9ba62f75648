"""The reference networks: their cost, their stages, and what their blocks do."""

from __future__ import annotations

import hashlib

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.onnx_to_torch.table import TABLE
from edge_vseg.export.torch_module import open_torch
from edge_vseg.export.zoo import SMALL, SPECS, NetworkSpec, TwoBranch
from edge_vseg.export.zoo.blocks import activation_layer, block
from edge_vseg.export.zoo.macs import parameter_count, stage_macs

KINDS = ("plain", "residual", "inverted", "shuffle", "factorised")
SIZE_HW = (360, 480)


@pytest.mark.parametrize(("name", "most_macs", "most_parameters"), [
    ("small", 0.8e9, 2e6), ("middle", 2.5e9, 5e6), ("large", 6e9, 12e6),
])  # fmt: skip
def test_cost(name: str, most_macs: float, most_parameters: float) -> None:
    network = TwoBranch(SPECS[name])
    macs = stage_macs(network, SIZE_HW)
    assert set(macs) == {"stem", "context", "detail"}
    assert 0.9 * most_macs < sum(macs.values()) <= most_macs
    assert (macs["stem"] + macs["detail"]) / sum(macs.values()) <= 0.30
    assert parameter_count(network) <= most_parameters
    assert network.training, "counting leaves the mode alone"


def test_macs_by_hand() -> None:
    macs = stage_macs(TwoBranch(SMALL), (64, 96))
    first, second, third = 32 * 48 * 16 * 27, 16 * 24 * 32 * 9 * 16, 8 * 12 * 48 * 9 * 32
    assert macs["stem"] == first + second + third
    assert macs["detail"] == 8 * 12 * (48 * 9 * 48 + 48 * 9 * 48 + 44 * 48)


@pytest.mark.parametrize("size_hw", [(64, 64), (360, 480), (97, 131)], ids=str)
def test_stages_chained_are_the_network(size_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = TwoBranch(SMALL).eval()
    tensors = {"image": torch.randn(1, 3, *size_hw)}
    with torch.no_grad():
        for stage in network.stages():
            tensors[stage.output] = stage.module(*(tensors[name] for name in stage.inputs))
        scores = nn.functional.interpolate(tensors["scores"], size_hw, mode="bilinear", align_corners=False)
        assert torch.equal(scores, network(tensors["image"]))
    assert [stage.reusable for stage in network.stages()] == [False, True, False]
    height, width = (-(-side // 8) for side in size_hw)
    assert tensors["context"].shape == (1, 48, height, width)
    assert tensors["scores"].shape == (1, 11, 2 * height, 2 * width)


@pytest.mark.parametrize(("name", "digest"), [
    ("small", "8ad71a079e1de9e1"), ("middle", "35e63294e064665a"), ("large", "a9a1ce3e8fee172b"),
])  # fmt: skip
def test_shipped_weights_keep_fitting(name: str, digest: str) -> None:
    """Names and shapes of all weights; a change here makes every trained file useless."""
    state = TwoBranch(SPECS[name]).state_dict()
    listed = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish"])
@pytest.mark.parametrize(("channels", "out", "stride"), [(16, 16, 1), (16, 24, 1), (16, 32, 2), (16, 16, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_keep_or_halve_the_size(kind, channels, out, stride, activation) -> None:
    made = block(kind, channels, out, stride, activation).eval()
    assert made(torch.randn(2, channels, 15, 20)).shape == (2, out, -(-15 // stride), -(-20 // stride))


def test_shuffle_takes_turns_between_the_halves() -> None:
    """ShuffleNet V2: the untouched half comes out on the even channels, in order."""
    value = torch.randn(1, 8, 5, 5)
    shuffled = block("shuffle", 8, 8).eval()(value)
    assert torch.equal(shuffled[:, 0::2], value[:, :4])


@pytest.mark.parametrize("kind", ["residual", "inverted", "factorised"])
def test_blocks_with_a_shortcut_add_to_their_input(kind: str) -> None:
    made = block(kind, 8, 8).eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.weight)
    value = torch.rand(1, 8, 5, 5)
    assert torch.equal(made(value), value)


def test_unknown_names_and_impossible_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="plain, residual, inverted, shuffle, factorised"):
        block("dense", 8, 8)
    with pytest.raises(ValueError, match="even channels"):
        block("shuffle", 8, 9)
    with pytest.raises(ValueError, match="relu6"):
        activation_layer("tanh")
    with pytest.raises(ValueError, match="classes"):
        NetworkSpec(**_fields(classes=1))
    with pytest.raises(ValueError, match="positive"):
        NetworkSpec(**_fields(head=0))


def _fields(**changed: object) -> dict[str, object]:
    return {name: getattr(SMALL, name) for name in SMALL.__slots__} | changed


def variant(kind: str, activation: str) -> nn.Module:
    torch.manual_seed(0)
    return TwoBranch(NetworkSpec(**_fields(block=kind, activation=activation, detail_blocks=(kind,))))


@pytest.mark.parametrize(("kind", "activation"), [(kind, "relu") for kind in KINDS] + [("plain", "hardswish")])
def test_networks_of_all_blocks_can_be_exported(kind, activation, tmp_path, monkeypatch) -> None:
    """Only operators that the importer knows, and the same scores on ONNX Runtime."""
    (tmp_path / "made.py").write_text(
        f"from test_networks import variant\n\n\ndef make():\n    return variant({kind!r}, {activation!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    model, run = open_torch(f"{tmp_path / 'made.py'}:make", None, (64, 96))
    canonical, image = canonicalize(model, (64, 96))
    assert {node.op_type for node in canonical.graph.node} <= set(TABLE)
    value = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    session = ort.InferenceSession(canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {image.name: value})
    np.testing.assert_allclose(scores, run(value), atol=2e-4, rtol=1e-3)
