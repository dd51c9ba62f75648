"""Find the head of a segmentation network and cut off what the device does faster.

A network usually ends in an upsample to full size, a softmax and perhaps an argmax. None of them changes which class
wins at the resolution of the logits, all of them cost time, and warping works on low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import onnx
from onnx import helper

from edge_vseg.errors import HeadError
from edge_vseg.export.graph.class_axis import class_axis, possible_axes
from edge_vseg.export.graph.flat_output import unflatten_output
from edge_vseg.export.graph.head_tail import (
    THRESHOLDS,
    Align,
    align_of,
    axis_behind,
    decision_before,
    find_tail,
    is_probability,
    makes_probabilities,
    planes_behind,
    split_interpolated,
)
from edge_vseg.export.graph.index import GraphIndex, attribute, prune, rewire, set_initializer
from edge_vseg.export.graph.interface import find_image_input
from edge_vseg.types import Size

_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.UINT8)
SCORES, LABELS = "scores", "labels"
_MOST_CLASSES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the cut graph gives.

    Attributes:
        kind: ``scores`` (channels, largest wins) or ``labels`` (a finished map that could not be cut).
        classes: Number of channels; for ``labels`` 2 if it is a mask, and 0 otherwise, for unknown.
        size_hw: Size of the scores or the map.
        cut: Operators removed, in the order in which the network ran them.
        align: How the network's own upsampling placed samples.
        threshold: Where the network as it came gives a single channel: the value above which that is foreground.
        probabilities: Whether the scores are probabilities, for the softmax or sigmoid stays in the graph.
        layout: Where the network as it came gives scores: their layout.
        own_shape: Where it joins or drops axes of its output: the shape that the output has with all of them.
    """

    kind: Literal["scores", "labels"]
    classes: int
    size_hw: Size
    cut: tuple[str, ...]
    align: Align
    threshold: float = 0.0
    probabilities: bool = False
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    own_shape: tuple[int, ...] | None = None


def cut_head(model: onnx.ModelProto, classes: int | None = None) -> tuple[onnx.ModelProto, Head]:
    """Cut the trailing upsample, softmax, sigmoid and argmax of a canonical model.

    A single foreground channel is widened to two, ``-z/2`` and ``z/2``: their softmax is the sigmoid
    of ``z``, and their argmax its threshold at one half. One that is a probability becomes ``1 - p`` and ``p``.

    Where probabilities are upsampled, they stay in the graph, and the head says so: between pixels, the largest of the
    interpolated probabilities is not that of the interpolated logits.

    Args:
        model: A canonical model with one output; not changed.
        classes: Number of classes, if it is known, to tell them from rows and columns.

    Returns:
        The model whose only output is ``scores`` (NCHW float32) or ``labels``, and its head.

    Raises:
        HeadError: If the output is neither a score map nor a label map, or nothing tells where its classes are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    own_shape = unflatten_output(copy)
    cut, head = _cut(copy, classes)
    return cut, replace(head, own_shape=own_shape)


def _cut(copy: onnx.ModelProto, classes: int | None) -> tuple[onnx.ModelProto, Head]:
    """The model, changed in place, and its head."""
    index = GraphIndex(copy)
    found = find_tail(index, copy.graph.output[0].name)
    body = found.body
    if not found.axes or index.dtype(body) in (*_INTEGERS, onnx.TensorProto.BOOL):
        return _keep_whole(copy, index, classes)
    before = is_probability(index, body)
    sigmoid = any("Sigmoid" in node.op_type for node in found.nodes)
    threshold = 0.5 if before or sigmoid else 0.0
    thresholded = any(node.op_type in THRESHOLDS for node in found.nodes) or decision_before(index, body) in THRESHOLDS
    shape = index.shape(body)
    if shape is None or len(shape) != 4:
        raise HeadError(f"the output comes from {body!r} of shape {shape}; expected scores (1, C, H, W) or a label map")
    axis = class_axis(index, body, found.axes, classes, _image_hw(copy))
    last = axis_behind(index, found.nodes, axis)
    kept, tail = split_interpolated(index, found.nodes)
    probable = kept[-1].op_type != "LogSoftmax" if kept else before and not makes_probabilities(tail)
    align: Align = next((a for a in (align_of(index, n) for n in reversed(tail)) if a is not None), "half_pixel")
    if kept:
        body, axis = kept[-1].output[0], cast(int, axis_behind(index, kept, axis))
    name, (channels, *size) = _as_nchw(copy, index, body, [0, axis, *planes_behind(tail, axis)])
    turned = name != body
    if channels > 1 and thresholded:
        raise HeadError(
            f"the network compares each of its {channels} channels with a threshold by itself, so that a pixel may have"
            " many classes or none; export it with the scores as output, before the threshold"
        )
    if channels > _MOST_CLASSES:
        raise HeadError(
            f"the network gives {channels} classes, and a label map holds {_MOST_CLASSES} at most; leave out channels"
            " of its last layer whose classes you do not need, or join some"
        )
    if channels == 1:
        name, channels = _beside_its_rest(copy, name) if probable else _widen(copy, index, name), 2
    _set_output(copy, name, SCORES, onnx.TensorProto.FLOAT, (1, channels, *size))
    cut = tuple(n.op_type for n in tail if not (turned and n.op_type == "Transpose"))
    head = Head(
        kind="scores",
        classes=channels,
        size_hw=(size[0], size[1]),
        cut=cut,
        align=align,
        threshold=threshold,
        probabilities=probable,
        layout="NHWC" if last == 3 else "NCHW",
    )
    return copy, head


def _image_hw(model: onnx.ModelProto) -> Size:
    return cast(Size, find_image_input(model).size_hw)


def _as_nchw(model: onnx.ModelProto, index: GraphIndex, body: str, perm: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The tensor and its ``(C, H, W)``, turned round by ``perm`` where it is anything else."""
    shape = cast(tuple[int, ...], index.shape(body))
    if list(perm) == [0, 1, 2, 3]:
        return body, shape[1:]
    turned = f"{body}.nchw"
    model.graph.node.append(helper.make_node("Transpose", [body], [turned], perm=perm, name=turned))
    return turned, tuple(shape[axis] for axis in perm[1:])


