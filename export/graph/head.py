"""Find the head of a segmentation network and cut off what the device does faster.

A network usually ends in an upsample to full size, a softmax and perhaps an argmax. None of them changes which class
wins at the resolution of the logits, all of them cost time, and warping works on low-resolution logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import onnx
from onnx import helper

from edge_vseg.errors import HeadError
from edge_vseg.export.graph.index import GraphIndex, attribute, prune, rewire, set_initializer
from edge_vseg.types import Size

Align = Literal["half_pixel", "align_corners", "asymmetric", "nearest"]

_ANYWHERE = ("Transpose", "Cast", "Identity", "Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Resize", "ArgMax")
_AFTER_ARGMAX = ("Squeeze", "Unsqueeze", "Reshape", "Flatten")
_LINEAR_ALIGN = {"half_pixel": "half_pixel", "align_corners": "align_corners", "asymmetric": "asymmetric"}
_LINEAR_ALIGN["pytorch_half_pixel"] = "half_pixel"
_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.UINT8)
SCORES, LABELS = "scores", "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the cut graph gives.

    Attributes:
        kind: ``scores`` (channels, largest wins) or ``labels`` (a finished map that could not be cut).
        classes: Number of channels; 0 for ``labels``.
        size_hw: Size of the scores or the map.
        cut: Operators removed, in the order in which the network ran them.
        align: How the network's own upsampling placed samples.
    """

    kind: Literal["scores", "labels"]
    classes: int
    size_hw: Size
    cut: tuple[str, ...]
    align: Align


