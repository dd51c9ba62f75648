"""Give a trained network a detail path with a stem of its own: its stem then runs with the context only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edge_vseg.errors import WeightsError
from edge_vseg.export.reference.zoo.spec import NetworkSpec
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

_SEED = 0
FIRST_GAIN = 0.2
"""Gain of the thin path when training begins: it disturbs what the context says only a little."""


def with_own_stem(network: TwoBranch, spec: NetworkSpec) -> TwoBranch:
    """A network with a thin detail path of random weights, and the stem, the context and the head of a trained one.

    The head's 3x3 convolution is linear, so the context's half of it gives what it gave of the context, and the batch
    normalisation goes into it as it is in evaluation.

    Args:
        network: A trained network whose paths share a stem.
        spec: The same widths and depths with ``own_stem``, and any ``detail_blocks``.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: If the two have other widths or depths.
    """
    before = network.spec
    if before.own_stem or not spec.own_stem or _wide(before) != _wide(spec):
        raise WeightsError(
            f"weights of {before.name} cannot start {spec.name}: it needs those of a network with the same stem,"
            " context and head, such as middle for middle_thin"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        made = TwoBranch(spec)
    made.labels = network.labels
    for ours, theirs in zip(made.backbone, network.backbone, strict=True):
        ours.load_state_dict(theirs.state_dict())
    conv, norm = network.detail.head.conv
    with torch.no_grad():
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        made.context.head.weight.copy_(conv.weight * gain[:, None, None, None])
        made.context.head.bias.copy_(norm.bias - norm.running_mean * gain)
        nn.init.constant_(made.detail.head[-1].weight, FIRST_GAIN)
    made.detail.scores.load_state_dict(network.detail.scores.state_dict())
    made.eval()
    return made


def _wide(spec: NetworkSpec) -> NetworkSpec:
    """All but the name and the detail path."""
    return replace(spec, name="", own_stem=(), detail_blocks=())
