"""Float and int8 for TFLite: ONNX -> torch -> litert-torch -> ai-edge-quantizer."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
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
from edge_vseg.export.quantization.activations import Infer
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.quantization.tflite_activations import Activations, open_interpreter
from edge_vseg.export.quantization.tflite_biases import make_room_for_biases
from edge_vseg.export.quiet import quiet
from edge_vseg.types import Image

log = logging.getLogger(__name__)
SIGNATURE = "serving_default"
_OTHERS = "--runtimes onnxruntime,openvino"


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
        module = to_torch(_cast_before_transposing(drop_padding_taps(model))).eval()
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


def _cast_before_transposing(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert the frame's bytes to float as they come, NHWC.

    The other runtimes move bytes, which are smaller. Here the transpose cancels against the NHWC layout of the first
    convolution, unless a CAST stands between: two TRANSPOSE, 0.1 ms of an int8 LR-ASPP's 7.1 at 256x512.
    """
    reads = Counter(name for node in model.graph.node for name in node.input)
    transposes = {
        node.output[0]: place
        for place, node in enumerate(model.graph.node)
        if node.op_type == "Transpose" and node.input[0] == model.graph.input[0].name and reads[node.output[0]] == 1
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = copy.graph.node
    for node in nodes:
        if node.op_type == "Cast" and node.input[0] in transposes:
            transpose = nodes[transposes[node.input[0]]]
            # The two change places; each keeps its attributes.
            moved, cast = onnx.NodeProto(), onnx.NodeProto()
            moved.CopyFrom(transpose)
            cast.CopyFrom(node)
            cast.input[0], cast.output[0] = transpose.input[0], transpose.output[0]
            moved.input[0], moved.output[0] = transpose.output[0], node.output[0]
            transpose.CopyFrom(cast)
            node.CopyFrom(moved)
    if transposes:
        del copy.graph.value_info[:]  # the tensor between the two has another type and shape now
    return copy


def quantize_tflite(
    float_file: bytes,
    model: onnx.ModelProto,
    frames: Sequence[Image],
    *,
    float_nodes: Sequence[str] = (),
    learnt: Ranges | None = None,
) -> bytes:
    """Static int8 with symmetric per-channel weights; input stays uint8 and output float32.

    Args:
        float_file: The ``.tflite`` of ``model``.
        model: The float graph, weights on the int8 grid; its activations name what stays in float.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        float_nodes: Names of the graph's nodes that stay in float.
        learnt: Ranges of some of the graph's activations; the others are measured.

    Raises:
        QuantizationError: If ai-edge-quantizer fails.
    """
    from ai_edge_quantizer import quantizer, recipe

    from edge_vseg.export.quantization.large_weights import large_weights_in_parts  # imports it, too

    activations = Activations(float_file)
    learnt = learnt or {}
    held = activations.sources(model, learnt, frames[0]) if learnt else {}
    ranges = activations.ranges(frames, {name: learnt[source] for name, source in held.items()})
    infinite = activations.infinite_operators()
    if infinite:
        log.info("kept in float, since int8 has no infinity: %s", ", ".join(infinite))
    rules: list[dict[str, Any]] = [*recipe.static_wi8_ai8(), _rule(".*", "OUTPUT")]
    # Means, squares and roots of a normalization lose most of their digits in int8, and are slower there.
    kept = (*infinite, *activations.dividing_operators(), *activations.computed_weights())
    normalizing = activations.normalizing_operators()
    for name in (*activations.matching(model, float_nodes, frames[0]), *kept, *normalizing):
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
