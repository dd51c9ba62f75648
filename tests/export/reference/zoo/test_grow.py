"""A grown network says what the smaller one said, and learns on."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import nn

from edge_vseg.errors import WeightsError
from edge_vseg.export.reference.zoo import LARGE, MIDDLE, SMALL, NetworkSpec, TwoBranch
from edge_vseg.export.reference.zoo.grow import grow

TINY = NetworkSpec(
    name="tiny",
    stem=(8, 8, 16),
    detail_blocks=("plain",),
    head=16,
    context_blocks=(),
    deep=(16, 24),
    deep_blocks=(0, 1),
)


def lived_in(spec: NetworkSpec) -> TwoBranch:
    """Chance weights, and statistics that are not those of a new network."""
    torch.manual_seed(3)
    network = TwoBranch(spec).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network


@pytest.mark.parametrize(("spec", "larger"), list(combinations((SMALL, MIDDLE, LARGE), 2)), ids=lambda spec: spec.name)
def test_reference_networks_grow_to_the_next_size(spec: NetworkSpec, larger: NetworkSpec) -> None:
    network = lived_in(spec)
    image = torch.randn(1, 3, 72, 104)
    with torch.inference_mode():
        scores = network(image)
        torch.testing.assert_close(grow(network, larger)(image), scores, rtol=1e-3, atol=1e-4 * float(scores.std()))


@pytest.mark.parametrize("larger", [
    TINY,
    replace(TINY, stem=(8, 12, 40)),
    replace(TINY, head=33),
    replace(TINY, deep=(100, 24)),
    replace(TINY, deep_blocks=(3, 2)),
    replace(TINY, detail_blocks=("residual", "plain", "residual"), context_blocks=("residual",)),
], ids=["same", "stem", "head", "deep", "deeper", "blocks"])  # fmt: skip
def test_each_way_to_grow(larger: NetworkSpec) -> None:
    network = lived_in(TINY)
    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        scores = network(image)
        torch.testing.assert_close(grow(network, larger)(image), scores, rtol=1e-3, atol=1e-4 * float(scores.std()))


def test_copies_diverge_and_new_blocks_train() -> None:
    grown = grow(lived_in(SMALL), MIDDLE).train()
    optimizer = torch.optim.SGD(grown.parameters(), 0.05)
    for _ in range(2):
        image = torch.randn(2, 3, 64, 96)
        optimizer.zero_grad()
        grown(image).square().mean().backward()
        optimizer.step()
    norm = grown.stem[0].conv[-1]  # 16 channels became 32
    assert not torch.allclose(norm.weight[:16], norm.weight[16:], rtol=0, atol=1e-7)
    assert grown.detail.blocks[0].second[-1].weight.abs().max() > 0


def test_growing_is_deterministic() -> None:
    network = lived_in(TINY)
    larger = replace(TINY, deep=(32, 48), deep_blocks=(2, 1))
    state = torch.get_rng_state()
    first, second = grow(network, larger).state_dict(), grow(network, larger).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("spec", "larger", "reason"), [
    (MIDDLE, SMALL, r"weights of middle cannot be grown to small: \(3, 32\) channels would become \(3, 16\)"),
    (TINY, replace(TINY, classes=5), "the same classes"),
    (TINY, replace(TINY, activation="hardswish"), "plain and residual blocks with ReLU"),
    (TINY, replace(TINY, block="shuffle"), "plain and residual blocks with ReLU"),
    (replace(TINY, detail_blocks=("factorised",)), LARGE, "plain and residual blocks"),
    (TINY, replace(TINY, head=8), r"\(16, 16\) channels would become \(16, 8\)"),
    (TINY, replace(TINY, detail_blocks=()), "lacks a plain block"),
    (TINY, replace(TINY, detail_blocks=("plain", "plain")), "no plain block to start from"),
], ids=["smaller", "classes", "activation", "shuffle", "factorised", "head", "no place", "one more plain"])  # fmt: skip
def test_incompatible_specs_raise(spec: NetworkSpec, larger: NetworkSpec, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        grow(TwoBranch(spec), larger)
