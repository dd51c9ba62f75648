"""Float and int8 for TFLite: ONNX -> torch -> litert-torch -> ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edge_vseg.errors import QuantizationError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.quantization.ranges import RangeObserver
from edge_vseg.types import Image

SIGNATURE = "serving_default"
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


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

    module = to_torch(model).eval()
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    try:
        with _quiet():
            edge = litert_torch.convert(module, (torch.zeros(shape, dtype=torch.uint8),))
            return bytes(edge.model_content())
    except Exception as exc:  # torch.export, StableHLO and the converter all raise their own kinds
        raise QuantizationError(f"litert-torch cannot convert the network: {first_line(exc)}") from exc


def quantize_tflite(
    float_file: bytes, model: onnx.ModelProto, frames: Sequence[Image], *, float_nodes: Sequence[str] = ()
) -> bytes:
    """Static int8 with symmetric per-channel weights; input stays uint8 and output float32.

    Args:
        float_file: The ``.tflite`` of ``model``.
        model: The float graph, weights on the int8 grid; its activations name what stays in float.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        float_nodes: Names of the graph's nodes that stay in float.

    Raises:
        QuantizationError: If ai-edge-quantizer fails.
    """
    from ai_edge_quantizer import quantizer, recipe

    activations = _Activations(float_file)
    rules: list[dict[str, Any]] = [*recipe.static_wi8_ai8(), _rule(".*", "OUTPUT")]
    for name in activations.matching(model, float_nodes, frames[0]):
        rules.append(_rule(f"^{re.escape(name)};?$", "*"))
    try:
        with _quiet():
            quantized = quantizer.Quantizer(bytearray(float_file), rules).quantize(
                activations.ranges(frames), enable_progress_bar=False, enable_progress_report=False
            )
            return bytes(quantized.quantized_model)
    except Exception as exc:  # ai-edge-quantizer raises ValueError, RuntimeError and its own kinds
        raise QuantizationError(f"ai-edge-quantizer cannot quantize the network: {first_line(exc)}") from exc


def run_tflite(file: bytes, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
    """First output of a TFLite file for each frame."""
    interpreter = Interpreter(model_content=file, num_threads=2)
    interpreter.allocate_tensors()
    source, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    results = []
    for frame in frames:
        interpreter.set_tensor(source, frame[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(output))
    return results


def tflite_names(path: Path) -> tuple[str, str]:
    """Names of the first input and the first output tensor of a TFLite file."""
    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_input_details()[0]["name"], interpreter.get_output_details()[0]["name"]


class _Activations:
    """Every activation of a TFLite file, run with all tensors kept."""

    def __init__(self, file: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that all tensors are kept, which is the purpose
            self._interpreter = Interpreter(model_content=file, num_threads=2, experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        ops = [o for o in self._interpreter._get_ops_details() if o["op_name"] != "DELEGATE"]
        first = next((i for i, o in enumerate(ops) if o["op_name"] in _WEIGHTED), 0)
        self._early = {details[t]["name"] for o in ops[:first] for t in o["outputs"]}
        self._floats = {details[t]["name"]: t for o in ops for t in o["outputs"] if details[t]["dtype"] == np.float32}

    def run(self, frame: Image) -> Iterator[tuple[str, NDArray[np.float32]]]:
        self._interpreter.set_tensor(self._input, frame[None])
        self._interpreter.invoke()
        for name, index in self._floats.items():
            yield name, self._interpreter.get_tensor(index)

    def ranges(self, frames: Sequence[Image]) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Least-error range of every activation, in the form that ai-edge-quantizer reads.

        Tensors before the first convolution take the range of all pixels that can occur.
        """
        observers = {name: RangeObserver() for name in self._floats}
        for frame in frames:
            for name, value in self.run(frame):
                observers[name].see(value)
        for extreme in (np.zeros_like(frames[0]), np.full_like(frames[0], 255)):
            for name, value in self.run(extreme):
                if name in self._early:
                    observers[name].see(value)
        spans = {n: o.extremes() if n in self._early else o.least_error() for n, o in observers.items()}
        return {
            name: {"min": np.full((1, 1, 1, 1), low, np.float32), "max": np.full((1, 1, 1, 1), high, np.float32)}
            for name, (low, high) in spans.items()
        }

    def matching(self, model: onnx.ModelProto, nodes: Sequence[str], frame: Image) -> list[str]:
        """Names of the TFLite tensors that hold what the given ONNX nodes compute, found by value."""
        if not nodes:
            return []
        index = GraphIndex(model)
        written = [node.output[0] for node in model.graph.node if node.name in nodes]
        outputs = sorted({*written, *(r.output[0] for name in written for r in _fused(index, name))})
        targets: list[NDArray[np.float32]] = []
        watch_activations(model, [frame], outputs, lambda _, value: targets.append(value))
        found: list[str] = []
        for name, value in self.run(frame):
            if any(_same(value, _channels_last(t)) or _same(value, t) for t in targets):
                found.append(name)
        return found


def _fused(index: GraphIndex, name: str) -> list[onnx.NodeProto]:
    """The activation that TFLite runs inside the operator that writes ``name``, if any."""
    readers = index.consumers.get(name, [])
    return readers if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") else []


def _channels_last(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.moveaxis(value, 1, -1) if value.ndim == 4 else value


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= 1e-3 * max(float(np.abs(b).max()), 1e-6))


def _rule(regex: str, operation: str) -> dict[str, Any]:
    return {"regex": regex, "operation": operation, "algorithm_key": "no_quantize"}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the converters print; errors are still raised."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
