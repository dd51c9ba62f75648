"""Write max-unpooling, as ENet and SegNet have it, by comparisons: TFLite has no indices of maxima, nor a scatter.

A pool whose windows do not overlap gives maxima and where they were; an unpooling puts other numbers there, among
zeros. Which pixel of its window won is known from comparing each with the maximum: a number goes to the first that
equals it, as the standard says of equal pixels, which are frequent in int8 and behind a ReLU. So no index is computed.

``torch.onnx`` writes an unpooling as arithmetic with indices and a ScatterND, others as MaxUnpool or ScatterElements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, described_tensors, prune, set_initializer, sort_nodes

_SCATTERS = {"MaxUnpool": (1, 0), "ScatterND": (1, 2), "ScatterElements": (1, 2)}
"""Which inputs are indices, and what is put there."""
_SHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unpooling:
    """What an unpooling reads and writes, and the nodes between.

    Attributes:
        image: What was pooled, ``(N, C, H, W)``.
        pooled: Its maxima, ``(N, C, h, w)``.
        values: What is put there, of the same shape or in a row.
        output: The result, of its shape or in a row.
        shape: ``(N, C, H', W')``.
        window: Its side.
        nodes: All that makes ``output`` of ``image`` and ``values``.
    """

    image: str
    pooled: str
    values: str
    output: str
    shape: Shape
    window: int
    nodes: tuple[onnx.NodeProto, ...]


def simplify_unpooling(model: onnx.ModelProto) -> None:
    """Replace unpoolings by the indices of pools without overlap, in place; others stay as they are.

    One is recognized by what it computes for random numbers, so the many forms in which it is written do not matter.

    Args:
        model: A graph with static shapes, its nodes in order; shapes of what is new are not recorded.
    """
    if not any(node.op_type in _SCATTERS for node in model.graph.node):
        return
    index = GraphIndex(model)
    made: list[onnx.NodeProto] = []
    for scatter in [node for node in model.graph.node if node.op_type in _SCATTERS]:
        for found in _candidates(index, scatter):
            if _unpools(model, index, found):
                made += _comparisons(model.graph, index, found)
                _free(index, found.output)
                break
    if not made:
        return
    model.graph.node.extend(made)
    sort_nodes(model.graph)
    prune(model, described_tensors(model))
    _drop_unread_indices(model.graph)


def _candidates(index: GraphIndex, scatter: onnx.NodeProto) -> Iterator[_Unpooling]:
    places_at, values_at = _SCATTERS[scatter.op_type]
    nodes_of_indices = _behind_pools(index, scatter.input[places_at])
    pools = [node for node in nodes_of_indices if node.op_type == "MaxPool"]
    main = [node for node in pools if _window(node) > 1]
    if len(main) != 1 or any(pool.input[0] != main[0].input[0] for pool in pools):
        return
    (pool,) = main
    small, image = index.shape(pool.output[0]), index.shape(pool.input[0])
    if small is None or image is None or None in (*small, *image):
        return
    before, values = _reshaped_before(index, scatter.input[values_at], small)
    known = {"image": pool.input[0], "pooled": pool.output[0], "values": values, "window": _window(pool)}
    after = [scatter]
    while (readers := index.consumers.get(after[-1].output[0], [])) and readers[0].op_type in _SHAPING:
        if len(readers) > 1:
            break
        after.append(readers[0])
    for last in range(len(after), 0, -1):
        written = after[last - 1].output[0]
        large = index.shape(written)
        if large is None or None in large:
            continue
        if len(large) != 4 and np.prod(cast(Shape, large)) == np.prod(cast(Shape, image)):
            large = image  # all in a row
        if len(large) == 4 and large[:2] == image[:2] == small[:2]:
            nodes = (*nodes_of_indices, *before, *after[:last])
            yield _Unpooling(**known, output=written, shape=cast(Shape, large), nodes=nodes)


def _reshaped_before(index: GraphIndex, name: str, shape: tuple[int | None, ...]) -> tuple[list[onnx.NodeProto], str]:
    """The nodes that only shape a tensor, and what it was when it had a shape; none, and itself, if it never had."""
    nodes, first = list[onnx.NodeProto](), name
    while index.shape(first) != shape:
        node = index.producer.get(first)
        if node is None or node.op_type not in _SHAPING:
            return [], name
        nodes.insert(0, node)
        first = node.input[0]
    return nodes, first


def _behind_pools(index: GraphIndex, name: str) -> list[onnx.NodeProto]:
    """The nodes that compute a tensor, from pools on, in order; none if it depends on anything but their indices."""
    found: dict[str, onnx.NodeProto] = {}

    def visit(name: str) -> bool:
        if not name or index.constant(name) is not None or name in found:
            return True
        node = index.producer.get(name)
        if node is None or (node.op_type == "MaxPool" and name == node.output[0]):
            return False
        if node.op_type != "MaxPool" and not all(map(visit, node.input)):
            return False
        found[name] = node
        return True

    return list(found.values()) if visit(name) else []


def _window(pool: onnx.NodeProto) -> int:
    """Side of the windows of a pool; 0 if they overlap, leave gaps, or are not square."""
    kernel = cast("list[int]", attribute(pool, "kernel_shape", []))
    axes = len(kernel)
    plain = attribute(pool, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(
        cast("list[int]", attribute(pool, "pads", []))
    )
    strides, dilations = attribute(pool, "strides", [1] * axes), attribute(pool, "dilations", [1] * axes)
    if axes != 2 or not plain or strides != kernel or dilations != [1, 1] or kernel[0] != kernel[1]:
        return 0
    return int(kernel[0])


def _unpools(model: onnx.ModelProto, index: GraphIndex, found: _Unpooling) -> bool:
    """Whether the nodes put random numbers where the maxima of random ones were, zeros tied among them."""
    rng = np.random.default_rng(0)
    image, small = (cast(Shape, index.shape(name)) for name in (found.image, found.pooled))
    pixels = np.maximum(rng.normal(size=image), 0).astype(np.float32)
    values = rng.normal(size=small).astype(np.float32)
    try:
        made = _run(model, index, found, pixels, values.reshape(cast(Shape, index.shape(found.values))))
        return np.array_equal(made.reshape(found.shape), _expected(pixels, values, found.shape, found.window))
    except Exception:  # numbers of another count, or indices beyond what is written to
        return False


def _expected(
    pixels: NDArray[np.float32], values: NDArray[np.float32], shape: Shape, window: int
) -> NDArray[np.float32]:
    rows, columns = values.shape[2:]
    fill = [(0, 0), (0, 0), (0, max(rows * window - shape[2], 0)), (0, max(columns * window - shape[3], 0))]
    padded = np.pad(pixels, fill, constant_values=-np.inf)[:, :, : rows * window, : columns * window]
    parts = padded.reshape(*shape[:2], rows, window, columns, window).swapaxes(3, 4)
    first = parts.reshape(*values.shape, -1).argmax(-1)
    spread = np.where(np.arange(window * window) == first[..., None], values[..., None], np.float32(0))
    grid = spread.reshape(*parts.shape).swapaxes(3, 4).reshape(*shape[:2], rows * window, columns * window)
    result = np.zeros(shape, np.float32)
    part = grid[:, :, : shape[2], : shape[3]]
    result[:, :, : part.shape[2], : part.shape[3]] = part
    return result


def _run(
    model: onnx.ModelProto,
    index: GraphIndex,
    found: _Unpooling,
    pixels: NDArray[np.float32],
    values: NDArray[np.float32],
) -> NDArray[Any]:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in found.nodes]
    for node in nodes:
        if node.op_type == "MaxPool":
            node.output[0] = f"{node.output[0]}.here"  # what is put back may be the very maxima
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input if name} - made - {found.image, found.values}
    graph = helper.make_graph(
        nodes,
        "unpooling",
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
            for name, array in ((found.image, pixels), (found.values, values))
        ],
        [helper.make_empty_tensor_value_info(found.output)],
        [onnx.numpy_helper.from_array(cast(NDArray[Any], index.constant(name)), name) for name in sorted(read)],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {found.image: pixels, found.values: values})[0])


def _comparisons(graph: onnx.GraphProto, index: GraphIndex, found: _Unpooling) -> list[onnx.NodeProto]:
    """The nodes that stand for an unpooling.

    Both sides of a comparison have to be rounded alike. So the maxima are pooled anew, since those of the network may
    get a range of their own from who reads them; and pixels become channels by an operator that is not quantized.
    TFLite's strided slices would take three times as long as all the rest, a choice by Where as long as that.
    """
    image, small = (cast(Shape, index.shape(name)) for name in (found.image, found.pooled))
    window, channels, large, nodes = found.window, small[1], found.shape, list[onnx.NodeProto]()

    def add(op_type: str, inputs: list[str], written: str, **attributes: Any) -> str:
        name = f"{found.output}.{written}"
        nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def ints(name: str, *values: int) -> str:
        return set_initializer(graph, f"{found.output}.{name}", np.array(values, np.int64))

    pixels, values, covered = found.image, found.values, [cells * window for cells in small[2:]]
    beyond = [size - own for size, own in zip(covered, image[2:], strict=True)]
    if any(beyond):  # cut off, or with the border again, which never comes first
        pixels = add("Pad", [pixels, ints("beyond", 0, 0, 0, 0, 0, 0, *beyond)], "whole", mode="edge")
    best = add("MaxPool", [pixels], "best", kernel_shape=[window] * 2, strides=[window] * 2)
    places = add("SpaceToDepth", [pixels], "places", blocksize=window)
    chosen, left = list[str](), ""
    for at in range(window * window - 1):
        bounds = [ints(f"to{at + step}", (at + step) * channels) for step in (0, 1)]
        place = add("Slice", [places, *bounds, ints("axis", 1)], f"place{at}")
        wins = add("Equal", [place, best], f"equal{at}")
        if left:
            wins = add("And", [wins, left], f"wins{at}")
        chosen.append(wins)
        left = add("Xor", [left, wins], f"left{at}") if left else add("Not", [wins], f"left{at}")
    mask = add("Cast", [add("Concat", [*chosen, left], "wins", axis=1)], "mask", to=onnx.TensorProto.FLOAT)
    if index.shape(values) != small:
        values = add("Reshape", [values, ints("small", *small)], "values")
    everywhere = add("Concat", [values] * window**2, "everywhere", axis=1)
    result = add("DepthToSpace", [add("Mul", [everywhere, mask], "parts")], "spread", blocksize=window)
    missing = [size - own for size, own in zip(large[2:], covered, strict=True)]
    if any(missing):  # less than none cuts off
        result = add("Pad", [result, ints("missing", 0, 0, 0, 0, 0, 0, *missing)], "all")
    if index.shape(found.output) != large:
        result = add("Reshape", [result, ints("row", *cast(Shape, index.shape(found.output)))], "in_a_row")
    nodes[-1].name = nodes[-1].output[0] = found.output
    return nodes


def _free(index: GraphIndex, name: str) -> None:
    """Let a node write to another name than the one that is written anew."""
    node = index.producer[name]
    node.output[list(node.output).index(name)] = f"{name}.scattered"


def _drop_unread_indices(graph: onnx.GraphProto) -> None:
    read = Counter(name for node in graph.node for name in node.input)
    read.update(output.name for output in graph.output)
    for node in graph.node:
        if node.op_type == "MaxPool" and len(node.output) > 1 and not read[node.output[1]]:
            del node.output[1:]