def _beside_its_rest(model: onnx.ModelProto, body: str) -> str:
    """Turn one channel ``p`` into ``(1 - p, p)``."""
    wide = f"{body}.two"
    weight = set_initializer(model.graph, f"{wide}.weight", np.array([-1, 1], np.float32).reshape(2, 1, 1, 1))
    bias = set_initializer(model.graph, f"{wide}.bias", np.array([1, 0], np.float32))
    model.graph.node.append(helper.make_node("Conv", [body, weight, bias], [wide], kernel_shape=[1, 1], name=wide))
    return wide


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
    inputs = [body, set_initializer(model.graph, f"{wide}.weight", halves.reshape(2, 1, 1, 1))]
    model.graph.node.append(helper.make_node("Conv", inputs, [wide], kernel_shape=[1, 1], name=wide))
    return wide


def _keep_whole(model: onnx.ModelProto, index: GraphIndex, classes: int | None) -> tuple[onnx.ModelProto, Head]:
    """A head that cannot be cut: its output is taken as it is."""
    name = _before_casts(index, model.graph.output[0].name)
    shape, dtype = index.shape(name), index.dtype(name)
    if shape is None or None in shape or shape[:1] != (1,):
        raise HeadError(f"output {name!r} has shape {shape}; expected scores (1, C, H, W) or a label map (1, H, W)")
    sizes = cast(tuple[int, ...], shape)
    is_map = len(sizes) == 3 or (len(sizes) == 4 and 1 in (sizes[1], sizes[3]))
    if is_map and dtype in (*_INTEGERS, onnx.TensorProto.BOOL):
        return _keep_map(model, name, sizes, dtype)
    if dtype == onnx.TensorProto.FLOAT and len(sizes) == 4:
        axis = class_axis(index, name, possible_axes(index, name), classes, _image_hw(model))
        if sizes[axis] > 1:
            return _keep_scores(model, index, name, axis)
    last = index.producer[name].op_type if name in index.producer else "the input"
    raise HeadError(
        f"output {name!r} of {last} has shape {shape}; expected scores (1, C, H, W) or a label map (1, H, W):"
        " export the network with its scores as output"
    )


def _keep_scores(model: onnx.ModelProto, index: GraphIndex, name: str, axis: int) -> tuple[onnx.ModelProto, Head]:
    """Scores of several classes, turned to NCHW."""
    probable = is_probability(index, name)
    body, (channels, *size) = _as_nchw(model, index, name, [0, axis, *planes_behind((), axis)])
    _set_output(model, body, SCORES, onnx.TensorProto.FLOAT, (1, channels, *size))
    return model, Head(
        kind="scores",
        classes=channels,
        size_hw=(size[0], size[1]),
        cut=(),
        align="half_pixel",
        probabilities=probable,
        layout="NCHW" if axis == 1 else "NHWC",
    )


def _keep_map(model: onnx.ModelProto, name: str, shape: tuple[int, ...], dtype: int) -> tuple[onnx.ModelProto, Head]:
    """A finished label map, or a mask of booleans, which is one of two classes."""
    size = (shape[1], shape[2]) if len(shape) == 3 or shape[3] == 1 else (shape[2], shape[3])
    flat, mask = f"{name}.map", dtype == onnx.TensorProto.BOOL
    if mask:
        dtype = onnx.TensorProto.UINT8
        model.graph.node.append(helper.make_node("Cast", [name], [f"{name}.uint8"], to=dtype, name=f"{name}.uint8"))
        name = f"{name}.uint8"
    set_initializer(model.graph, f"{flat}.shape", np.array([1, *size], np.int64))
    model.graph.node.append(helper.make_node("Reshape", [name, f"{flat}.shape"], [flat], name=flat))
    _set_output(model, flat, LABELS, dtype, (1, *size))
    return model, Head(kind="labels", classes=2 if mask else 0, size_hw=size, cut=(), align="nearest")


def _before_casts(index: GraphIndex, name: str) -> str:
    """What a label map or mask was before it was made a number of another kind."""
    source, node = name, index.producer.get(name)
    while node is not None and node.op_type in ("Cast", "Identity"):
        source = node.input[0]
        node = index.producer.get(source)
    return source if index.dtype(source) in (*_INTEGERS, onnx.TensorProto.BOOL) else name


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