def cut_head(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Head]:
    """Cut the trailing upsample, softmax, sigmoid and argmax of a canonical model.

    A single foreground channel is widened to two, ``-z/2`` and ``z/2``: their softmax is the sigmoid
    of ``z``, and their argmax its threshold at one half.

    Args:
        model: A canonical model with one output; not changed.

    Returns:
        The model whose only output is ``scores`` (NCHW float32) or ``labels``, and its head.

    Raises:
        HeadError: If the output is neither a score map nor a label map.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    index = GraphIndex(copy)
    body, walked = _walk_back(index, copy.graph.output[0].name)
    tail = _valid_tail(index, walked)
    if tail is None or index.dtype(body) in (*_INTEGERS, onnx.TensorProto.BOOL):
        return _keep_whole(copy, index)
    shape = index.shape(body)
    if shape is None or len(shape) != 4:
        raise HeadError(f"the output comes from {body!r} of shape {shape}; expected scores (1, C, H, W) or a label map")
    channels, size = cast(int, shape[1]), cast(Size, shape[2:])
    name = body
    if channels == 1:
        name, channels = _widen(copy, index, body), 2
    _set_output(copy, name, SCORES, onnx.TensorProto.FLOAT, (1, channels, *size))
    align: Align = next((a for a in (_align(n) for n in reversed(tail)) if a is not None), "half_pixel")
    cut = tuple(n.op_type for n in tail)
    return copy, Head(kind="scores", classes=channels, size_hw=size, cut=cut, align=align)


def _walk_back(index: GraphIndex, name: str) -> tuple[str, list[onnx.NodeProto]]:
    """The tensor before the longest run of operators that a head may end in, and that run in order."""
    tail: list[onnx.NodeProto] = []
    node = index.producer.get(name)
    depends_on_argmax = _has_argmax(index, name)
    while node is not None and node.op_type in (_ANYWHERE + _AFTER_ARGMAX if depends_on_argmax else _ANYWHERE):
        if node.op_type == "Resize" and _align(node) is None:
            break
        tail.insert(0, node)
        name = node.input[0]
        depends_on_argmax = depends_on_argmax and node.op_type != "ArgMax"
        node = index.producer.get(name)
    return name, tail


def _has_argmax(index: GraphIndex, name: str) -> bool:
    node = index.producer.get(name)
    while node is not None and node.op_type in _ANYWHERE + _AFTER_ARGMAX:
        if node.op_type == "ArgMax":
            return True
        node = index.producer.get(node.input[0])
    return False


def _valid_tail(index: GraphIndex, tail: list[onnx.NodeProto]) -> list[onnx.NodeProto] | None:
    """The tail if every operator in it works along the class axis, else ``None``."""
    axis, decided = 1, False
    for node in tail:
        if decided and node.op_type not in ("Cast", "Identity", "Transpose", *_AFTER_ARGMAX):
            return None
        match node.op_type:
            case "Transpose" if not decided:
                axis = list(cast(list[int], attribute(node, "perm"))).index(axis)
            case "Softmax" | "LogSoftmax" | "ArgMax":
                default = 0 if node.op_type == "ArgMax" else -1
                if cast(int, attribute(node, "axis", default)) % 4 != axis:
                    return None
                decided = node.op_type == "ArgMax"
            case "Resize":
                before, after = index.shape(node.input[0]), index.shape(node.output[0])
                if before is None or after is None or before[axis] != after[axis] or before[0] != after[0]:
                    return None
    return tail


def _align(node: onnx.NodeProto) -> Align | None:
    """How a Resize places samples; ``None`` for other operators and for ways the device cannot repeat."""
    if node.op_type != "Resize":
        return None
    mode = attribute(node, "mode", "nearest")
    if mode == "linear" and not attribute(node, "antialias", 0):
        where = cast(str, attribute(node, "coordinate_transformation_mode", "half_pixel"))
        return cast("Align | None", _LINEAR_ALIGN.get(where))
    return "nearest" if mode == "nearest" else None


def _widen(model: onnx.ModelProto, index: GraphIndex, body: str) -> str:
    """Turn one channel ``z`` into ``(-z/2, z/2)``, inside the last convolution where that is possible."""
    node = index.producer.get(body)
    # Bilinear resizing acts on each channel alone, so the widening may move before it.
    halves = np.array([-0.5, 0.5], np.float32)
    if node is not None and node.op_type in ("Conv", "ConvTranspose") and attribute(node, "group", 1) == 1:
        weight = index.constant(node.input[1])
        bias = index.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
        if weight is not None and bias is not None and len(index.consumers.get(body, [])) <= 1:
            axis = 0 if node.op_type == "Conv" else 1
            shape = [1] * weight.ndim
            shape[axis] = 2
            set_initializer(model.graph, f"{body}.weight2", weight.astype(np.float32) * halves.reshape(shape))
            set_initializer(model.graph, f"{body}.bias2", bias.astype(np.float32) * halves)
            del node.input[1:]
            node.input.extend([f"{body}.weight2", f"{body}.bias2"])
            return body
    wide = f"{body}.two"
    set_initializer(model.graph, f"{wide}.weight", halves.reshape(2, 1, 1, 1))
    model.graph.node.append(helper.make_node("Conv", [body, f"{wide}.weight"], [wide], kernel_shape=[1, 1], name=wide))
    return wide


def _keep_whole(model: onnx.ModelProto, index: GraphIndex) -> tuple[onnx.ModelProto, Head]:
    """A head that cannot be cut: its output is taken as it is."""
    name = model.graph.output[0].name
    shape, dtype = index.shape(name), index.dtype(name)
    if shape is None or None in shape or shape[:1] != (1,):
        raise HeadError(f"output {name!r} has shape {shape}; expected scores (1, C, H, W) or a label map (1, H, W)")
    sizes = cast(tuple[int, ...], shape)
    integer = dtype in _INTEGERS
    if integer and (len(sizes) == 3 or (len(sizes) == 4 and 1 in (sizes[1], sizes[3]))):
        size = (sizes[1], sizes[2]) if len(sizes) == 3 or sizes[3] == 1 else (sizes[2], sizes[3])
        flat = f"{name}.map"
        set_initializer(model.graph, f"{flat}.shape", np.array([1, *size], np.int64))
        model.graph.node.append(helper.make_node("Reshape", [name, f"{flat}.shape"], [flat]))
        _set_output(model, flat, LABELS, dtype, (1, *size))
        return model, Head(kind="labels", classes=0, size_hw=size, cut=(), align="nearest")
    if dtype == onnx.TensorProto.FLOAT and len(sizes) == 4 and sizes[1] > 1:
        size = (sizes[2], sizes[3])
        _set_output(model, name, SCORES, dtype, sizes)
        return model, Head(kind="scores", classes=sizes[1], size_hw=size, cut=(), align="half_pixel")
    raise HeadError(f"output {name!r} has shape {shape}; expected scores (1, C, H, W) or a label map (1, H, W)")


def _set_output(model: onnx.ModelProto, name: str, new: str, dtype: int, shape: tuple[int, ...]) -> None:
    graph = model.graph
    for node in graph.node:
        for i, output in enumerate(node.output):
            if output == name:
                node.output[i] = new
    rewire(graph, name, new)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(new, dtype, list(shape)))
    prune(model)
