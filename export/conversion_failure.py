"""What is said where a converter or quantizer of others fails: at which layer, why, and what to do instead."""

from __future__ import annotations

import re

import onnx

from edge_vseg.export.graph.layer_names import noted_layer
from edge_vseg.runtimes.graph_checks import short_reason

NO_INT8 = "or leave int8 out with --precision float"
_AROUND = (": {}>", "'{}'", '"{}"', "Name: {} ")
"""How the tools write the name of a node, or of a tensor, into a message."""
_UNKNOWN = re.compile(r"No conversion rule found for operations: (.*)")
"""OpenVINO's list of operators that it does not know, such as ``Det-20, Unique-11``."""
_FRAME = re.compile(r"FrontEnd API failed|Model wasn't fully converted|-- \S+ with a message|Summary:|-- Conversion is")
"""Lines of OpenVINO's around what is wrong."""


def conversion_failure(what: str, reason: str, exc: Exception, model: onnx.ModelProto, way_out: str) -> str:
    """The message of a failure.

    Args:
        what: What failed, its beginning.
        reason: What the tool says, on one line.
        exc: The tool's error, which may name a node.
        model: The graph that it was given.
        way_out: What to do, its end.
    """
    layer = failed_layer(str(exc), model)
    at = f" at layer {layer!r}" if layer else ""
    return f"{what}{at}: {reason.rstrip('.;: ')}; {way_out}"


def openvino_reason(exc: Exception) -> str:
    """What OpenVINO's converter says is wrong, on one line, without what it says around that."""
    kept = [line for line in str(exc).splitlines() if not _FRAME.match(line)]
    return short_reason(RuntimeError("\n".join(kept))).removeprefix("-- ") if kept else short_reason(exc)


def failed_layer(text: str, model: onnx.ModelProto) -> str:
    """What the user calls the layer that a tool's message is about; empty if it names no node and no operator of it."""
    listed = _UNKNOWN.search(text)
    operators = re.findall(r"(\w+)-\d+", listed[1]) if listed else []
    for node in model.graph.node:
        named = (around.format(name) in text for name in (node.name, *node.output) if name for around in _AROUND)
        if node.op_type in operators or any(named):
            return noted_layer(node) or node.name
    return ""
