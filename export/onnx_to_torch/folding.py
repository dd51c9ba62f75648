"""Constant folding: compute nodes that depend on constants and static shapes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edge_vseg.errors import ExportError
from edge_vseg.export.onnx_to_torch.node import Value, node_description

_RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_METADATA_INPUT = {"Shape": 0, "Size": 0, "CastLike": 1}
"""The input of which the operator reads only the shape or the element type."""

ALWAYS_FOLDED = frozenset({"Constant", "ConstantOfShape", "Range", "Shape", "Size"})
"""Operators outside the table that are always folded when shapes are static."""


def foldable(proto: onnx.NodeProto, inputs: Sequence[Value | None]) -> bool:
    """Whether the outputs of a node are constants.

    Control flow is never folded: its branches may read tensors that are not listed as inputs.
    """
    if proto.op_type in _RANDOM_OPERATORS or any(attribute.HasField("g") for attribute in proto.attribute):
        return False
    metadata = _METADATA_INPUT.get(proto.op_type)
    return all(value is None or value.array is not None or index == metadata for index, value in enumerate(inputs))


def fold(proto: onnx.NodeProto, inputs: Sequence[Value | None], opsets: Mapping[str, int]) -> tuple[NDArray[Any], ...]:
    """Compute a foldable node with the ONNX reference evaluator.

    An input of which only shape and type matter is replaced by zeros.

    Returns:
        The outputs, in the node's order.

    Raises:
        ExportError: If the evaluator fails.
    """
    feeds = {value.name: _zeros(value) if value.array is None else value.array for value in inputs if value is not None}
    standard = onnx.NodeProto()
    standard.CopyFrom(proto)
    standard.domain = ""  # the evaluator does not know "ai.onnx"
    try:
        outputs = ReferenceEvaluator(standard, opsets=dict(opsets)).run(None, feeds)
    except Exception as exc:  # the evaluator lets any exception of numpy or of an operator through
        raise ExportError(
            f"{node_description(proto)} has only constant inputs, but the ONNX reference evaluator cannot compute it "
            f"({exc}); check the model with onnx.checker.check_model(full_check=True)"
        ) from exc
    return tuple(np.asarray(array) for array in outputs)


def _zeros(value: Value) -> NDArray[Any]:
    name = str(value.dtype).removeprefix("torch.")
    return np.broadcast_to(np.zeros((), name), value.shape)
