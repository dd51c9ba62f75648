"""Write GatherND, ScatterND and circular padding with constant indices as Gather and Concat, which all runtimes have.

Exporters make them of slices that are assigned to, as in ``x[:, :8] = y``, of ``index_put`` and of some resizes.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer


def simplify_fixed_indices(model: onnx.ModelProto) -> None:
    """Replace what has constant indices, in place; shapes of what is new are not recorded.

    Args:
        model: A graph with shapes.
    """
    index = GraphIndex(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        found = None
        if node.op_type in ("GatherND", "ScatterND"):
            indices, shape = index.constant(node.input[1]), index.shape(node.input[0])
            if indices is not None and indices.size and shape and None not in shape:
                make = _gather if node.op_type == "GatherND" else _scatter
                found = make(_Builder(model.graph, node), indices.astype(np.int64), tuple(s or 0 for s in shape))
        if node.op_type == "Pad" and attribute(node, "mode", "constant") == "wrap" and len(node.input) < 4:
            pads, shape = index.constant(node.input[1]), index.shape(node.input[0])
            if pads is not None and shape and None not in shape:
                found = _wrap(_Builder(model.graph, node), pads.reshape(2, -1), tuple(s or 0 for s in shape))
        nodes += [node] if found is None else found
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Builder:
    """Makes the nodes that stand for one, with names that begin with its output's."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[onnx.NodeProto] = []
        self.constants = 0

    def add(self, op_type: str, inputs: list[str], *, last: bool = False, **attributes: int) -> str:
        """A node; the last one writes what the replaced node wrote."""
        name = self.node.output[0] if last else f"{self.node.output[0]}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def ints(self, values: list[int] | NDArray[np.int64]) -> str:
        """A constant."""
        self.constants += 1
        name = f"{self.node.output[0]}.indices{self.constants}"
        return set_initializer(self.graph, name, np.asarray(values, np.int64))

    def reshape(self, x: str, shape: tuple[int, ...], *, last: bool = False) -> str:
        """A Reshape."""
        return self.add("Reshape", [x, self.ints(list(shape))], last=last)


def _gather(make: _Builder, indices: NDArray[np.int64], shape: tuple[int, ...]) -> list[onnx.NodeProto] | None:
    if attribute(make.node, "batch_dims", 0):
        return None
    depth = indices.shape[-1]
    indices = np.where(indices < 0, indices + np.array(shape[:depth]), indices)
    source = make.node.input[0]
    grid = _grid(indices)
    if grid is None:
        flat = make.reshape(source, (-1, *shape[depth:]))
        make.add("Gather", [flat, make.ints(_flat(indices, shape))], last=True, axis=0)
        return make.nodes
    for axis, places in enumerate(grid):
        source = make.add("Gather", [source, make.ints(places)], last=axis == depth - 1, axis=axis)
    return make.nodes


def _wrap(make: _Builder, pads: NDArray[np.generic], shape: tuple[int, ...]) -> list[onnx.NodeProto] | None:
    """Circular padding, which OpenVINO does not have."""
    if pads.min() < 0 or not pads.any():
        return None
    source, axes = make.node.input[0], np.flatnonzero(pads.any(0))
    for axis in axes.tolist():
        places = np.pad(np.arange(shape[axis]), [int(side) for side in pads[:, axis]], mode="wrap")
        source = make.add("Gather", [source, make.ints(places)], last=axis == axes[-1], axis=axis)
    return make.nodes


def _grid(indices: NDArray[np.int64]) -> list[NDArray[np.int64]] | None:
    """The places along each axis, if the indices are all combinations of them, in order."""
    depth = indices.shape[-1]
    if indices.ndim != depth + 1:
        return None
    places = [np.moveaxis(indices[..., axis], axis, 0).reshape(indices.shape[axis], -1)[:, 0] for axis in range(depth)]
    product = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
    return places if np.array_equal(product, indices) else None


def _scatter(make: _Builder, indices: NDArray[np.int64], shape: tuple[int, ...]) -> list[onnx.NodeProto] | None:
    if attribute(make.node, "reduction", "none") != "none":
        return None
    depth = indices.shape[-1]
    data, _, updates = make.node.input
    written = _flat(np.where(indices < 0, indices + np.array(shape[:depth]), indices), shape).ravel()
    if len(np.unique(written)) < len(written):
        return None  # which one stays is not defined
    rows, rest = int(np.prod(shape[:depth])), shape[depth:]
    if depth > 1:
        data = make.reshape(data, (rows, *rest))
    if indices.ndim != 2:
        updates = make.reshape(updates, (len(written), *rest))
    reshaped = depth > 1
    if np.all(np.diff(written) == 1):
        first, last = int(written[0]), int(written[-1]) + 1
        parts = [_rows(make, data, 0, first), updates, _rows(make, data, last, rows)]
        joined = make.add("Concat", [p for p in parts if p], last=not reshaped, axis=0)
    else:
        places = np.arange(rows)
        places[written] = rows + np.arange(len(written))
        both = make.add("Concat", [data, updates], axis=0)
        joined = make.add("Gather", [both, make.ints(places)], last=not reshaped, axis=0)
    if reshaped:
        make.reshape(joined, shape, last=True)
    return make.nodes


def _rows(make: _Builder, data: str, first: int, last: int) -> str:
    if first == last:
        return ""
    bounds = [make.ints([value]) for value in (first, last)]
    return make.add("Slice", [data, *bounds, make.ints([0])])


def _flat(indices: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the indices point, once the axes that they are of are one."""
    places: NDArray[np.int64] = np.ravel_multi_index(tuple(np.moveaxis(indices, -1, 0)), shape[: indices.shape[-1]])
    return places
