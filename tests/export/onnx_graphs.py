"""Small ONNX graphs, and the runtimes they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_vseg.export.onnx_to_torch import to_torch

Arrays = Sequence[NDArray[Any]]


def one_node(
    op_type: str,
    inputs: Sequence[NDArray[Any] | None],
    *,
    opset: int,
    frozen: Sequence[int] = (),
    outputs: int = 1,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node; the inputs numbered in ``frozen`` are initialisers, ``None`` is an absent one."""
    names = ["" if array is None else f"in{index}" for index, array in enumerate(inputs)]
    made = [f"out{index}" for index in range(outputs)]
    node = helper.make_node(op_type, names, made, name=f"the_{op_type.lower()}", **attributes)
    return model_of([node], dict(zip(names, inputs, strict=True)), made, opset=opset, frozen=frozen)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    arrays: Mapping[str, NDArray[Any] | None],
    outputs: Sequence[str],
    *,
    opset: int,
    frozen: Sequence[int] = (),
) -> onnx.ModelProto:
    """A model with the types and shapes of ``arrays`` as inputs, those numbered in ``frozen`` as initialisers."""
    given = [(name, array) for name, array in arrays.items() if name and array is not None]
    positions = [index for index, (name, array) in enumerate(arrays.items()) if name and array is not None]
    infos, weights = [], []
    for position, (name, array) in zip(positions, given, strict=True):
        if position in frozen:
            weights.append(numpy_helper.from_array(np.asarray(array), name))
        else:
            code = helper.np_dtype_to_tensor_dtype(array.dtype)
            infos.append(helper.make_tensor_value_info(name, code, array.shape))
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "graph", infos, made, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(inferred)
    return inferred


def run_torch(model: onnx.ModelProto, inputs: Arrays) -> list[NDArray[Any]]:
    """The model's outputs through the importer."""
    with torch.no_grad():
        result = to_torch(model)(*(torch.from_numpy(np.array(array)) for array in inputs))
    tensors = result if isinstance(result, tuple) else (result,)
    return [tensor.numpy() for tensor in tensors]


def run_onnxruntime(model: onnx.ModelProto, inputs: Arrays) -> list[NDArray[Any]]:
    """The model's outputs through ONNX Runtime, without graph optimisation."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()]
    return [np.asarray(array) for array in session.run(None, dict(zip(names, inputs, strict=True)))]


def assert_same(model: onnx.ModelProto, inputs: Arrays, *, tolerance: float = 1e-5) -> None:
    """The importer and ONNX Runtime agree on shapes, types and values."""
    for ours, theirs in zip(run_torch(model, inputs), run_onnxruntime(model, inputs), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
