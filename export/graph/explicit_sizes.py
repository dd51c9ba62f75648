"""Write out sizes that opset 18 leaves to be computed: of a Resize of some axes, and of the parts of a Split.

onnxslim reads the sizes of some axes as those of all, and takes all parts of a Split to be equal; OpenVINO ignores how
a Resize keeps an aspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from edge_vseg.errors import ModelFileError
from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer


def write_out_sizes(model: onnx.ModelProto) -> None:
    """Give every Resize sizes or scales for all axes, and every Split the sizes of its parts, in place.

    Args:
        model: Of opset 18 or newer; shapes that computed sizes hide stay as they are.

    Raises:
        ModelFileError: If a Resize keeps an aspect such that its scale and its rounded size differ.
    """
    wanted = [node for node in model.graph.node if _is_open(node)]
    if not wanted:
        return
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if _is_open(node):
            before = _resize(model.graph, node, index) if node.op_type == "Resize" else _split(model.graph, node, index)
            nodes += before
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _is_open(node: onnx.NodeProto) -> bool:
    names = {item.name for item in node.attribute}
    if node.op_type == "Split":
        return "num_outputs" in names
    return node.op_type == "Resize" and bool(names & {"axes", "keep_aspect_ratio_policy"})


def _split(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto]:
    shape, count = index.shape(node.input[0]), len(node.output)
    whole = None if shape is None else shape[int(attribute(node, "axis", 0))]  # type: ignore[call-overload]
    if whole is not None:
        part = math.ceil(whole / count)
        sizes = np.array([part] * (count - 1) + [whole - part * (count - 1)], np.int64)
        del node.input[1:]
        node.input.append(set_initializer(graph, f"{node.output[0]}.parts", sizes))
        _drop(node, "num_outputs")
    return []


def _resize(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto]:
    shape = index.shape(node.input[0])
    if shape is None or attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        return []
    given = attribute(node, "axes") or range(len(shape))
    axes = [axis % len(shape) for axis in given]  # type: ignore[attr-defined]
    by_size = len(node.input) > 3 and bool(node.input[3])
    policy = str(attribute(node, "keep_aspect_ratio_policy", "stretch"))
    if by_size and policy != "stretch":
        scales = _keeping_aspect(node, policy, axes, [shape[axis] for axis in axes], index)
        if scales is None:
            return []
        node.input[2:] = [set_initializer(graph, f"{node.output[0]}.kept", scales), ""]
        by_size = False
    place = 3 if by_size else 2
    before = _for_all_axes(graph, node, place, axes, shape, index)
    node.input[1] = ""
    _drop(node, "axes", "keep_aspect_ratio_policy")
    return before


def _for_all_axes(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    place: int,
    axes: Sequence[int],
    shape: Sequence[int | None],
    index: GraphIndex,
) -> list[onnx.NodeProto]:
    """Have an input of a Resize, its scales or its sizes, speak of all axes; the nodes that this takes."""
    name, where = f"{node.output[0]}.all", np.array(axes, np.int64)
    value = next((_array(each) for each in graph.initializer if each.name == node.input[place]), None)
    value = index.constant(node.input[place]) if value is None else value
    others = [shape[axis] for axis in range(len(shape)) if axis not in axes]
    if value is not None and (place == 2 or None not in others):
        whole = np.array([1 if size is None else size for size in shape]) if place == 3 else np.ones(len(shape))
        whole = whole.astype(value.dtype)
        whole[where] = value
        node.input[place] = set_initializer(graph, name, whole)
        return []
    whole_name = f"{node.output[0]}.before"
    made = []
    if place == 3:
        made.append(helper.make_node("Shape", [node.input[0]], [whole_name], name=whole_name))
    else:
        set_initializer(graph, whole_name, np.ones(len(shape), np.float32))
    places = set_initializer(graph, f"{node.output[0]}.axes", where)
    inputs = [whole_name, places, node.input[place]]
    made.append(helper.make_node("ScatterElements", inputs, [name], name=name, axis=0))
    node.input[place] = name
    return made


def _keeping_aspect(
    node: onnx.NodeProto, policy: str, axes: Sequence[int], sizes: Sequence[int | None], index: GraphIndex
) -> np.ndarray | None:
    """Scales of the axes, all the same; ``None`` if sizes are computed."""
    wanted = index.constant(node.input[3])
    if wanted is None or None in sizes:
        return None
    old = np.array(sizes, np.float64)
    ratios = wanted.astype(np.float64) / old
    scale = np.float32(ratios.min() if policy == "not_larger" else ratios.max())
    rounded = np.floor(old * scale + 0.5)
    # A ratio may lie above the nearest float32: 47 / 40 of 40 is 46.999998, which is cut to 46.
    near = (scale, np.nextafter(scale, np.float32(np.inf)))
    scales = [each for each in near if _makes(each, old, rounded)]
    if not scales:
        size = "x".join(str(int(each)) for each in rounded)
        raise ModelFileError(
            f"Resize {node.name or node.output[0]!r} has keep_aspect_ratio_policy {policy!r}, and its size is rounded"
            f" up to {size}, which its scale of {near[0]:g} does not make; export the network with those sizes, and"
            " without the policy"
        )
    return np.full(len(axes), scales[0], np.float32)


def _makes(scale: np.float32, sizes: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether both a product in float32 and an exact one, cut to integers, are the sizes wanted."""
    in_float32 = sizes.astype(np.float32) * scale
    return bool((np.floor(in_float32) == wanted).all() and (np.floor(sizes * np.float64(scale)) == wanted).all())


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _drop(node: onnx.NodeProto, *names: str) -> None:
    kept = [item for item in node.attribute if item.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
