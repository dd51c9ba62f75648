"""Names that the input stage takes for itself: a network's own tensors may have them as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

from edge_vseg.export.graph.index import subgraphs
from edge_vseg.export.graph.input_stage import FRAME


def free_reserved_names(model: onnx.ModelProto, image: str) -> None:
    """Give tensors named ``frame`` or ``frame.something``, and the nodes that write them, another name in place.

    Args:
        model: A canonical model.
        image: Name of its image input, which the input stage removes: it may stay.
    """
    prefix = "own."
    while any(name.startswith(prefix) for name in _names(model.graph)):
        prefix += "own."

    def free(name: str) -> str:
        reserved = name != image and (name == FRAME or name.startswith(f"{FRAME}."))
        return f"{prefix}{name}" if reserved else name

    _rename(model.graph, free)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (each.name for each in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from node.output
        for inner in subgraphs(node):
            yield from _names(inner)


def _rename(graph: onnx.GraphProto, free: Callable[[str], str]) -> None:
    for each in (*graph.input, *graph.output, *graph.initializer, *graph.value_info, *graph.node):
        each.name = free(each.name)
    for node in graph.node:
        node.input[:] = [free(name) for name in node.input]
        node.output[:] = [free(name) for name in node.output]
        for inner in subgraphs(node):
            _rename(inner, free)
