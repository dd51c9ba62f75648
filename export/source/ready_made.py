"""Describe a ready-made TFLite or OpenVINO file, which may be anything, without running it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import HeadSpec, Label, Layout, Quantization, TensorSpec
from edge_vseg.errors import HeadError, ModelFileError, OptionError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.onnx_file import read_model_bytes
from edge_vseg.export.source.own_normalization import NONE_GIVEN
from edge_vseg.export.telemetry import no_telemetry
from edge_vseg.runtimes.graph_checks import short_reason
from edge_vseg.runtimes.native_log import quiet_stderr
from edge_vseg.types import Size

log = logging.getLogger(__name__)
_DAMAGE = (RuntimeError, ValueError, TypeError, LookupError)
"""Raised by both backends for damaged files: ``ValueError`` if text is not UTF-8, ``LookupError`` without outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyMade:
    """What a ready-made file is, found without running it.

    Attributes:
        runtime: The one that it is for.
        sha256: Hash of the file; of the ``.xml`` alone for OpenVINO.
        input: What it takes.
        output: What it gives.
        head: The same as the manifest says it.
        labels: The classes given, or numbered ones.
        size_hw: Input size.
        notes: What whoever wraps it should know.
    """

    runtime: Literal["tflite", "openvino"]
    sha256: str
    input: TensorSpec
    output: TensorSpec
    head: HeadSpec
    labels: tuple[Label, ...]
    size_hw: Size
    notes: tuple[str, ...] = ()


def read_ready_made(source: Path, options: ExportOptions) -> ReadyMade:
    """Describe a ready-made file, and hold the options against it; quick, so call it before long work.

    Args:
        source: A ``.tflite``, or an OpenVINO ``.xml`` with its ``.bin`` beside it.
        options: Classes, normalisation and colour order count.

    Raises:
        ModelFileError: If the file cannot be read.
        HeadError: If it is no single-image segmentation network, or the classes disagree with it.
        OptionError: If an option does not apply to a file that is wrapped as it is.
    """
    _refuse_options(source, options)
    data = read_model_bytes(source)
    runtime: Literal["tflite", "openvino"] = "tflite" if source.suffix.lower() == ".tflite" else "openvino"
    source_input, output = _inspect_tflite(source) if runtime == "tflite" else _inspect_openvino(source)
    layout: Layout = "NHWC" if source_input.shape[3] == 3 else "NCHW"
    size = cast(Size, source_input.shape[1:3] if layout == "NHWC" else source_input.shape[2:])
    own_range = source_input.dtype == "uint8" and source_input.quantization is None
    norm = options.normalization or Normalization()
    head, out_spec = _describe_output(output, size)
    return ReadyMade(
        runtime=runtime,
        sha256=hashlib.sha256(data).hexdigest(),
        input=TensorSpec(
            name=source_input.name,
            shape=source_input.shape,
            dtype=source_input.dtype,  # type: ignore[arg-type]
            layout=layout,
            quantization=source_input.quantization,
            mean=() if own_range else norm.mean,
            scale=() if own_range else norm.scale,
        ),
        output=out_spec,
        head=head,
        labels=_choose_labels(source, options, head, out_spec),
        size_hw=size,
        notes=_notes(source, own_range, options),
    )


def _notes(source: Path, takes_bytes: bool, options: ExportOptions) -> tuple[str, ...]:
    """A warning, logged, too, if nobody said what the file expects and it may expect anything."""
    if takes_bytes or options.normalization is not None:
        return ()
    log.warning("%s: %s", source.name, NONE_GIVEN)
    return (NONE_GIVEN,)


def _refuse_options(source: Path, options: ExportOptions) -> None:
    if options.weights is not None or options.size_hw is not None:
        raise OptionError(f"--weights and --input-size do not apply to {source.name}: it is wrapped as it is")
    if options.finetune is not None or options.output_name:
        raise OptionError(f"--finetune and --output-name do not apply to {source.name}: it is wrapped as it is")
    if options.tiles is not None:
        raise OptionError(f"--tiles does not apply to {source.name}: its size cannot be changed")


