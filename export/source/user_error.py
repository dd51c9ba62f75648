"""Say what went wrong in the user's own code, out of what torch wraps around it."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path

import torch

from edge_vseg.export.graph.layer_names import own_path
from edge_vseg.export.source.missing_operators import missing_operator

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\n(.*)')
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def user_error(exc: BaseException) -> str:
    """The innermost cause of an exception in one line, with file and line of the user's code where there is one.

    torch.export and torch.onnx put banners with advice to their own developers around what a network raised.
    """
    while exc.__cause__ is not None:
        exc = exc.__cause__
    frame = _last_own_frame(exc)
    message = next((line for line in _ESCAPES.sub("", str(exc)).splitlines() if line.strip()), "").strip().rstrip(".;")
    said = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    if frame is None:
        return said
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{said} ({Path(frame.filename).name}:{frame.lineno} in {frame.name}: {code})"


def not_traced(exc: BaseException) -> str:
    """Why a network that runs has no ONNX graph: the operator and its layer, or the line of code, and what to do."""
    missing = missing_operator(exc)
    if missing is None:
        return f"{user_error(exc)}; it must have no control flow that depends on values, and operators that ONNX has"
    operator, node = missing
    layer = "" if node is None else _layer(node)
    at = f" of layer {layer!r}" if layer else ""
    line = None if node is None else _own_line(node)
    return (
        f"torch.onnx has no form for the operator {operator}{at}{f' ({line})' if line else ''};"
        " write that step with other operators"
    )


def _layer(node: torch.fx.Node) -> str:
    """The path of the module that calls an operator, as the network's owner knows it."""
    paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return own_path(paths[-1]) if paths else ""


def _own_line(node: torch.fx.Node) -> str | None:
    """The line of code that calls an operator."""
    found = _LINE.findall(node.meta.get("stack_trace") or "")
    own = [each for each in found if not each[0].startswith((_TORCH, _HERE))]
    return f"{Path(own[-1][0]).name}:{own[-1][1]} in {own[-1][2]}: {own[-1][3].strip()}" if own else None


def _last_own_frame(exc: BaseException) -> traceback.FrameSummary | None:
    """Where the exception left the user's code, or a library that is neither torch nor ours."""
    own = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith((_TORCH, _HERE, "<")) and "importlib" not in frame.filename
    ]
    return own[-1] if own else None
