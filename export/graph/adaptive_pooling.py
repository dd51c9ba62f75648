"""Write adaptive pooling to sizes that do not divide as slices and means.

``torch.onnx`` unrolls such a pool into a GatherND of overlapping windows, masks, and an addition for each cell of a
window: hundreds of nodes, slow everywhere and unknown to TFLite. With static shapes the windows are constant: window
``i`` of ``n`` over ``s`` rows is ``[floor(i s / n), ceil((i + 1) s / n))``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_vseg.export.graph.index import GraphIndex, attribute, prune, set_initializer

OPSET = 20
"""Of the canonical form."""
_MAX_CANDIDATES = 3
_REDUCTIONS: dict[str, Callable[..., NDArray[np.floating]]] = {"ReduceMean": np.mean, "ReduceMax": np.max}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """The nodes between an image and what becomes of its gathered windows."""

    source: str
    output: str
    nodes: tuple[onnx.NodeProto, ...]
    bins: tuple[int, int]


def simplify_adaptive_pooling(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace unrolled adaptive pools; a region that computes anything else is left alone.

    A region is recognized by what it computes for a random image, so the many forms in which it is written do not
    matter.

    Args:
        model: A graph with static shapes; not changed.

    Returns:
        The model with shapes inferred again, or the model itself if it has no such pool.
    """
    gathers = [node for node in model.graph.node if node.op_type == "GatherND"]
    if not gathers:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for gather in [node for node in copy.graph.node if node.op_type == "GatherND"]:
        index = GraphIndex(copy)
        for region in islice(_regions(copy, index, gather), _MAX_CANDIDATES):
            reduction = _recognize(index, region)
            if reduction is not None:
                _replace(copy, index, region, reduction)
                break
    prune(copy)
    del copy.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(copy, strict_mode=True)


def _regions(model: onnx.ModelProto, index: GraphIndex, gather: onnx.NodeProto) -> Iterator[_Region]:
    """The nodes up to each tensor ``(N, C, rows, columns)`` through which all that is gathered goes.

    The sum over a window may be one, and its division by the number of cells the next.
    """
    move, windows = index.producer.get(gather.input[0]), index.constant(gather.input[1])
    if move is None or move.op_type != "Transpose" or attribute(move, "perm") != [2, 3, 0, 1]:
        return
    image = index.shape(move.input[0])
    if image is None or windows is None or windows.ndim != 5 or windows.shape[-1] != 2:
        return
    bins = (windows.shape[0], windows.shape[2])
    unread = Counter(name for node in model.graph.node for name in node.input)
    unread.update(output.name for output in model.graph.output)
    nodes, waiting = [move, gather], {gather.output[0]: unread[gather.output[0]]}
    for node in model.graph.node:
        read = [name for name in node.input if name in waiting]
        if not read:
            continue
        if any(name and name not in waiting and index.constant(name) is None for name in node.input):
            return
        nodes.append(node)
        for name in read:
            waiting[name] -= 1
        waiting.update({name: unread[name] for name in node.output})
        open_names = {name for name, readers in waiting.items() if readers > 0}
        if open_names == {node.output[0]} and index.shape(node.output[0]) == (*image[:2], *bins):
            yield _Region(source=move.input[0], output=node.output[0], nodes=tuple(nodes), bins=bins)


def _recognize(index: GraphIndex, region: _Region) -> str | None:
    """The reduction that gives what the region gives for a random image, to five digits."""
    shape = cast(tuple[int, ...], index.shape(region.source))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = _run(index, region, image)
    for name, reduce in _REDUCTIONS.items():
        expected = image
        for axis, bins in zip((2, 3), region.bins, strict=True):
            windows = _windows(shape[axis], bins)
            parts = [reduce(expected.take(range(*window), axis), axis=axis, keepdims=True) for window in windows]
            expected = np.concatenate(parts, axis)
        if np.allclose(made, expected, rtol=1e-5, atol=1e-5):
            return name
    return None


def _run(index: GraphIndex, region: _Region, image: NDArray[np.float32]) -> NDArray[Any]:
    made = {name for node in region.nodes for name in node.output}
    constants = {
        name: cast(NDArray[Any], index.constant(name))
        for node in region.nodes
        for name in node.input
        if name and name not in made and name != region.source
    }
    graph = helper.make_graph(
        region.nodes,
        "region",
        [helper.make_tensor_value_info(region.source, onnx.TensorProto.FLOAT, image.shape)],
        [helper.make_empty_tensor_value_info(region.output)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {region.source: image})[0])


def _windows(size: int, bins: int) -> list[tuple[int, int]]:
    return [(size * i // bins, -(-size * (i + 1) // bins)) for i in range(bins)]


def _replace(model: onnx.ModelProto, index: GraphIndex, region: _Region, reduction: str) -> None:
    """Put slices, reductions and concatenations where the region's last node was, along the rows and then columns."""
    shape = cast(tuple[int, ...], index.shape(region.source))
    nodes: list[onnx.NodeProto] = []
    made = region.source
    for axis, bins in zip((2, 3), region.bins, strict=True):
        target = region.output if axis == 3 else f"{region.output}.rows"
        nodes += _pool_axis(model.graph, made, target, axis, _windows(shape[axis], bins), reduction)
        made = target
    kept = list(model.graph.node)
    last = kept.index(region.nodes[-1])
    kept[last : last + 1] = nodes
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _pool_axis(
    graph: onnx.GraphProto,
    source: str,
    target: str,
    axis: int,
    windows: Sequence[tuple[int, int]],
    reduction: str,
) -> list[onnx.NodeProto]:
    along = set_initializer(graph, f"{target}.axis", np.array([axis], np.int64))
    if len(windows) == 1:
        return [helper.make_node(reduction, [source, along], [target], keepdims=1)]
    nodes: list[onnx.NodeProto] = []
    for number, (begin, end) in enumerate(windows):
        cut, part = f"{target}.window{number}", f"{target}.part{number}"
        bounds = [
            set_initializer(graph, f"{cut}.{side}", np.array([at], np.int64))
            for side, at in (("begin", begin), ("end", end))
        ]
        nodes.append(helper.make_node("Slice", [source, *bounds, along], [cut]))
        nodes.append(helper.make_node(reduction, [cut, along], [part], keepdims=1))
    parts = [f"{target}.part{number}" for number in range(len(windows))]
    return [*nodes, helper.make_node("Concat", parts, [target], axis=axis)]
