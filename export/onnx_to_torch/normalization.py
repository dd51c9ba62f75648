"""Normalisations, written out as means and products, which lower to NHWC operators without TRANSPOSE."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec


def _batch_normalization(node: Node) -> Function:
    if node.integer("training_mode", 0) or any(node.uses_output(index) for index in range(1, 5)):
        raise node.unsupported("training mode")
    if node.integer("spatial", 1) != 1:
        raise node.unsupported("spatial 0")
    arrays = [node.array(index) for index in range(1, 5)]
    scale, bias, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + node.real("epsilon", 1e-5))
    shift = bias - mean * factor
    shape = (1, -1) + (1,) * (node.rank() - 2)
    dtype = np.float64 if node.value(0).dtype == torch.float64 else np.float32
    constants = [array.reshape(shape).astype(dtype) for array in (factor, shift)]
    return Bound(lambda a, b, x: (x * a + b).to(x.dtype), *constants)


def _instance_normalization(node: Node) -> Function:
    epsilon, rank = node.real("epsilon", 1e-5), node.rank()
    axes, shape = tuple(range(2, rank)), (1, -1) + (1,) * (rank - 2)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        centred, inverse_std = _centre(x, axes, epsilon)
        return centred * inverse_std * scale.reshape(shape) + bias.reshape(shape)

    return normalise


def _group_normalization(node: Node) -> Function:
    epsilon, groups, shape = node.real("epsilon", 1e-5), node.integer("num_groups", 0), node.shape()
    if groups < 1 or shape[1] % groups:
        raise node.unsupported(f"{groups} groups of {shape[1]} channels")
    grouped = (shape[0], groups, -1)
    per_channel = (1, -1) + (1,) * (len(shape) - 2)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        centred, inverse_std = _centre(x.reshape(grouped), (2,), epsilon)
        y = centred * inverse_std
        if node.version < 21:  # scale and bias are per group
            return (y * scale.reshape(1, -1, 1) + bias.reshape(1, -1, 1)).reshape(shape)
        return y.reshape(shape) * scale.reshape(per_channel) + bias.reshape(per_channel)

    return normalise


def _layer_normalization(node: Node) -> Function:
    epsilon, rank = node.real("epsilon", 1e-5), node.rank()
    axes = tuple(range(node.axis(node.integer("axis", -1)), rank))
    if node.integer("stash_type", 1) != 1:
        raise node.unsupported(f"stash_type {node.integer('stash_type', 1)}")
    outputs = len(node.proto.output)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        full = x.float() if x.dtype == torch.float16 else x
        centred, inverse_std = _centre(full, axes, epsilon)
        y = (centred * inverse_std).to(x.dtype) * scale
        y = y if bias is None else y + bias
        return (y, full.mean(axes, keepdim=True), inverse_std)[:outputs]

    return normalise


def _centre(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor]:
    """``x`` minus its mean, and the inverse of its standard deviation."""
    centred = x - x.mean(axes, keepdim=True)
    variance = (centred * centred).mean(axes, keepdim=True)
    return centred, torch.rsqrt(variance + epsilon)


def _lp_normalization(node: Node) -> Function:
    axis, order = node.axis(node.integer("axis", -1)), node.integer("p", 2)
    if order not in (1, 2):
        raise node.unsupported(f"p {order}")
    # All zeros stay zeros, as in the ONNX reference.
    tiny = math.sqrt(np.finfo(np.float32).tiny)

    def normalise(x: Tensor) -> Tensor:
        if order == 1:
            return x / torch.clamp(x.abs().sum(axis, keepdim=True), min=tiny)
        return x * torch.rsqrt(torch.clamp((x * x).sum(axis, keepdim=True), min=tiny))

    return normalise


OPERATORS = (
    OperatorSpec(
        name="BatchNormalization",
        versions=(7, 9, 14, 15),
        build=_batch_normalization,
        constants=(1, 2, 3, 4),
        covers="inference, as one product and one sum",
        refuses="training mode, spatial 0, computed statistics",
    ),
    OperatorSpec(name="InstanceNormalization", versions=(6, 22), build=_instance_normalization, covers="any rank"),
    OperatorSpec(
        name="GroupNormalization",
        versions=(18, 21),
        build=_group_normalization,
        covers="any rank; scale per group (18) or per channel (21)",
    ),
    OperatorSpec(
        name="LayerNormalization",
        versions=(17,),
        build=_layer_normalization,
        covers="any axis, outputs Mean and InvStdDev",
        refuses="stash_type other than float32",
    ),
    OperatorSpec(name="LpNormalization", versions=(1, 22), build=_lp_normalization, covers="p 1 and 2, any axis"),
)
