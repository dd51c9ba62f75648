"""The layers of a network whose time depends on their number of channels, and small int8 graphs of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_vseg.bundle.layer_times import (
    LAYER_INDEX,
    SCHEMA,
    LayerFolder,
    LayerGraph,
    LayerKind,
    TimedGraph,
    write_json,
)
from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.graph.macs import node_macs
from edge_vseg.export.shrinking.channels import Channel
from edge_vseg.files import make_folder, write_whole

OPSET = 20
SHARES = (1.0, 0.7, 0.45, 0.25)
"""Of a layer's channels, at which it is timed."""
STEP, FINE_STEP, FEW = 8, 4, 32
"""Kernels work on several channels at a time: widths are multiples of the first, of the second in a layer of few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution, transposed convolution or matrix product.

    Attributes:
        weight: Name of its weight.
        kind: All but its number of channels.
        reads: Input channels.
        makes: Output channels.
        read_axis: Axis of the weight with the input channels.
        make_axis: The same of the output channels; equal for a depthwise layer.
    """

    weight: str
    kind: LayerKind
    reads: int
    makes: int
    read_axis: int
    make_axis: int

    def without(self, channels: Mapping[tuple[str, int], int]) -> Layer:
        """The layer after so many slices of each constant and axis were cut."""
        reads = self.reads - channels.get((self.weight, self.read_axis), 0)
        return replace(self, reads=reads, makes=self.makes - channels.get((self.weight, self.make_axis), 0))


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """All layers of a float graph with static shapes whose weights are constants, in order, but for 1-D ones."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    found = (_layer(index, node) for node in index.graph.node)
    return [layer for layer in found if layer is not None]


def slices_cut(channels: Sequence[Channel]) -> dict[tuple[str, int], int]:
    """How many slices of each constant and axis go with some channels."""
    found: dict[tuple[str, int], int] = {}
    for channel in channels:
        for constant, axis, _ in channel.held:
            found[constant, axis] = found.get((constant, axis), 0) + 1
    return found


def _layer(index: GraphIndex, node: onnx.NodeProto) -> Layer | None:
    if not node_macs(index, node) or node.input[1] not in index.initializer:
        return None
    weight, image = (cast("tuple[int, ...]", index.shape(name)) for name in (node.input[1], node.input[0]))
    if node.op_type in ("Gemm", "MatMul"):
        if len(weight) != 2:
            return None
        # A product over rows takes about what a 1x1 convolution over as many pixels takes.
        rows = int(np.prod(image[:-1]))
        kind = LayerKind(
            size_hw=(1, rows), kernel_hw=(1, 1), stride_hw=(1, 1), dilation_hw=(1, 1), pads=(0, 0, 0, 0),
            depthwise=False, transposed=False,
        )  # fmt: skip
        axes = (1, 0) if node.op_type == "Gemm" and attribute(node, "transB", 0) else (0, 1)
    elif len(weight) != 4:
        return None  # over a row, such as the attention of ECA: next to nothing of the time
    else:
        groups = cast(int, attribute(node, "group", 1))
        if groups > 1 and (groups != image[1] or weight[1] != 1):
            return None
        transposed = node.op_type == "ConvTranspose"
        kind = LayerKind(
            size_hw=_pair(image[2:]),
            kernel_hw=_pair(weight[2:]),
            stride_hw=_pair(cast("list[int]", attribute(node, "strides", [1, 1]))),
            dilation_hw=_pair(cast("list[int]", attribute(node, "dilations", [1, 1]))),
            pads=_pads(node, weight),
            depthwise=groups > 1,
            transposed=transposed,
        )
        axes = (0, 0) if groups > 1 else (0, 1) if transposed else (1, 0)
    reads, makes = (weight[axis] for axis in axes)
    return Layer(
        weight=node.input[1], kind=kind, reads=reads, makes=makes, read_axis=axes[0], make_axis=axes[1]
    )  # fmt: skip


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    return numbers[0], numbers[1]


def _pads(node: onnx.NodeProto, weight: tuple[int, ...]) -> tuple[int, int, int, int]:
    pads = cast("list[int]", attribute(node, "pads", [0, 0, 0, 0]))
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        around = [k // 2 for k in weight[2:]]
        pads = [*around, *around]
    return pads[0], pads[1], pads[2], pads[3]


def width_step(count: int) -> int:
    """What the widths of a layer of so many channels are multiples of."""
    return STEP if count >= FEW else FINE_STEP


def widths(count: int) -> list[int]:
    """Numbers of channels at which a layer is timed, the largest first."""
    step = width_step(count)
    found = {count} | {max(step, round(count * share / step) * step) for share in SHARES if count > step}
    return sorted((each for each in found if each <= count), reverse=True)


def write_layers(folder: Path, name: str, model: onnx.ModelProto, int8: onnx.ModelProto) -> LayerFolder:
    """Write a graph for each layer of a network and each width, for a device to time.

    Args:
        folder: Where; made if it is not there.
        name: Of the network.
        model: Its float graph.
        int8: Its int8 graph.
    """
    written: list[LayerGraph] = []
    make_folder(folder)
    for kind, reads, makes in _points(find_layers(model)):
        file = f"{len(written):04}.onnx"
        graph, spec = layer_graph(kind, reads, makes, file)
        write_whole(folder / file, graph.SerializeToString(), flush="system")
        written.append(LayerGraph(kind=kind, reads=reads, makes=makes, graph=spec))
    return write_index(folder, name, int8, written)


def write_index(folder: Path, name: str, int8: onnx.ModelProto, layers: Sequence[LayerGraph] = ()) -> LayerFolder:
    """Write a whole int8 network for a device to time, and the index that lists layers beside it."""
    write_whole(folder / "network.onnx", int8.SerializeToString(), flush="system")
    network = TimedGraph(file="network.onnx", input=_spec(int8.graph.input[0]), output=_spec(int8.graph.output[0]))
    index = LayerFolder(schema=SCHEMA, name=name, network=network, layers=tuple(layers))
    write_json(folder / LAYER_INDEX, index)
    return index


def _points(layers: Sequence[Layer]) -> Iterator[tuple[LayerKind, int, int]]:
    """Kinds and widths to time, each once."""
    seen: dict[tuple[LayerKind, int, int], None] = {}
    for layer in layers:
        for reads in widths(layer.reads):
            for makes in [reads] if layer.kind.depthwise else widths(layer.makes):
                seen[layer.kind, reads, makes] = None
    return iter(seen)


def layer_graph(kind: LayerKind, reads: int, makes: int, file: str) -> tuple[onnx.ModelProto, TimedGraph]:
    """An int8 graph of one layer, uint8 in and out, with random weights."""
    rng = np.random.default_rng(0)
    shape = (reads, 1 if kind.depthwise else makes) if kind.transposed else (makes, 1 if kind.depthwise else reads)
    weight = rng.integers(-127, 128, (*shape, *kind.kernel_hw), np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x.scale", "zero"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "w.scale"], ["wf"]),
        helper.make_node("DequantizeLinear", ["b", "b.scale"], ["bf"]),
        helper.make_node(
            "ConvTranspose" if kind.transposed else "Conv",
            ["xf", "wf", "bf"],
            ["yf"],
            strides=kind.stride_hw,
            dilations=kind.dilation_hw,
            pads=kind.pads,
            group=reads if kind.depthwise else 1,
        ),
        helper.make_node("Relu", ["yf"], ["zf"]),
        helper.make_node("QuantizeLinear", ["zf", "y.scale", "zero"], ["y"]),
    ]
    scales = {"x.scale": 0.02, "w.scale": 0.01, "b.scale": 0.0002, "y.scale": 0.02}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in scales.items()]
    constants += [
        helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
        onnx.numpy_helper.from_array(weight, "w"),
        onnx.numpy_helper.from_array(np.zeros(makes, np.int32), "b"),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, reads, *kind.size_hw])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    timed = TimedGraph(file=file, input=_spec(model.graph.input[0]), output=_spec(model.graph.output[0]))
    return model, timed


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        shape=tuple(d.dim_value for d in tensor.shape.dim),
        dtype=np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name,
        layout="NHWC" if value.name == FRAME else "any",
    )
