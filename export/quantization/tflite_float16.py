"""float16 for TFLite: weights in half the bytes, and the permission to compute in float16 where that is safe."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_vseg.errors import QuantizationError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.quantization.float16_nodes import why_not_constant
from edge_vseg.export.quantization.tflite_activations import open_interpreter
from edge_vseg.export.quantization.tflite_tables import pack_tflite, unpack_tflite
from edge_vseg.export.quiet import quiet

PRECISION_KEY = "reduced_precision_support"
"""The metadata in which TFLite's XNNPACK looks up whether a file may run in float16, on a CPU that has it."""
_PERMISSION = b"fp16accfp16"


def quantize_tflite_float16(float_file: bytes) -> bytes:
    """Weights of convolutions and matrix products in float16; input stays uint8 and output float32.

    Operators with a constant that float16 cannot hold keep it in float32.

    Args:
        float_file: The float ``.tflite``.

    Raises:
        QuantizationError: If ai-edge-quantizer fails.
    """
    from ai_edge_quantizer import quantizer

    weights = {"num_bits": 16, "dtype": "FLOAT", "symmetric": True, "granularity": "TENSORWISE"}
    config = {"weight_tensor_config": weights, "compute_precision": "FLOAT", "explicit_dequantize": True}
    rules: list[dict[str, Any]] = [
        {"regex": ".*", "operation": "*", "algorithm_key": "float_casting", "op_config": config}
    ]
    for name in _unfit_operators(float_file):
        rules.append({"regex": f"(^|;){re.escape(name)}(;|$)", "operation": "*", "algorithm_key": "no_quantize"})
    try:
        with quiet():
            made = quantizer.Quantizer(bytearray(float_file), rules).quantize(
                enable_progress_bar=False, enable_progress_report=False
            )
            return bytes(made.quantized_model)
    except Exception as exc:  # ai-edge-quantizer raises ValueError, RuntimeError and its own kinds
        raise QuantizationError(
            f"ai-edge-quantizer cannot write float16 weights: {first_line(exc).rstrip('.;: ')}; leave TFLite out with"
            " --runtimes onnxruntime,openvino, or float16 with --precision int8,float"
        ) from exc


def allow_float16(file: bytes) -> bytes:
    """The file with the note that all its activations fit into float16, so XNNPACK may compute in it.

    Without the note it computes in float32. Input and output stay as they are.
    """
    model = unpack_tflite(file)
    note, entry = schema.BufferT(), schema.MetadataT()
    note.data = np.frombuffer(_PERMISSION, np.uint8)
    entry.name, entry.buffer = PRECISION_KEY, len(model.buffers)
    model.buffers.append(note)
    model.metadata = [*(model.metadata or []), entry]
    return pack_tflite(model)


def _unfit_operators(file: bytes) -> list[str]:
    """Outputs of the operators that read a constant which float16 cannot hold."""
    interpreter = open_interpreter(file)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    written = {int(t) for op in operators for t in op["outputs"]}
    written |= {int(detail["index"]) for detail in interpreter.get_input_details()}
    unfit = {
        index
        for op in operators
        for t in op["inputs"]
        if (index := int(t)) in details
        and index not in written
        and details[index]["dtype"] == np.float32
        and why_not_constant(interpreter.get_tensor(index))
    }
    return [
        details[int(t)]["name"] for op in operators if unfit & {int(i) for i in op["inputs"]} for t in op["outputs"]
    ]
