"""Read an ONNX file of unknown origin and check that it can be exported."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from edge_vseg.errors import CustomOperatorError, ModelFileError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.dequantize import GIVE_FLOAT
from edge_vseg.export.graph.external_data import embed_external_data, refuse_external_data
from edge_vseg.export.graph.index import set_initializer, sort_nodes
from edge_vseg.export.graph.newer_operators import write_out_group_norm

MIN_OPSET = 7
LFS_MARK = b"version https://git-lfs.github.com/spec/"
_STANDARD_DOMAINS = ("", "ai.onnx")


def read_model_bytes(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelFileError: If it is missing, a folder, empty, or a Git LFS pointer.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelFileError(f"no model at {path}; check the path") from exc
    except OSError as exc:
        raise ModelFileError(f"model {path} cannot be read: {exc.strerror}") from exc
    if not data:
        raise ModelFileError(f"model {path} is empty; download or export it again")
    if data.startswith(LFS_MARK):
        raise ModelFileError(f"model {path} is a Git LFS pointer, not the model; run `git lfs pull` in its repository")
    return data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxFile:
    """An ONNX model as it was read.

    Attributes:
        model: All weights inside, local functions inlined, valid for the ONNX checker.
        sha256: Hash of the file; with weights in other files, of both.
    """

    model: onnx.ModelProto
    sha256: str


def read_onnx(path: Path) -> OnnxFile:
    """Read and check an ONNX model; its weights may lie in files beside it.

    Args:
        path: The ``.onnx`` file.

    Raises:
        ModelFileError: If it is missing, empty, damaged, no ONNX, or older than opset 7.
        ExternalDataError: If weights lie in other files that are missing, too short, or outside its folder.
        CustomOperatorError: If it has operators outside the ONNX standard.
    """
    data = read_model_bytes(path)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as exc:
        raise ModelFileError(f"model {path} is damaged or no ONNX file ({len(data)} bytes); download it again") from exc
    outside = embed_external_data(model, path.parent, where=str(path))
    digest = hashlib.sha256(data + outside).hexdigest()
    return OnnxFile(model=check_onnx(model, where=str(path)), sha256=digest)


def check_onnx(model: onnx.ModelProto, *, where: str) -> onnx.ModelProto:
    """What :func:`read_onnx` does after reading; ``where`` names the model in messages.

    Returns:
        The model, local functions inlined, valid for the ONNX checker.
    """
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f"model {where} has no nodes or no output: it is damaged or no ONNX file")
    try:
        return _check(model, where)
    except onnx.checker.ValidationError as exc:
        raise ModelFileError(f"model {where} is damaged or invalid: {first_line(exc)}") from exc
    except (ValueError, TypeError, RuntimeError) as exc:
        # Damaged text reaches onnx's checks as bytes, which its bindings refuse in their own ways.
        raise ModelFileError(f"model {where} is damaged: its text is not readable; download it again") from exc


def _check(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    refuse_external_data(model, where)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _refuse_custom_operators(model, where)
    opset = next((o.version for o in model.opset_import if o.domain in _STANDARD_DOMAINS), 0)
    if opset < MIN_OPSET:
        raise ModelFileError(f"model {where} has opset {opset}; expected {MIN_OPSET} or newer, export it again")
    # Before IR version 4 every initializer also had to be an input; many converters forgot, and all runtimes forgive.
    model.ir_version = max(model.ir_version, 8)
    _forgive(model, opset)
    onnx.checker.check_model(model)
    return model


def _forgive(model: onnx.ModelProto, opset: int) -> None:
    """Mend what the checker or a runtime refuses, and what says nothing, such as nodes that are not in order."""
    if opset in (11, 12):
        for node in model.graph.node:
            if node.op_type == "Resize" and len(node.input) > 1 and not node.input[1]:
                node.input[1] = set_initializer(model.graph, f"{node.output[0]}.roi", np.zeros(0, np.float32))
    sort_nodes(model.graph)
    write_out_group_norm(model, opset)
    _tell_nodes_apart(model.graph)
    _drop_unread_inputs(model.graph)
    bare = [output for output in model.graph.output if not output.type.tensor_type.HasField("shape")]
    if bare:
        inferred = {output.name: output for output in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in bare:
            output.CopyFrom(inferred[output.name])


def _tell_nodes_apart(graph: onnx.GraphProto) -> None:
    """Give nodes of the same name names of their own; ONNX Runtime refuses the model otherwise."""
    taken = {node.name for node in all_nodes(graph)}
    seen: set[str] = set()
    for node in all_nodes(graph):
        if node.name in seen:
            node.name = next(name for n in itertools.count(1) if (name := f"{node.name}_{n}") not in taken)
            taken.add(node.name)
        if node.name:
            seen.add(node.name)


def _drop_unread_inputs(graph: onnx.GraphProto) -> None:
    """Remove inputs that no node reads, such as a mask that only training used."""
    read = {name for node in all_nodes(graph) for name in node.input} | {output.name for output in graph.output}
    kept = [each for each in graph.input if each.name in read]
    if kept and len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)


def _refuse_custom_operators(model: onnx.ModelProto, where: str) -> None:
    custom = sorted({f"{n.domain}::{n.op_type}" for n in all_nodes(model.graph) if n.domain not in _STANDARD_DOMAINS})
    unknown = sorted(
        {n.op_type for n in all_nodes(model.graph) if n.domain in _STANDARD_DOMAINS and not onnx.defs.has(n.op_type)}
    )
    if quantized := [name for name in custom if re.search("QLinear|Integer|Quantize|QGemm", name)]:
        raise CustomOperatorError(f"model {where} is already quantized, with {', '.join(quantized)}; {GIVE_FLOAT}")
    if custom or unknown:
        raise CustomOperatorError(
            f"model {where} uses operators outside the ONNX standard: {', '.join(custom + unknown)};"
            " export it with standard operators only"
        )


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)
