"""Building blocks: their sizes, and what they compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_vseg.export.reference.zoo.blocks import activation_layer, block, conv_norm

KINDS = ("plain", "residual", "inverted", "shuffle", "factorised")


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish"])
@pytest.mark.parametrize(("channels", "out", "stride"), [(16, 16, 1), (16, 24, 1), (16, 32, 2), (16, 16, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_keep_or_halve_the_size(kind, channels, out, stride, activation) -> None:
    made = block(kind, channels, out, stride, activation).eval()
    assert made(torch.randn(2, channels, 15, 20)).shape == (2, out, -(-15 // stride), -(-20 // stride))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("activation", "layer"), [
    ("relu", nn.ReLU), ("relu6", nn.ReLU6), ("hardswish", nn.Hardswish),
])  # fmt: skip
def test_blocks_use_the_given_activation(kind, activation, layer) -> None:
    acts = [part for part in block(kind, 8, 8, 2, activation).modules() if isinstance(part, _ACTIVATIONS)]
    assert acts
    assert {type(part) for part in acts} == {layer}


_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish)


def interleaved(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Channel 0 of the left, channel 0 of the right, channel 1 of the left and so on, one by one."""
    pairs = zip(left.unbind(1), right.unbind(1), strict=True)
    return torch.stack([plane for pair in pairs for plane in pair], dim=1)


def test_shuffle_keeps_half_of_the_channels_and_interleaves() -> None:
    """ShuffleNet V2, fig. 3c: split, one half through the branch, concatenate, shuffle two groups."""
    torch.manual_seed(0)
    made = block("shuffle", 8, 8).eval()
    value = torch.randn(2, 8, 5, 7)
    with torch.no_grad():
        assert torch.equal(made(value), interleaved(value[:, :4], made.branch(value[:, 4:])))


@pytest.mark.parametrize(("channels", "out", "stride"), [(8, 8, 2), (8, 12, 1)])
def test_shuffle_that_changes_the_shape_has_two_branches(channels, out, stride) -> None:
    """Fig. 3d: no split, both branches see everything."""
    torch.manual_seed(0)
    made = block("shuffle", channels, out, stride).eval()
    value = torch.randn(2, channels, 5, 7)
    with torch.no_grad():
        assert torch.equal(made(value), interleaved(made.other(value), made.branch(value)))


@pytest.mark.parametrize("kind", ["residual", "inverted", "factorised"])
def test_blocks_with_a_shortcut_add_to_their_input(kind: str) -> None:
    made = block(kind, 8, 8).eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.weight)
    value = torch.rand(1, 8, 5, 5)
    assert torch.equal(made(value), value)


def test_inverted_ends_without_an_activation() -> None:
    """MobileNetV2's linear bottleneck: outputs below zero survive."""
    torch.manual_seed(0)
    assert (block("inverted", 8, 12).eval()(torch.randn(1, 8, 9, 9)) < 0).any()
    assert (block("plain", 8, 12).eval()(torch.randn(1, 8, 9, 9)) >= 0).all()


def test_factorised_costs_two_thirds_of_the_residual() -> None:
    """Four convolutions of 3 weights against two of 9."""

    def weights(kind: str) -> int:
        return sum(part.weight.numel() for part in block(kind, 32, 32).modules() if isinstance(part, nn.Conv2d))

    assert 3 * weights("factorised") == 2 * weights("residual")


@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 1), (1, 3)], ids=str)
def test_convolutions_pad_to_the_same_size(kernel) -> None:
    """The centre tap alone gives the input back, so nothing is shifted."""
    layer = conv_norm(4, 4, kernel, groups=4).eval()
    conv = layer[0]
    nn.init.zeros_(conv.weight)
    conv.weight.data[:, 0, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
    value = torch.randn(1, 4, 7, 6)
    torch.testing.assert_close(layer(value), value / (1 + layer[1].eps) ** 0.5)


@pytest.mark.parametrize("value", [-4.0, -2.0, 0.0, 1.5, 3.0, 7.0])
def test_activations_by_their_definitions(value: float) -> None:
    """Howard et al., MobileNetV3, ICCV 2019, eq. 1 for hard-swish: x relu6(x + 3) / 6."""
    given = torch.tensor(value)
    clipped = functional.hardtanh(given + 3, 0, 6)
    expected = {"relu": max(value, 0), "relu6": min(max(value, 0), 6), "hardswish": value * clipped.item() / 6}
    for kind, wanted in expected.items():
        assert activation_layer(kind)(given).item() == pytest.approx(wanted)


def test_unknown_names_and_odd_widths_raise() -> None:
    with pytest.raises(ValueError, match="plain, residual, inverted, shuffle, factorised"):
        block("dense", 8, 8)
    with pytest.raises(ValueError, match="even channels, got 8 and 9"):
        block("shuffle", 8, 9)
    with pytest.raises(ValueError, match="even channels, got 7 and 8"):
        block("shuffle", 7, 8)
    with pytest.raises(ValueError, match="relu6"):
        activation_layer("tanh")
