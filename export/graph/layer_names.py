"""Remember what the user calls the layer that a node came from, through all that renames nodes."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where ``torch.onnx`` notes the module path: ``['', 'decoder', 'decoder.pool', 'mean']``."""
_WRAPPER = "network"
"""The module's own path inside the one that wraps it for its export."""
_MARK = "layer: "


def layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """The layer of each tensor: the path of the torch module that wrote it, or else the name of its node."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
        name = _module_path(scopes) or node.name
        found.update({output: name for output in node.output if output and name})
    return found


def note_layers(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Write the layer of every node, found by the tensor that it makes, where :func:`noted_layer` reads it."""
    for node in model.graph.node:
        name = names.get(node.output[0], "") if node.output else ""
        node.doc_string = f"{_MARK}{name}" if name else ""


def noted_layer(node: onnx.NodeProto) -> str:
    """The layer that a node came from; empty if it is not known, or is the node's own name."""
    name = node.doc_string.removeprefix(_MARK) if node.doc_string.startswith(_MARK) else ""
    return "" if name == node.name else name


def _module_path(scopes: str) -> str:
    try:
        parsed = ast.literal_eval(scopes) if scopes else []
    except (ValueError, SyntaxError):  # a note in another form than today's
        return ""
    modules = [str(scope) for scope in parsed[:-1] if scope] if isinstance(parsed, list) else []
    return own_path(modules[-1]) if modules else ""


def own_path(path: str) -> str:
    """The path of a module as its owner knows it, who has not wrapped the network; empty for the network itself."""
    return "" if path == _WRAPPER else path.removeprefix(f"{_WRAPPER}.")
