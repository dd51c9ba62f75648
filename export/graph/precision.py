"""Bring a model in half or double precision to float32, which all quantizers and runtimes start from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OTHER = (*_HALF, TensorProto.DOUBLE)
_TYPE_ATTRIBUTES = ("to", "dtype")


def is_half(model: onnx.ModelProto) -> bool:
    """Whether the model computes in float16 or bfloat16, in part or as a whole."""
    weights = any(tensor.data_type in _HALF for tensor in model.graph.initializer)
    ends = (*model.graph.input, *model.graph.output)
    return weights or any(value.type.tensor_type.elem_type in _HALF for value in ends)


def is_double(model: onnx.ModelProto) -> bool:
    """Whether the model takes its image in double precision, for which ONNX Runtime has no convolutions."""
    return any(value.type.tensor_type.elem_type == TensorProto.DOUBLE for value in model.graph.input)


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that computes everything in float32; its weights keep the values that they have.

    The casts between both precisions that converters leave are then casts from float32 to float32, which
    simplification removes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _convert_graph(copy.graph)
    return copy


def _convert_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _convert_tensor(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _OTHER:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    _convert_nodes(graph.node)


def _convert_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _convert_tensor(tensor)
            # To touch a graph that is not there would make one, and the attribute invalid.
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _convert_graph(inner)
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _OTHER:
                attribute.i = TensorProto.FLOAT


def _convert_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _OTHER:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
