"""Write Einsum as MatMul between transposes, which every runtime has and quantizes."""

from __future__ import annotations

import re
from math import prod

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer

Sizes = dict[str, int]


def simplify_einsum(model: onnx.ModelProto) -> None:
    """Replace the sums of products of two tensors, in place; other equations stay.

    Each letter is of one kind: in both tensors and the result (a batch), in both only (summed over), or in one and the
    result (a row or a column). A letter of one tensor alone, one that stands twice in a tensor, and ``...`` stay.

    Args:
        model: A graph with shapes.
    """
    index = GraphIndex(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        found = _as_product(model.graph, node, index) if node.op_type == "Einsum" else None
        nodes += [node] if found is None else found
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _as_product(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto] | None:
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    letters = re.fullmatch(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]*)", equation)
    shapes = [index.shape(name) for name in node.input]
    if letters is None or len(shapes) != 2 or any(shape is None or None in shape for shape in shapes):
        return None
    left, right, result = letters.groups()
    sizes: Sizes = {}
    for term, shape in zip((left, right), shapes, strict=True):
        if len(set(term)) < len(term) or len(term) != len(shape or ()):
            return None
        for letter, size in zip(term, shape or (), strict=True):
            if sizes.setdefault(letter, size or 0) != size:
                return None  # broadcasting
    if any(letter not in result and (letter in left) != (letter in right) for letter in left + right):
        return None
    batch = "".join(each for each in result if each in left and each in right)
    summed = "".join(each for each in left if each in right and each not in result)
    rows = "".join(each for each in result if each not in right)
    columns = "".join(each for each in result if each not in left)
    made: list[onnx.NodeProto] = []

    def add(op_type: str, inputs: list[str], name: str, **attributes: list[int]) -> str:
        made.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def arranged(x: str, term: str, wanted: str, shape: list[int], name: str) -> str:
        """Transposed from one order of letters to another, and reshaped; a constant stays one."""
        value = index.constant(x)
        if value is not None:
            ordered = np.asarray(value).transpose([term.index(letter) for letter in wanted])
            return set_initializer(graph, name, np.ascontiguousarray(ordered.reshape(shape)))
        if term != wanted:
            x = add("Transpose", [x], f"{name}.transposed", perm=[term.index(letter) for letter in wanted])
        target = set_initializer(graph, f"{name}.shape", np.array(shape, np.int64))
        return add("Reshape", [x, target], name)

    def volume(of: str) -> int:
        return prod(sizes[letter] for letter in of)

    name = node.output[0]
    outer = [sizes[letter] for letter in batch]
    one = arranged(node.input[0], left, batch + rows + summed, [*outer, volume(rows), volume(summed)], f"{name}.left")
    two = arranged(
        node.input[1], right, batch + summed + columns, [*outer, volume(summed), volume(columns)], f"{name}.right"
    )
    order = batch + rows + columns
    product = add("MatMul", [one, two], f"{name}.product")
    whole = set_initializer(graph, f"{name}.shape", np.array([sizes[letter] for letter in order], np.int64))
    if order == result:
        add("Reshape", [product, whole], name)
    else:
        apart = add("Reshape", [product, whole], f"{name}.apart")
        add("Transpose", [apart], name, perm=[order.index(letter) for letter in result])
    return made
