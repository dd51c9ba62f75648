"""MatMul and Gemm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec


def _matmul(node: Node) -> Function:
    return lambda a, b: torch.matmul(a, b)


def _gemm(node: Node) -> Function:
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    trans_a, trans_b = node.integer("transA", 0), node.integer("transB", 0)
    row = node.has_input(2) and node.shape(2)[:-1] in ((), (1,)) and node.shape(2)[-1:] != (1,)
    if alpha == 1 and beta == 1 and row and not trans_a:
        # One FULLY_CONNECTED; the converter folds the transpose of a constant.
        return lambda a, b, c: F.linear(a, b if trans_b else b.t(), c.reshape(-1))

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        y = (a.t() if trans_a else a) @ (b.t() if trans_b else b)
        y = y if alpha == 1 else y * alpha
        return y if c is None else y + (c if beta == 1 else c * beta)

    return gemm


OPERATORS = (
    OperatorSpec(name="MatMul", versions=(1, 9, 13), build=_matmul, covers="any ranks, with broadcasting"),
    OperatorSpec(
        name="Gemm", versions=(7, 9, 11, 13), build=_gemm, covers="transA, transB, alpha, beta, C with broadcasting"
    ),
)
