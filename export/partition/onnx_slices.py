"""Cut an ONNX graph, float, float16 or QDQ, into slices.

A QDQ graph is cut behind a QuantizeLinear: the slice before hands over integers, the one after begins with the
DequantizeLinear that it needs anyway. The operators that ONNX Runtime fuses stay together, so chained slices
give the very bits of the whole graph; a CPU without float16 kernels computes float16 in float32, and rounds where
slices begin. Integers are handed over in NHWC, in which ONNX Runtime's int8 kernels work: each slice would else
transpose them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import onnx
from onnx import helper

from edge_vseg.errors import ExportError
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.data_flow import DataFlow

_ABSORBED = ("Relu", "Clip")
NHWC = ".nhwc"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Border:
    """A tensor that is handed over.

    Attributes:
        name: In the graph that is cut.
        shape: There.
        dtype: ONNX element type.
        turned: Whether it is handed over in NHWC.
    """

    name: str
    shape: tuple[int, ...]
    dtype: int
    turned: bool

    @property
    def value(self) -> onnx.ValueInfoProto:
        """The input or output of a slice."""
        shape = (self.shape[0], *self.shape[2:], self.shape[1]) if self.turned else self.shape
        return helper.make_tensor_value_info(self.name + NHWC * self.turned, self.dtype, shape)


def cut_onnx(model: onnx.ModelProto, flow: DataFlow, parts: Sequence[Part]) -> list[onnx.ModelProto]:
    """Cut a graph that was made from a canonical one.

    Args:
        model: The graph, float or QDQ; not changed.
        flow: The canonical graph that the parts speak of.
        parts: The slices.

    Returns:
        A graph for each part; a tensor has the same name in the graph that gives it and in those that read it.

    Raises:
        ExportError: If the graph does not have a tensor that a part speaks of, or a part needs more than it
            says.
    """
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))

    def borders(tensors: Sequence[str]) -> list[_Border]:
        return [_border(name, index, flow) for name in tensors]

    return [_extract(model, index, borders(part.inputs), borders(part.outputs)) for part in parts]


def _border(name: str, index: GraphIndex, flow: DataFlow) -> _Border:
    """How a canonical tensor is handed over: quantized if all its readers want it quantized."""
    known = cast("tuple[int, ...]", flow.index.shape(name))
    if name in (flow.image, flow.output):
        return _Border(name=name, shape=known, dtype=index.dtype(name), turned=False)
    source = flow.index.producer[name]
    while name not in index.producer and source.op_type in _ABSORBED:
        # The quantizer drops an activation whose bounds are those of the integers behind it.
        name = source.input[0]
        source = flow.index.producer[name]
    if name not in index.producer:
        raise ExportError(f"the graph has no tensor {name!r} to cut at")
    readers = index.consumers.get(name, [])
    if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
        quantize = readers[0]
        rounded = quantize.output[0]
        while (after := index.consumers.get(rounded, [])) and after[0].op_type in ("Transpose", "Reshape"):
            rounded = after[0].output[0]  # of a first convolution that writes several pixels in one place
        shape = _shape(rounded, index, known)
        default = int(cast(int, attribute(quantize, "output_dtype", onnx.TensorProto.UINT8)))
        dtype = index.dtype(quantize.input[2]) if len(quantize.input) > 2 else default
        return _Border(name=rounded, shape=shape, dtype=dtype, turned=len(shape) == 4)
    dtype = index.dtype(name) or onnx.TensorProto.FLOAT
    return _Border(name=name, shape=_shape(name, index, known), dtype=dtype, turned=False)


def _shape(name: str, index: GraphIndex, canonical: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's own shape, for an int8 graph may have more channels than the canonical one."""
    own = index.shape(name)
    return canonical if own is None or None in own else cast("tuple[int, ...]", own)


def _extract(
    model: onnx.ModelProto, index: GraphIndex, inputs: Sequence[_Border], outputs: Sequence[_Border]
) -> onnx.ModelProto:
    known, needed = {border.name for border in inputs}, set()
    pending = [border.name for border in outputs]
    while pending:
        name = pending.pop()
        if name in known or not name:
            continue
        if name not in index.producer:
            if name not in index.initializer:
                raise ExportError(f"a slice needs {name!r}, which is not among its inputs")
            continue
        node = index.producer[name]
        if node.output[0] not in needed:
            needed.add(node.output[0])
            pending.extend(node.input)
    nodes = [node for node in model.graph.node if node.output[0] in needed]
    used = {name for node in nodes for name in node.input}
    before = [_turn(border.name + NHWC, border.name, (0, 3, 1, 2)) for border in inputs if border.turned]
    after = [_turn(border.name, border.name + NHWC, (0, 2, 3, 1)) for border in outputs if border.turned]
    graph = helper.make_graph(
        [*before, *nodes, *after],
        "slice",
        [border.value for border in inputs],
        [border.value for border in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(made)
    return made


def _turn(source: str, target: str, perm: tuple[int, ...]) -> onnx.NodeProto:
    return helper.make_node("Transpose", [source], [target], name=f"{target}.turn", perm=perm)
