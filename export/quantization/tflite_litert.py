"""Float and int8 for TFLite: ONNX -> torch -> litert-torch -> ai-edge-quantizer."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edge_vseg.errors import QuantizationError, UnsupportedOperatorError
from edge_vseg.export.conversion_failure import NO_INT8, conversion_failure
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.convolution_taps import drop_padding_taps
from edge_vseg.export.graph.index import GraphIndex, prepend, prune, set_initializer
from edge_vseg.export.quantization.activations import Infer
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.quantization.tflite_activations import Activations, Range, open_interpreter
from edge_vseg.export.quantization.tflite_biases import make_room_for_biases
from edge_vseg.export.quiet import quiet
from edge_vseg.types import Image

log = logging.getLogger(__name__)
SIGNATURE = "serving_default"
_OTHERS = "--runtimes onnxruntime,openvino"
_LAST: dict[str, tuple[dict[str, Range], list[str]]] = {}


def to_tflite(model: onnx.ModelProto) -> bytes:
    """Convert a float graph to a TFLite file.

    Args:
        model: A graph with the input ``frame``, static shapes.

    Returns:
        The bytes of the ``.tflite``.

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
        QuantizationError: If litert-torch fails.
    """
    import litert_torch
    import torch

    from edge_vseg.export.onnx_to_torch import to_torch  # imports torch, which only the process that converts needs

    # Here, where weights are final: a tile graph has other useless taps than the whole, and takes its weights by name.
    try:
        module = to_torch(_cast_first(drop_padding_taps(model))).eval()
    except UnsupportedOperatorError as exc:
        raise UnsupportedOperatorError(
            f"this graph cannot be exported to TFLite: {exc}. Export for the other runtimes with"
            f" {_OTHERS}, or change the network"
        ) from exc
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    try:
        with quiet():
            edge = litert_torch.convert(module, (torch.zeros(shape, dtype=torch.uint8),))
            return bytes(edge.model_content())
    except Exception as exc:  # torch.export, StableHLO and the converter all raise their own kinds
        what, way_out = "litert-torch cannot convert the network", f"leave TFLite out with {_OTHERS}"
        raise QuantizationError(conversion_failure(what, first_line(exc), exc, model, way_out)) from exc


def _cast_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert the frame's bytes to float as they come, before they are surrounded and moved.

    The other runtimes move bytes, which are smaller. Here a transpose cancels against the NHWC layout of the first
    convolution, unless a CAST stands between: two TRANSPOSE, 0.1 ms of an int8 LR-ASPP's 7.1 at 256x512. And
    litert-torch (0.9) converts no concatenation of bytes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    index, frame = GraphIndex(copy), copy.graph.input[0].name
    for cast in [node for node in copy.graph.node if node.op_type == "Cast"]:
        chain: list[onnx.NodeProto] = []
        name = cast.input[0]
        while (node := index.producer.get(name)) is not None and node.op_type in ("Transpose", "Concat"):
            read = [each for each in node.input if each not in index.initializer]
            if len(read) != 1 or len(index.consumers.get(name, [])) != 1:
                break
            chain.insert(0, node)
            name = read[0]
        if name != frame or not chain or len(index.consumers.get(name, [])) != 1:
            continue
        first = onnx.NodeProto()
        first.CopyFrom(cast)
        first.input[0], first.output[0] = frame, f"{frame}.float"
        for node in chain:
            for at, read in enumerate(node.input):
                if read == frame:
                    node.input[at] = first.output[0]
                elif read in index.initializer:
                    value = np.asarray(index.constant(read), np.float32)
                    node.input[at] = set_initializer(copy.graph, f"{read}.float", value)
        chain[-1].output[0] = cast.output[0]
        copy.graph.node.remove(cast)
        prepend(copy.graph, [first])
        del copy.graph.value_info[:]  # what is between has another type now
        prune(copy)
        break  # the frame is read once
    return copy


def quantize_tflite(
    float_file: bytes,
    model: onnx.ModelProto,
    frames: Sequence[Image],
    *,
    float_nodes: Sequence[str] = (),
    chosen: Ranges | None = None,
) -> bytes:
    """Static int8 with symmetric per-channel weights; input stays uint8 and output float32.

    Args:
        float_file: The ``.tflite`` of ``model``.
        model: The float graph, weights on the int8 grid; its activations name what stays in float.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        float_nodes: Names of the graph's nodes that stay in float.
        chosen: Ranges of some of the graph's activations; the others are measured.

    Raises:
        QuantizationError: If ai-edge-quantizer fails.
    """
    from ai_edge_quantizer import quantizer, recipe

    from edge_vseg.export.quantization.large_weights import large_weights_in_parts  # imports it, too

    activations = Activations(float_file)
    measured, infinite = _measured(float_file, activations, model, frames, chosen or {})
    ranges = deepcopy(measured)
    if infinite:
        log.info("kept in float, since int8 has no infinity: %s", ", ".join(infinite))
    # Integers are rescaled before they are compared, which takes longer than to make floats of them.
    rules: list[dict[str, Any]] = [*recipe.static_wi8_ai8(), _rule(".*", "OUTPUT"), _rule(".*", "EQUAL")]
    kept = (*infinite, *activations.dividing_operators(), *activations.computed_weights())
    # Means, squares and roots of a normalization lose most of their digits in int8, and are slower; attention is, too.
    slower = (*activations.normalizing_operators(), *activations.attention_operators())
    for name in (*activations.matching(model, float_nodes, frames[0]), *kept, *slower):
        rules.append(_rule(f"(^|;){re.escape(name)}(;|$)", "*"))
    roomy = make_room_for_biases(float_file, ranges)
    try:
        with quiet(), large_weights_in_parts():
            quantized = quantizer.Quantizer(bytearray(roomy), rules).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
            return bytes(quantized.quantized_model)
    except Exception as exc:  # ai-edge-quantizer raises ValueError, RuntimeError and its own kinds
        what, way_out = "ai-edge-quantizer cannot quantize the network", f"leave TFLite out with {_OTHERS}, {NO_INT8}"
        raise QuantizationError(conversion_failure(what, first_line(exc), exc, model, way_out)) from exc


def _measured(
    float_file: bytes, activations: Activations, model: onnx.ModelProto, frames: Sequence[Image], chosen: Ranges
) -> tuple[dict[str, Range], list[str]]:
    """Ranges of a file's activations, and its infinite operators; the last file's are kept for its next trial."""
    digest = hashlib.sha256(float_file)
    for frame in frames:
        digest.update(frame.tobytes())
    key = f"{digest.hexdigest()} {sorted(chosen.items())}"
    if key not in _LAST:
        _LAST.clear()
        held = activations.sources(model, chosen, frames[0]) if chosen else {}
        known = {name: chosen[source] for name, source in held.items()}
        ranges = activations.ranges(frames, known)
        _LAST[key] = ranges, activations.infinite_operators()
    return _LAST[key]


def start_tflite(file: bytes) -> Infer:
    """Open a TFLite file."""
    interpreter = open_interpreter(file)
    source, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def infer(frame: Image) -> NDArray[np.generic]:
        interpreter.set_tensor(source, frame[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(output))

    return infer


def tflite_names(path: Path) -> tuple[str, str]:
    """Names of the first input and the first output tensor of a TFLite file."""
    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_input_details()[0]["name"], interpreter.get_output_details()[0]["name"]


def _rule(regex: str, operation: str) -> dict[str, Any]:
    return {"regex": regex, "operation": operation, "algorithm_key": "no_quantize"}
