"""Let every channel use the whole range of its tensor.

int8 activations have one step for all channels of a tensor, so a weak channel next to a strong one keeps
few levels. Tensors that are linked by sums and positively homogeneous operators (ReLU, pooling, resizing)
form a group; if only convolutions write and read it, channel i of the whole group may be divided by
``s_i`` where it is written and multiplied by it where it is read, without changing the network.
Per-channel weights do not feel it in the writers, nor in depthwise readers.

References: Nagel et al., Data-Free Quantization, 2019, section 4.1 (pairs of layers); Xiao et al.,
SmoothQuant, 2023, eq. 4 (balance between activation and weight). Here groups run through residual sums,
and the ranges are those of calibration frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex, attribute, prune, set_initializer

_UNARY = ("Relu", "LeakyRelu", "Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "Pad", "Resize")
MAX_GAIN = 64.0
BALANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Tensors that share their channels, all written and read by convolutions.

    Attributes:
        tensors: The tensors.
        writers: Names of the convolutions that write them.
        readers: Names of the convolutions that read them.
    """

    tensors: tuple[str, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]


def find_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """All groups of tensors whose channels may be rescaled together."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    outputs = {o.name for o in model.graph.output}
    members: dict[str, list[str]] = {}
    root: dict[str, str] = {}
    for node in model.graph.node:
        name = node.output[0]
        root[name] = name
        members[name] = [name]
        if not _links(node, index):
            continue
        for read in node.input if node.op_type == "Add" else node.input[:1]:
            if read in root and root[read] != root[name]:
                gone, kept = root[read], root[name]
                for tensor in members.pop(gone):
                    root[tensor] = kept
                    members[kept].append(tensor)
    found = (_as_group(index, tensors, outputs) for tensors in members.values())
    return [group for group in found if group is not None]


def equalize(
    model: onnx.ModelProto, channel_reach: Mapping[str, NDArray[np.float64]], *, balance: float = BALANCE
) -> onnx.ModelProto:
    """Rescale the channels of every group.

    Args:
        model: A float graph; not changed.
        channel_reach: Largest magnitude ``(C,)`` of each tensor of the groups on calibration frames.
        balance: 0 leaves the channels as they are, 1 gives all of them the same reach; between them the
            weights of the readers share the burden. Groups with only depthwise readers always take 1.

    Returns:
        A graph that computes the same.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = {node.name: node for node in copy.graph.node}
    for group in find_groups(copy):
        reaches = [channel_reach[t] / channel_reach[t].max() for t in group.tensors if channel_reach[t].max() > 0]
        if not reaches:
            continue
        index = GraphIndex(copy)
        reach = np.maximum(np.max(reaches, axis=0), 1 / MAX_GAIN)
        readers = [nodes[name] for name in group.readers]
        depthwise = all(attribute(node, "group", 1) == len(reach) for node in readers)
        scale = reach ** (1.0 if depthwise else balance)
        for name in group.writers:
            _divide_outputs(copy, index, nodes[name], scale)
        for node in readers:
            _multiply_inputs(copy, node, scale)
    prune(copy)
    return copy


def _as_group(index: GraphIndex, tensors: Sequence[str], outputs: set[str]) -> ChannelGroup | None:
    """The group of linked tensors, or ``None`` if anything but convolutions has a part in it."""
    inside, writers, readers = set(tensors), [], []
    for tensor in tensors:
        writer = index.producer[tensor]
        if tensor in outputs:
            return None
        if _is_conv(writer, index):
            writers.append(writer.name)
        elif not _links(writer, index) or any(t not in inside for t in _data_inputs(writer)):
            return None
        for reader in index.consumers.get(tensor, []):
            if _is_conv(reader, index) and reader.input[0] == tensor:
                readers.append(reader.name)
            elif reader.output[0] not in inside:
                return None
    if not writers or not readers:
        return None
    return ChannelGroup(tensors=tuple(tensors), writers=tuple(writers), readers=tuple(dict.fromkeys(readers)))


def _divide_outputs(
    model: onnx.ModelProto, index: GraphIndex, node: onnx.NodeProto, scale: NDArray[np.float64]
) -> None:
    weight = np.asarray(_fresh(model, node.input[1]), np.float64) / scale[:, None, None, None]
    node.input[1] = set_initializer(model.graph, f"{node.output[0]}.weight_even", weight.astype(np.float32))
    if len(node.input) > 2:
        bias = np.asarray(index.constant(node.input[2]), np.float64) / scale
        node.input[2] = set_initializer(model.graph, f"{node.output[0]}.bias_even", bias.astype(np.float32))


def _multiply_inputs(model: onnx.ModelProto, node: onnx.NodeProto, scale: NDArray[np.float64]) -> None:
    weight = np.asarray(_fresh(model, node.input[1]), np.float64)
    group, (outputs, inputs) = cast(int, attribute(node, "group", 1)), weight.shape[:2]
    by_output = np.repeat(scale.reshape(group, inputs), outputs // group, axis=0)
    weight = weight * by_output[:, :, None, None]
    node.input[1] = set_initializer(model.graph, f"{node.output[0]}.weight_even", weight.astype(np.float32))


def _fresh(model: onnx.ModelProto, name: str) -> NDArray[np.generic]:
    """A weight as it is now: a convolution may be writer of one group and reader of another."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _is_conv(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a node is a convolution over an image, with constant weights."""
    constant = all(name in index.initializer for name in node.input[1:])
    return node.op_type == "Conv" and constant and len(index.initializer[node.input[1]].dims) == 4


def _links(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether scaling the channels of what a node reads scales those of what it writes."""
    match node.op_type:
        case "Add":
            shapes = [index.shape(name) for name in (*node.input, node.output[0])]
            return all(name in index.producer for name in node.input) and None not in shapes and len(set(shapes)) == 1
        case "Pad":
            value = index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
            zeros = attribute(node, "mode", "constant") == "constant" and value is not None and not np.any(value)
            return zeros and not _pads_channels(node, index)
        case _:
            return node.op_type in _UNARY and _channels(node.input[0], index) == _channels(node.output[0], index)


def _pads_channels(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a Pad adds or drops channels, or may: where it adds some and drops as many, they move."""
    pads, shape = index.constant(node.input[1]), index.shape(node.input[0])
    axes = index.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else np.arange(len(shape or ()))
    if pads is None or axes is None or not shape:
        return True
    return bool(pads.reshape(2, -1)[:, axes % len(shape) == 1].any())


def _channels(name: str, index: GraphIndex) -> int | None:
    shape = index.shape(name)
    return shape[1] if shape is not None and len(shape) > 1 else None


def _data_inputs(node: onnx.NodeProto) -> list[str]:
    return list(node.input) if node.op_type == "Add" else list(node.input[:1])
