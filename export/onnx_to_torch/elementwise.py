"""Elementwise arithmetic, comparisons and logic with broadcasting."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from edge_vseg.export.onnx_to_torch.broadcasting import binary
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorBuilder, OperatorSpec


def _unary(function: Callable[[Tensor], Tensor]) -> OperatorBuilder:
    return lambda node: function


def _sub(node: Node) -> Function:
    if node.array(0) is None:
        return binary(operator.sub)(node)
    # litert-converter 0.5 folds ``constant - x`` into a neighbouring convolution as ``x - constant``.
    return binary(lambda a, b: -b + a)(node)


def _div(node: Node) -> Function:
    dtype = node.value(0).dtype
    if dtype is None or not dtype.is_floating_point:
        return lambda a, b: torch.div(a, b, rounding_mode="trunc")
    if node.array(0) is None:
        return binary(operator.truediv)(node)
    # As in _sub: ``constant / x`` next to a convolution becomes ``x / constant``. A power does not.
    return binary(lambda a, b: torch.pow(b, -1.0) * a)(node)


def _pow(node: Node) -> Function:
    dtype = node.value(0).dtype
    return binary(lambda a, b: torch.pow(a, b).to(dtype))(node)


def _mod(node: Node) -> Function:
    # fmod=0 takes the sign of the divisor, fmod=1 that of the dividend.
    return binary(torch.fmod if node.integer("fmod", 0) else operator.mod)(node)


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> OperatorBuilder:
    return lambda node: lambda *tensors: reduce(function, tensors)


def _mean(node: Node) -> Function:
    factor = 1 / len(node.inputs)
    return lambda *tensors: reduce(torch.add, tensors) * factor


def _row(name: str, versions: tuple[int, ...], build: OperatorBuilder, covers: str = "") -> OperatorSpec:
    return OperatorSpec(name=name, versions=versions, build=build, covers=covers)


_ARITHMETIC = (7, 13, 14)
_UNARY = (6, 13)
_LOGIC = (7,)

OPERATORS = (
    _row("Add", _ARITHMETIC, binary(operator.add)),
    _row("Sub", _ARITHMETIC, _sub),
    _row("Mul", _ARITHMETIC, binary(operator.mul)),
    _row("Div", _ARITHMETIC, _div, "integers round towards zero"),
    _row("Pow", (7, 12, 13, 15), _pow),
    _row("Mod", (10, 13, 28), _mod, "both signs"),
    _row("Min", (6, 8, 12, 13), _variadic(torch.minimum)),
    _row("Max", (6, 8, 12, 13), _variadic(torch.maximum)),
    _row("Sum", (6, 8, 13), _variadic(torch.add)),
    _row("Mean", (6, 8, 13), _mean),
    _row("Abs", _UNARY, _unary(torch.abs)),
    _row("Neg", _UNARY, _unary(torch.neg)),
    _row("Sqrt", _UNARY, _unary(torch.sqrt)),
    _row("Exp", _UNARY, _unary(torch.exp)),
    _row("Log", _UNARY, _unary(torch.log)),
    _row("Reciprocal", _UNARY, _unary(lambda x: torch.pow(x, -1.0))),
    _row("Floor", _UNARY, _unary(torch.floor)),
    _row("Ceil", _UNARY, _unary(torch.ceil)),
    _row("Round", (11, 22), _unary(torch.round), "half to even"),
    _row("Sign", (9, 13), _unary(torch.sign)),
    _row("Sin", (7, 22), _unary(torch.sin)),
    _row("Cos", (7, 22), _unary(torch.cos)),
    _row("Equal", (7, 11, 13, 19), binary(operator.eq)),
    _row("Less", (7, 9, 13), binary(operator.lt)),
    _row("LessOrEqual", (12, 16), binary(operator.le)),
    _row("Greater", (7, 9, 13), binary(operator.gt)),
    _row("GreaterOrEqual", (12, 16), binary(operator.ge)),
    _row("And", _LOGIC, binary(torch.logical_and)),
    _row("Or", _LOGIC, binary(torch.logical_or)),
    _row("Xor", _LOGIC, binary(operator.ne)),  # TFLite has no LOGICAL_XOR
    _row("Not", (1,), _unary(torch.logical_not)),
    _row("Where", (9, 16), lambda node: torch.where),
)
