"""Make a trained network wider and deeper without changing its outputs.

Training of a larger network then starts from the accuracy of the smaller one.

Reference: Chen et al., Net2Net: Accelerating Learning via Knowledge Transfer, ICLR 2016, sections 2.2 and 2.3. Here the
copies of a channel split its outgoing weights randomly, not evenly, so that they differ from the first step on.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from edge_vseg.errors import WeightsError
from edge_vseg.export.reference.zoo.blocks import Residual
from edge_vseg.export.reference.zoo.spec import NetworkSpec
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

GROWING = ("plain", "residual")
_DOWN = "down"
_SEED = 0


def grow(network: TwoBranch, spec: NetworkSpec) -> TwoBranch:
    """A larger network with the same logits, up to rounding.

    Args:
        network: A trained network of plain and residual blocks with ReLU.
        spec: Spec of the larger network: no width may be smaller, and only residual blocks may be added.

    Returns:
        The larger network, in evaluation mode.

    Raises:
        WeightsError: If the network cannot be grown to this spec.
    """
    before = network.spec
    used = {*before.detail_blocks, *before.context_blocks, before.block, spec.block, spec.activation, before.activation}
    if not used <= {*GROWING, "relu"} or before.classes != spec.classes:
        raise _error(before, spec, "needs plain and residual blocks with ReLU, and the same classes")
    if before.own_stem or spec.own_stem:
        raise _error(before, spec, "a detail path with its own stem has no smaller one to start from")
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(_SEED)
        grown = TwoBranch(spec)
        grown.eval()
        for old, new in _pairs(network, grown):
            if any(a > b for a, b in zip(_widths(old), _widths(new), strict=True)):
                raise _error(before, spec, f"{_widths(old)} channels would become {_widths(new)}")
            _widen(old, new)
    return grown


def _pairs(old: TwoBranch, new: TwoBranch) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of old layers and the new layers that start from them; added blocks become the identity."""
    yield from _layers(old.stem, new.stem)
    deep = [(_DOWN, *(spec.block,) * blocks) for spec in (old.spec, new.spec) for blocks in spec.deep_blocks]
    for before, after, kinds, new_kinds in (
        (old.detail.blocks, new.detail.blocks, old.spec.detail_blocks, new.spec.detail_blocks),
        (old.context.beside, new.context.beside, old.spec.context_blocks, new.spec.context_blocks),
        (old.context.stride16, new.context.stride16, deep[0], deep[2]),
        (old.context.stride32, new.context.stride32, deep[1], deep[3]),
    ):
        for block, place in zip(after, _places(kinds, new_kinds, old.spec, new.spec), strict=True):
            if place is None:
                _make_identity(block)
            else:
                yield from _layers(before[place], block)
    for name in ("pyramid", "lateral", "merge"):
        yield from _layers(getattr(old.context, name), getattr(new.context, name))
    for name in ("head", "scores"):
        yield from _layers(getattr(old.detail, name), getattr(new.detail, name))


def _layers(old: nn.Module, new: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    before, after = ([part for part in whole.modules() if isinstance(part, kinds)] for whole in (old, new))
    yield from zip(before, after, strict=True)


def _places(
    kinds: tuple[str, ...], new_kinds: tuple[str, ...], before: NetworkSpec, spec: NetworkSpec
) -> list[int | None]:
    """For every new block the index of the old block it starts from, or ``None``; matched from the end."""
    places: list[int | None] = []
    left = len(kinds)
    for kind in reversed(new_kinds):
        if left and kinds[left - 1] == kind:
            left -= 1
            places.append(left)
        elif kind == "residual":
            places.append(None)
        else:
            raise _error(before, spec, f"there is no {kind} block to start from")
    if left:
        raise _error(before, spec, f"the larger network lacks a {kinds[left - 1]} block")
    return places[::-1]


def _make_identity(block: Residual) -> None:
    """Turn off everything but the shortcut; the input is non-negative, so the ReLU does not change it."""
    norm = block.second[-1]
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


def _widths(layer: nn.Module) -> tuple[int, ...]:
    return (layer.in_channels, layer.out_channels) if isinstance(layer, nn.Conv2d) else (layer.num_features,)


def _widen(old: nn.Module, new: nn.Module) -> None:
    """Copy the weights; added channels are copies of the old ones in turn."""
    copied = torch.arange(len(new.weight)) % len(old.weight)
    if isinstance(old, nn.BatchNorm2d):
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(new, name).copy_(getattr(old, name)[copied])
        return
    weight = old.weight[copied]
    if old.groups == 1:
        source = torch.arange(new.in_channels) % old.in_channels
        shares = torch.rand(new.out_channels, new.in_channels) + 0.5
        total = torch.zeros(new.out_channels, old.in_channels).index_add_(1, source, shares)
        weight = weight[:, source] * (shares / total[:, source])[..., None, None]
    new.weight.copy_(weight)
    if old.bias is not None:
        new.bias.copy_(old.bias[copied])


def _error(before: NetworkSpec, spec: NetworkSpec, reason: str) -> WeightsError:
    return WeightsError(f"weights of {before.name} cannot be grown to {spec.name}: {reason}")
