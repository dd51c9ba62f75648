"""Activations, in torch forms that lower to one TFLite operator, or at least stay int8 and finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec

_FUSES_RELU = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Conv", "Div", "Gemm", "GlobalAveragePool", "InstanceNormalization"}
    | {"GroupNormalization", "LayerNormalization", "MatMul", "MaxPool", "Mul", "Sub", "Sum"}
)
"""Operators that lower to a TFLite operator with a fused activation."""

_SIXTH = float(np.nextafter(np.float32(1 / 6), np.float32(1)))
"""1/6 plus one float32 ULP: with 1/6 itself litert-torch turns ``x * hard_sigmoid(x)`` into the slower HARD_SWISH."""


def _plain(function: Callable[[Tensor], Tensor]) -> Callable[[Node], Function]:
    """A builder for an operator without attributes."""
    return lambda node: function


def standalone_relu(x: Tensor) -> Tensor:
    """ReLU that is not fused into the operator before it.

    A standalone int8 RELU runs outside XNNPACK (128x128x32: 4.7 ms of a 4.9 ms graph). A 1x1 max pool takes the
    RELU as its fused activation and runs inside (0.02 ms), with the same result.
    """
    return F.relu(F.max_pool2d(x, 1, 1) if x.ndim == 4 else x)


def _relu(node: Node) -> Function:
    before = node.value(0)
    return F.relu if before.producer in _FUSES_RELU and before.consumers == 1 else standalone_relu


def _softplus(x: Tensor) -> Tensor:
    # F.softplus lets exp() overflow and selects afterwards: quantized, exp() got a scale of 2e6 and SQNR fell to 1 dB.
    # This form keeps 38 dB.
    return standalone_relu(x) + torch.log1p(torch.exp(-x.abs()))


def _negative_part(x: Tensor) -> Tensor:
    """``exp(min(x, 0)) - 1``: no SELECT and no overflow, unlike ``torch.nn.functional.elu`` once lowered."""
    return torch.expm1(torch.clamp(x, max=0.0))


def _exponential(x: Tensor, scale: float, alpha: float) -> Tensor:
    """``scale * x`` for positive x, ``scale * alpha * (exp(x) - 1)`` for negative."""
    if 0 <= alpha <= 1:  # for negative x the exponential lies above the line x: one MAXIMUM
        return torch.maximum(x, alpha * _negative_part(x)) * scale
    return standalone_relu(x) * scale + (scale * alpha) * _negative_part(x)


def _elu(node: Node) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: _exponential(x, 1.0, alpha)


def _selu(node: Node) -> Function:
    alpha, gamma = node.real("alpha", 1.67326319217681884765625), node.real("gamma", 1.05070102214813232421875)
    return lambda x: _exponential(x, gamma, alpha)


def _celu(node: Node) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: _exponential(x * (1 / alpha), 1.0, 1.0) * alpha


def _leaky_relu(node: Node) -> Function:
    alpha = node.real("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


def _prelu(node: Node) -> Function:
    rank, shape = node.rank(), node.shape(1)
    padded = (1,) * (rank - len(shape)) + shape
    slopes = node.array(1)
    if slopes is not None and slopes.min() >= 0 and slopes.max() <= 1:
        # MUL and MAXIMUM: 0.3 ms in int8 at 128x128x32, instead of 4.4 ms for the RELU, MUL and SUB of F.prelu.
        return lambda x, slope: torch.maximum(x, x * slope.reshape(padded))
    return lambda x, slope: standalone_relu(x) - standalone_relu(-x) * slope.reshape(padded)


def _hard_sigmoid(node: Node) -> Function:
    # RELU6 fuses into the operator before it; clamp(0, 1) would be RELU_0_TO_1, which stays float.
    alpha, beta = 6 * node.real("alpha", 0.2), 6 * node.real("beta", 0.5)
    if math.isclose(alpha, 1.0, rel_tol=1e-6):
        return lambda x: F.relu6(x + beta) * _SIXTH
    return lambda x: F.relu6(x * alpha + beta) * _SIXTH


def _hard_swish(x: Tensor) -> Tensor:
    # HARD_SWISH in int8 runs outside XNNPACK (128x128x32: 2.0 ms); ADD with RELU6 and MUL run inside (0.02 ms).
    return F.relu6(x + 3.0) * x * _SIXTH


def _thresholded_relu(node: Node) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _gelu(node: Node) -> Function:
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.unsupported(f"approximate '{approximate}'")
    return lambda x: F.gelu(x, approximate=approximate)


def _swish(node: Node) -> Function:
    alpha = node.real("alpha", 1.0)
    return lambda x: x * torch.sigmoid(x if alpha == 1.0 else x * alpha)


def _clip(node: Node) -> Function:
    if node.version < 11:
        low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    else:
        low, high = node.scalar(1), node.scalar(2)
    low, high = (None if bound is None or math.isinf(bound) else bound for bound in (low, high))
    # As in the standard, the upper bound wins if the bounds cross.
    match low, high:
        case None, None:
            return lambda x: x
        case 0, None:
            return F.relu
        case 0, 6:
            return F.relu6
        case _:
            return lambda x: torch.clamp(x, low, high)


def _softmax(node: Node) -> Function:
    return _softmax_along(node, torch.softmax)


def _log_softmax(node: Node) -> Function:
    return _softmax_along(node, torch.log_softmax)


def _softmax_along(node: Node, function: Callable[[Tensor, int], Tensor]) -> Function:
    if node.version >= 13:
        axis = node.axis(node.integer("axis", -1))
        # Over the channels of NCHW the moves cancel against litert-torch's own, and one SOFTMAX is left. Without them
        # it is written out: REDUCE_MAX, EXP and DIV, which cost 20 dB in int8.
        return lambda x: function(x.movedim(axis, -1), -1).movedim(-1, axis)
    # Before opset 13 all axes from ``axis`` on are flattened.
    axis, shape = node.axis(node.integer("axis", 1)), node.shape()
    if math.prod(shape[axis + 1 :]) == 1:
        return lambda x: function(x, axis)
    rows = math.prod(shape[:axis])
    return lambda x: function(x.reshape(rows, -1), 1).reshape(shape)


def _row(name: str, versions: tuple[int, ...], build: Callable[[Node], Function]) -> OperatorSpec:
    return OperatorSpec(name=name, versions=versions, build=build)


OPERATORS = (
    _row("Relu", (6, 13, 14), _relu),
    _row("LeakyRelu", (6, 16), _leaky_relu),
    _row("PRelu", (7, 9, 16), _prelu),
    _row("Elu", (6, 22), _elu),
    _row("Selu", (6, 22), _selu),
    _row("Celu", (12, 28), _celu),
    _row("ThresholdedRelu", (10, 22), _thresholded_relu),
    OperatorSpec(
        name="Clip",
        versions=(6, 11, 12, 13),
        build=_clip,
        constants=(1, 2),
        covers="0..6 becomes RELU6, 0..inf RELU",
        refuses="computed bounds",
    ),
    _row("Sigmoid", (6, 13), _plain(torch.sigmoid)),
    _row("Tanh", (6, 13), _plain(torch.tanh)),
    _row("HardSigmoid", (6, 22), _hard_sigmoid),
    _row("HardSwish", (14, 22), _plain(_hard_swish)),
    _row("Softplus", (1, 22), _plain(_softplus)),
    _row("Softsign", (1, 22), _plain(F.softsign)),
    _row("Mish", (18, 22), _plain(lambda x: x * torch.tanh(_softplus(x)))),
    _row("Swish", (24,), _swish),
    OperatorSpec(name="Gelu", versions=(20,), build=_gelu, covers="exact and tanh"),
    _row("Erf", (9, 13), _plain(torch.erf)),
    OperatorSpec(
        name="Softmax", versions=(1, 11, 13), build=_softmax, covers="any axis; before opset 13 the flattened rule"
    ),
    OperatorSpec(
        name="LogSoftmax",
        versions=(1, 11, 13),
        build=_log_softmax,
        covers="any axis; before opset 13 the flattened rule",
    ),
)