def _choose_labels(source: Path, options: ExportOptions, head: HeadSpec, output: TensorSpec) -> tuple[Label, ...]:
    channels = {"scores": output.hwc[2], "foreground": 2, "labels": 0}[head.kind]
    if options.labels is None and not channels:
        raise HeadError(f"{source.name} gives a finished label map, which does not tell its classes; give --classes")
    labels = options.labels or numbered_labels(channels)
    if channels and len(labels) != channels:
        raise HeadError(f"--classes names {len(labels)} classes, {source.name} gives {channels}; make them agree")
    return labels


def _describe_output(tensor: _Tensor, size: Size) -> tuple[HeadSpec, TensorSpec]:
    """Tell scores, a foreground channel and a label map apart by shape and dtype."""
    shape = tensor.shape
    integer = tensor.dtype.startswith("int") and tensor.quantization is None
    layout: Layout
    match shape:
        case (1, a, _, b):
            # The class axis is the shorter one; a map is never smaller than its classes in practice.
            layout = "NHWC" if b <= a else "NCHW"
            channels = min(a, b)
        case (1, _, _):
            layout, channels = "NHW", 1
        case (1, count) if count == size[0] * size[1]:
            layout, channels = "flat", 1
        case _:
            raise HeadError(f"output {tensor.name!r} has shape {shape}; expected scores or a label map of one image")
    spec = TensorSpec(
        name=tensor.name,
        shape=shape,
        dtype=tensor.dtype,  # type: ignore[arg-type]
        layout=layout,
        quantization=tensor.quantization,
    )
    height, width, _ = spec.hwc
    out_size = size if layout == "flat" else (height, width)
    kind: Literal["scores", "foreground", "labels"] = "scores"
    if channels == 1:
        kind = "labels" if integer else "foreground"
    return HeadSpec(kind=kind, size_hw=out_size), spec


def _inspect_tflite(path: Path) -> tuple[_Tensor, _Tensor]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=str(path))
            interpreter.allocate_tensors()  # many a damaged file fails only here
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        found = [_from_tflite(detail) for detail in (*inputs, outputs[0])]
    except _DAMAGE as exc:
        raise ModelFileError(
            f"model {path} is damaged or no TFLite file: {short_reason(exc)}; download it again"
        ) from exc
    return _single(path, found[:-1]), found[-1]


def _from_tflite(detail: dict[str, Any]) -> _Tensor:
    scale, zero = detail["quantization"]
    return _Tensor(
        name=detail["name"],
        shape=tuple(int(d) for d in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        quantization=Quantization(scale=float(scale), zero_point=int(zero)) if scale else None,
    )


def _inspect_openvino(path: Path) -> tuple[_Tensor, _Tensor]:
    with no_telemetry():
        import openvino as ov

    read_model_bytes(path.with_suffix(".bin"))
    try:
        model = ov.Core().read_model(path)
        ports = (*model.inputs, model.outputs[0])
        dynamic = any(port.get_partial_shape().is_dynamic for port in ports)
        found = [] if dynamic else [_from_openvino(port) for port in ports]
    except _DAMAGE as exc:
        raise ModelFileError(
            f"model {path} is damaged or no OpenVINO IR: {short_reason(exc)}; convert it again"
        ) from exc
    if dynamic:
        raise HeadError(f"{path.name} has a dynamic input or output shape; convert it with a static one")
    return _single(path, found[:-1]), found[-1]


def _from_openvino(port: Any) -> _Tensor:
    return _Tensor(name=port.get_any_name(), shape=tuple(port.shape), dtype=np.dtype(port.element_type.to_dtype()).name)


def _single(path: Path, inputs: list[_Tensor]) -> _Tensor:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1 or 3 not in inputs[0].shape[1::2]:
        shapes = ", ".join(str(t.shape) for t in inputs)
        raise HeadError(f"{path.name} takes {shapes}; expected one image, (1, H, W, 3) or (1, 3, H, W)")
    return inputs[0]
