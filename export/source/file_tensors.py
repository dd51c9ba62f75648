"""Read what a TFLite or OpenVINO file takes and gives, without running it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_vseg.bundle.manifest import Quantization
from edge_vseg.errors import CustomOperatorError, ModelFileError, QuantizationError
from edge_vseg.export.graph.onnx_file import read_model_bytes
from edge_vseg.export.telemetry import no_telemetry
from edge_vseg.runtimes.graph_checks import short_reason
from edge_vseg.runtimes.native_log import quiet_stderr

_DAMAGE = (RuntimeError, ValueError, TypeError, LookupError)
"""Raised by both backends for damaged files; ``ValueError`` if text is not UTF-8."""
_UNKNOWN_OPERATOR = re.compile(
    r"(?:unresolved custom op|Select TensorFlow op).*Node number \d+ \((.+)\) failed", re.DOTALL
)
"""How TFLite names an operator of the user's own, or one of TensorFlow that it has only with the Flex delegate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """An input or output of a file.

    Attributes:
        name: Its name.
        shape: Its shape; 0 where it is dynamic.
        dtype: numpy's name of its type, or the file's own if numpy has none.
        quantization: Scale and zero point, if it has them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers, signed or not, that stand for nothing else."""
        return self.quantization is None and self.dtype.startswith(("int", "uint"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensors:
    """All inputs and outputs of a file, in its order; at least one output."""

    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]


def read_tflite_tensors(path: Path) -> FileTensors:
    """Inputs and outputs of a ``.tflite``.

    Raises:
        ModelFileError: If it is damaged: TFLite does not open it, not even without XNNPACK.
        CustomOperatorError: If it has operators that TFLite lacks.
    """
    from edge_vseg.export.quantization.tflite_activations import open_interpreter

    try:
        with quiet_stderr():
            interpreter = open_interpreter(path.read_bytes())  # many a damaged file fails only when it gets its tensors
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        return _tensors([_from_tflite(detail) for detail in inputs], [_from_tflite(detail) for detail in outputs])
    except (QuantizationError, *_DAMAGE) as exc:
        reason = short_reason(exc.__cause__ or exc)
        if unknown := _UNKNOWN_OPERATOR.search(reason):
            raise CustomOperatorError(
                f"model {path} has an operator that TFLite lacks, {unknown[1]}; convert it to"
                " TFLite's own operators alone, without custom ones and TensorFlow's (select ops)"
            ) from exc
        raise ModelFileError(f"model {path} is damaged or no TFLite file: {reason}; download it again") from exc


def read_openvino_tensors(path: Path) -> FileTensors:
    """Inputs and outputs of an ``.xml`` with its ``.bin`` beside it.

    Raises:
        ModelFileError: If one of the two is missing or damaged.
    """
    with no_telemetry():
        import openvino as ov

    read_model_bytes(path.with_suffix(".bin"))
    try:
        model = ov.Core().read_model(path)
        return _tensors([_from_openvino(port) for port in model.inputs], [_from_openvino(p) for p in model.outputs])
    except _DAMAGE as exc:
        raise ModelFileError(
            f"model {path} is damaged or no OpenVINO IR: {short_reason(exc)}; convert it again"
        ) from exc


def _tensors(inputs: list[FileTensor], outputs: list[FileTensor]) -> FileTensors:
    if not outputs:
        raise LookupError("it has no output")
    return FileTensors(inputs=tuple(inputs), outputs=tuple(outputs))


def _from_tflite(detail: dict[str, Any]) -> FileTensor:
    scale, zero = detail["quantization"]
    return FileTensor(
        name=detail["name"],
        shape=tuple(int(d) for d in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        quantization=Quantization(scale=float(scale), zero_point=int(zero)) if scale else None,
    )


def _from_openvino(port: Any) -> FileTensor:
    dims = (0 if dim.is_dynamic else int(dim.get_length()) for dim in port.get_partial_shape())
    try:
        dtype = np.dtype(port.element_type.to_dtype()).name
    except RuntimeError:  # types that numpy lacks, such as u4
        dtype = str(port.element_type)
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    return FileTensor(name=name, shape=tuple(dims), dtype=dtype)
