"""Multiply-accumulates by stage, and parameter counts."""

from __future__ import annotations

import math

import torch
from torch import nn

from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.types import Size


def stage_macs(network: TwoBranch, size_hw: Size) -> dict[str, int]:
    """Multiply-accumulates of each stage for one image, convolutions only.

    Args:
        network: The network; its mode is not changed.
        size_hw: Size of the image.
    """
    tensors = {"image": torch.zeros(1, 3, *size_hw, device=next(network.parameters()).device)}
    counted: dict[str, int] = {}
    training = network.training
    network.eval()
    with torch.no_grad():
        for stage in network.stages():
            counted[stage.name], tensors[stage.output] = _run(stage.module, [tensors[name] for name in stage.inputs])
    network.train(training)
    return counted


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(value.numel() for value in network.parameters())


def _run(module: nn.Module, inputs: list[torch.Tensor]) -> tuple[int, torch.Tensor]:
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * math.prod(layer.weight.shape[1:])

    handles = [part.register_forward_hook(count) for part in module.modules() if isinstance(part, nn.Conv2d)]
    try:
        output = module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total, output
