"""float16 for ONNX Runtime: weights and compute, with casts where float32 remains."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.errors import QuantizationError
from edge_vseg.export.graph.index import GraphIndex, prune
from edge_vseg.export.quantization.float16_nodes import LARGEST, Float16Nodes

RECIPE = "float16"
_HALF = ".float16"
_FULL = ".float32"


def to_float16(model: onnx.ModelProto, nodes: Float16Nodes) -> onnx.ModelProto:
    """A copy of a float graph that computes some nodes in float16; it takes and gives what the original does.

    Every tensor keeps its name in the precision in which it is computed, so slices are cut by the same names; its copy
    in the other precision is named ``NAME.float16`` or ``NAME.float32``.

    Args:
        model: A canonical float graph.
        nodes: Those in float16.

    Raises:
        QuantizationError: If the result is no valid graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    writer = _Writer(index=GraphIndex(onnx.shape_inference.infer_shapes(model)), halved=set(nodes.names))
    writer.give_outputs(copy.graph)
    for node in copy.graph.node:
        writer.add(node)
    del copy.graph.node[:]
    copy.graph.node.extend([*writer.nodes, *writer.results])
    copy.graph.initializer.extend(writer.constants)
    prune(copy)
    try:
        onnx.checker.check_model(copy, full_check=True)
    except Exception as exc:  # the checker and shape inference raise kinds of their own
        raise QuantizationError(f"the float16 graph is not valid: {exc}") from exc
    return copy


def as_if_float16(model: onnx.ModelProto, nodes: Float16Nodes) -> onnx.ModelProto:
    """A float32 graph that rounds weights and results of the nodes as float16 does, on whatever it runs.

    A CPU without float16 kernels leaves out the roundings of :func:`to_float16`'s graph, so that graph shows there what
    rounding the weights costs, and not what a GPU gives. Sums inside an operator are of float32 here, as on a GPU.

    Args:
        model: A canonical float graph.
        nodes: Those in float16.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    read = {name for node in copy.graph.node if node.output[0] in nodes.names for name in node.input}
    for tensor in copy.graph.initializer:
        if tensor.name in read and tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(_rounded(numpy_helper.to_array(tensor)), tensor.name))
    written: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        written.append(node)
        for at, name in enumerate(node.output):
            if name in nodes.names:
                node.output[at] = f"{name}.exact"
                written.append(_cast(node.output[at], name + _HALF, TensorProto.FLOAT16))
                written.append(_cast(name + _HALF, name, TensorProto.FLOAT))
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in written]
    del copy.graph.node[:]
    copy.graph.node.extend(made)
    del copy.graph.value_info[:]
    return copy


def _rounded(value: NDArray[np.generic]) -> NDArray[np.float32]:
    # Bounds, such as those of a Clip without an end, are all that may lie outside.
    return np.clip(value.astype(np.float32), -LARGEST, LARGEST).astype(np.float16).astype(np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class _Writer:
    """Writes nodes one by one, each behind the casts that it needs.

    Attributes:
        index: The float graph.
        halved: Tensors that are computed in float16.
        nodes: What is written.
        results: Casts of the graph's own outputs back to float32.
        constants: Weights in float16.
    """

    index: GraphIndex
    halved: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    results: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    _made: set[str] = field(default_factory=set)

    def give_outputs(self, graph: onnx.GraphProto) -> None:
        """Compute outputs under another name, since their own belongs to a float32 tensor."""
        for output in graph.output:
            if output.name not in self.halved:
                continue
            inner = output.name + _HALF
            for node in graph.node:
                for names in (node.input, node.output):
                    for at, name in enumerate(names):
                        if name == output.name:
                            names[at] = inner
            self.halved.remove(output.name)
            self.halved.add(inner)
            self.results.append(_cast(inner, output.name, TensorProto.FLOAT))

    def add(self, node: onnx.NodeProto) -> None:
        """Write a node, its inputs in its own precision."""
        half = node.output[0] in self.halved
        for at, name in enumerate(node.input):
            node.input[at] = self._as_half(name) if half else self._as_full(name)
        written = onnx.NodeProto()
        written.CopyFrom(node)
        self.nodes.append(written)

    def _as_half(self, name: str) -> str:
        if not name or name in self.halved or self.index.dtype(name) != TensorProto.FLOAT:
            return name
        if name not in self.index.initializer:
            return self._cast_once(name, name + _HALF, TensorProto.FLOAT16)
        if name + _HALF not in self._made:
            self._made.add(name + _HALF)
            value = _rounded(np.asarray(self.index.constant(name))).astype(np.float16)
            self.constants.append(numpy_helper.from_array(value, name + _HALF))
        return name + _HALF

    def _as_full(self, name: str) -> str:
        return self._cast_once(name, name + _FULL, TensorProto.FLOAT) if name in self.halved else name

    def _cast_once(self, source: str, target: str, dtype: int) -> str:
        if target not in self._made:
            self._made.add(target)
            self.nodes.append(_cast(source, target, dtype))
        return target


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=dtype)
