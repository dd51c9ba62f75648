"""Constant folding: what a graph computes from constants and static shapes alone is computed once, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edge_vseg.errors import ExportError
from edge_vseg.export.onnx_to_torch.node import Value, describe

_BY_CHANCE = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_DATA_UNREAD = {"Shape": 0, "Size": 0, "CastLike": 1}
"""The input of which an operator reads the shape or the element type only."""

ALWAYS_FOLDED = frozenset({"Constant", "ConstantOfShape", "Range", "Shape", "Size"})
"""Operators outside the table that disappear by folding in every network with static shapes."""


def foldable(proto: onnx.NodeProto, inputs: Sequence[Value | None]) -> bool:
    """Whether a node's outputs are known before the network runs.

    Control flow is never folded: its branches may read tensors that are not listed as inputs.
    """
    if proto.op_type in _BY_CHANCE or any(attribute.HasField("g") for attribute in proto.attribute):
        return False
    unread = _DATA_UNREAD.get(proto.op_type)
    return all(value is None or value.array is not None or index == unread for index, value in enumerate(inputs))


def fold(proto: onnx.NodeProto, inputs: Sequence[Value | None], opsets: Mapping[str, int]) -> tuple[NDArray[Any], ...]:
    """Compute a foldable node with the ONNX reference evaluator.

    An input of which only shape and type are read is replaced by zeros.

    Returns:
        The outputs, in the node's order.

    Raises:
        ExportError: If the evaluator refuses the node.
    """
    feeds = {value.name: _zeros(value) if value.array is None else value.array for value in inputs if value is not None}
    standard = onnx.NodeProto()
    standard.CopyFrom(proto)
    standard.domain = ""  # the evaluator knows the standard by its short name only
    try:
        made = ReferenceEvaluator(standard, opsets=dict(opsets)).run(None, feeds)
    except Exception as exc:  # the evaluator raises whatever numpy, or its own operator, raises
        raise ExportError(
            f"{describe(proto)} has only constant inputs, but the ONNX reference evaluator cannot compute it "
            f"({exc}); check the model with onnx.checker.check_model(full_check=True)"
        ) from exc
    return tuple(np.asarray(array) for array in made)


def _zeros(value: Value) -> NDArray[Any]:
    name = str(value.dtype).removeprefix("torch.")
    return np.broadcast_to(np.zeros((), name), value.shape)
