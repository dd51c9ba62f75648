"""Cut a TFLite file, of any precision, into slices.

A TFLite file is a list of operators in the order in which they run, and tables of tensors and buffers. A slice is the
operators that its outputs need, with the tables thinned out; integers are handed over as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Quantization
from edge_vseg.errors import ExportError, QuantizationError
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.quantization.tflite_activations import open_interpreter
from edge_vseg.export.quantization.tflite_float16 import PRECISION_KEY
from edge_vseg.types import Image

MIN_CORRELATION = 0.97
"""Cosine between a canonical tensor and the TFLite tensor that is taken for it."""


def cut_tflite(file: bytes, parts: Sequence[Part], model: onnx.ModelProto, frame: Image) -> list[bytes]:
    """Cut a file that was converted from a canonical graph.

    Conversion renames everything, so tensors are found by what they hold for a frame.

    Args:
        file: The file.
        parts: The slices.
        model: The graph that the file was made from, in whose names the parts speak: the canonical one, or its
            equalized form.
        frame: ``(H, W, 3)`` uint8 at the input size.

    Raises:
        ExportError: If a tensor that a part speaks of is not found, a part needs more than it says, or TFLite does not
            run the file.
    """
    names = {name for part in parts for name in (*part.inputs, *part.outputs)}
    found = _find(file, model, sorted(names), frame)
    return [
        _extract(file, [found[name] for name in part.inputs], [found[name] for name in part.outputs]) for part in parts
    ]


def _find(file: bytes, model: onnx.ModelProto, names: Sequence[str], frame: Image) -> dict[str, int]:
    """Index of the TFLite tensor for each canonical one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that all tensors are kept, which is the purpose
        try:
            interpreter = open_interpreter(file, experimental_preserve_all_tensors=True)
        except QuantizationError as exc:  # which the slicer takes for a process that died
            raise ExportError(str(exc)) from exc
    source, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(source["index"], frame[None])
    interpreter.invoke()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    written = [index for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE" for index in op["outputs"]]
    ends = model.graph.input[0].name, model.graph.output[0].name
    found = {ends[0]: int(source["index"]), ends[1]: int(output["index"])}
    missing = [name for name in names if name not in found]

    def match(name: str, value: NDArray[np.float32]) -> None:
        same = np.moveaxis(value, 1, -1) if value.ndim == 4 else value
        best = (MIN_CORRELATION, -1)
        for index in written:
            if tuple(details[index]["shape"]) == same.shape:
                best = max(best, (_likeness(_real(interpreter, details[index]), same), int(index)))
        if best[1] < 0:
            raise ExportError(f"the TFLite file has no tensor like {name!r} to cut at")
        found[name] = best[1]

    watch_activations(model, [frame], missing, match)
    return found


def _real(interpreter: Interpreter, detail: dict[str, Any]) -> NDArray[np.float32]:
    value = interpreter.get_tensor(detail["index"])
    scale, zero_point = detail["quantization"]
    real: NDArray[np.float32] = (value.astype(np.float32) - np.float32(zero_point)) * np.float32(scale or 1)
    return real


def _likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / norm if norm else float(not a.any() and not b.any())


def _extract(file: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(file)
    graph = model.subgraphs[0]
    producer = {int(index): number for number, op in enumerate(graph.operators) for index in op.outputs}
    needed: set[int] = set()
    pending = list(outputs)
    while pending:
        index = pending.pop()
        number = producer.get(index)
        if index in inputs or index < 0 or number in needed:
            continue
        if number is None:
            if index in graph.inputs:
                raise ExportError("a TFLite slice needs the image, which is not among its inputs")
            continue  # a constant
        needed.add(number)
        pending.extend(int(i) for i in graph.operators[number].inputs)
    graph.operators = [op for number, op in enumerate(graph.operators) if number in needed]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    _thin_out(model, graph)
    for buffer in model.buffers:
        if buffer.offset > 1:  # data that lies behind the tables, where packing would lose it
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    builder = flatbuffers.Builder(len(file) // 2)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _thin_out(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    """Drop tensors and buffers that nothing uses, and signatures, whose names no longer fit.

    A slice computes in the precision of the whole, so it keeps the note about that.
    """
    used = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0}
    kept = sorted(used | set(graph.inputs) | set(graph.outputs))
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in kept]
    graph.inputs, graph.outputs = [place[i] for i in graph.inputs], [place[i] for i in graph.outputs]
    for op in graph.operators:
        op.inputs, op.outputs = [place[int(i)] for i in op.inputs], [place[int(i)] for i in op.outputs]
    notes = [entry for entry in model.metadata or [] if entry.name in (PRECISION_KEY, PRECISION_KEY.encode())]
    # Buffer 0 is the empty one, by convention.
    buffers = sorted({0} | {holder.buffer for holder in (*graph.tensors, *notes)})
    at = {old: new for new, old in enumerate(buffers)}
    model.buffers = [model.buffers[old] for old in buffers]
    for holder in (*graph.tensors, *notes):
        holder.buffer = at[holder.buffer]
    model.signatureDefs, model.metadata, model.metadataBuffer = [], notes, []


_Tensor = tuple[str, tuple[int, ...], str, Quantization | None]


def tflite_ports(file: bytes) -> tuple[list[_Tensor], list[_Tensor]]:
    """Name, shape, numpy dtype and quantization of every input, and of every output."""
    interpreter = Interpreter(model_content=file)

    def listed(details: Sequence[dict[str, Any]]) -> list[_Tensor]:
        tensors: list[_Tensor] = []
        for detail in details:
            scale, zero = detail["quantization"]
            quantization = Quantization(scale=float(scale), zero_point=int(zero)) if scale > 0 else None
            shape = tuple(int(side) for side in detail["shape"])
            tensors.append((detail["name"], shape, np.dtype(detail["dtype"]).name, quantization))
        return tensors

    return listed(interpreter.get_input_details()), listed(interpreter.get_output_details())
