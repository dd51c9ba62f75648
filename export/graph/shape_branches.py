"""Take the branch of every If whose condition only asks for shapes: they are fixed once the input size is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from edge_vseg.export.graph.index import GraphIndex, attribute, prune, rewire, subgraphs
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.types import Size

_OF_SHAPES = ("Shape", "Size")


def take_shape_branches(model: onnx.ModelProto, image: ImageInput, size_hw: Size) -> bool:
    """Put the nodes of the branches that are taken in the place of their If, in place.

    Exporters write them for ``if x.shape[2] > 32`` in scripted code, and for ``squeeze``. A condition that depends on
    values stays.

    Args:
        model: A checked model whose input has its final shape.
        image: That input.
        size_hw: Its height and width.

    Returns:
        Whether there was one.
    """
    found = False
    while True:
        index = GraphIndex(model)
        branching = [n for n in model.graph.node if n.op_type == "If" and _asks_for_shapes(index, n.input[0])]
        if not branching:
            return found
        node = branching[0]
        taken = "then_branch" if _is_true(model, node.input[0], image, size_hw) else "else_branch"
        _replace(model.graph, node, attribute(node, taken))
        found = True


def _asks_for_shapes(index: GraphIndex, condition: str) -> bool:
    todo, seen = [condition], set[str]()
    inputs = {value.name for value in index.graph.input} - index.initializer.keys()
    while todo:
        name = todo.pop()
        if name in inputs:
            return False
        node = index.producer.get(name)
        if node is None or name in seen or node.op_type in _OF_SHAPES:
            continue
        if subgraphs(node):
            return False
        seen.add(name)
        todo += [each for each in node.input if each]
    return True


def _is_true(model: onnx.ModelProto, condition: str, image: ImageInput, size_hw: Size) -> bool:
    """Run what the condition depends on for a black image."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.append(onnx.ValueInfoProto(name=condition))
    prune(asked)
    black = np.zeros(image.shape(size_hw), onnx.helper.tensor_dtype_to_np_dtype(image.dtype))
    return bool(np.all(open_float(asked).run(None, {image.name: black})[0]))


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, branch: onnx.GraphProto) -> None:
    own = [tensor.name for tensor in branch.initializer]
    own += [name for each in branch.node for name in each.output if name]
    # Branches may use names that are used elsewhere, and read results of other branches.
    names = {name: f"{node.output[0]}.{name}" for name in own}
    _rename(branch, names)
    graph.initializer.extend(branch.initializer)
    place = list(graph.node).index(node)
    nodes = [*graph.node[:place], *branch.node, *graph.node[place + 1 :]]
    kept = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    outer, inner = list(node.output), [value.name for value in branch.output]
    del graph.node[:]
    graph.node.extend(kept)
    for old, new in zip(outer, inner, strict=True):
        rewire(graph, old, new)
        if any(output.name == old for output in graph.output):
            graph.node.append(onnx.helper.make_node("Identity", [new], [old], name=f"{old}.taken"))


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for value in graph.output:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
        for inner in subgraphs(node):
            _rename(inner, names)
