"""Wrap a ready-made TFLite or OpenVINO file as a bundle for its own runtime, without changing it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from edge_vseg.errors import HeadError, ModelFileError
from edge_vseg.export.graph.onnx_file import read_model_bytes
from edge_vseg.export.options import ExportOptions
from edge_vseg.export.telemetry import no_telemetry
from edge_vseg.labels import numbered_labels
from edge_vseg.manifest import HeadSpec, Label, Layout, Quantization, SourceSpec, TensorSpec, Variant
from edge_vseg.types import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A ready-made file in its place, and what the manifest says about it."""

    variant: Variant
    head: HeadSpec
    labels: tuple[Label, ...]
    size_hw: Size
    source: SourceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None


def wrap_ready_made(source: Path, root: Path, options: ExportOptions) -> Wrapped:
    """Copy the file into the bundle and describe its input and output.

    Args:
        source: A ``.tflite``, or an OpenVINO ``.xml`` with its ``.bin`` beside it.
        root: The folder of the bundle being staged.
        options: Classes, normalisation and colour order count; the rest does not apply.

    Raises:
        ModelFileError: If the file cannot be read.
        HeadError: If it is no single-image segmentation network, or the classes disagree with it.
    """
    data = read_model_bytes(source)
    runtime: Literal["tflite", "openvino"] = "tflite" if source.suffix.lower() == ".tflite" else "openvino"
    given, output = _inspect_tflite(source) if runtime == "tflite" else _inspect_openvino(source)
    quantized = given.dtype != "float32" or _has_int8(runtime, source)
    variant_id = f"{runtime}/{'int8' if quantized else 'float'}"
    folder = root / variant_id
    folder.mkdir(parents=True)
    files = [source] if runtime == "tflite" else [source, source.with_suffix(".bin")]
    for file in files:
        shutil.copyfile(file, folder / f"model{file.suffix.lower()}")
    norm = options.normalization
    layout: Layout = "NHWC" if given.shape[3] == 3 else "NCHW"
    size = cast(Size, given.shape[1:3] if layout == "NHWC" else given.shape[2:])
    own_range = given.dtype == "uint8" and given.quantization is None
    head, out_spec = _describe_output(output, size)
    channels = {"scores": out_spec.hwc[2], "foreground": 2, "labels": 0}[head.kind]
    if options.labels is None and not channels:
        raise HeadError(f"{source.name} gives a finished label map, which does not tell its classes; give --classes")
    labels = options.labels or numbered_labels(channels)
    if channels and len(labels) != channels:
        raise HeadError(f"--classes names {len(labels)} classes, {source.name} gives {channels}; make them agree")
    variant = Variant(
        id=variant_id,
        runtime=runtime,
        precision="int8" if quantized else "float",
        target="any",
        status="ok",
        recipe="as it came",
        entry=f"{variant_id}/model{source.suffix.lower()}",
        files=tuple(f"{variant_id}/{p.name}" for p in sorted(folder.iterdir())),
        input=TensorSpec(
            name=given.name,
            shape=given.shape,
            dtype=given.dtype,  # type: ignore[arg-type]
            layout=layout,
            quantization=given.quantization,
            mean=() if own_range else norm.mean,
            scale=() if own_range else norm.scale,
        ),
        output=out_spec,
        bytes=sum(p.stat().st_size for p in folder.iterdir()),
    )
    spec = SourceSpec(
        name=source.name,
        kind=runtime,
        sha256=hashlib.sha256(data).hexdigest(),
        mean=norm.mean,
        scale=norm.scale,
        color=norm.color,
        frame_color=norm.color,
    )
    return Wrapped(variant=variant, head=head, labels=labels, size_hw=size, source=spec)


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
        interpreter = Interpreter(model_path=str(path))
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as exc:
        raise ModelFileError(f"model {path} is damaged or no TFLite file; download it again") from exc
    return _single(path, [_from_tflite(d) for d in inputs]), _from_tflite(outputs[0])


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
    except RuntimeError as exc:
        raise ModelFileError(f"model {path} is damaged or no OpenVINO IR; convert it again") from exc
    if any(port.get_partial_shape().is_dynamic for port in model.inputs):
        raise HeadError(f"{path.name} has a dynamic input shape; convert it with a static one")
    found = [
        _Tensor(name=p.get_any_name(), shape=tuple(p.shape), dtype=np.dtype(p.element_type.to_dtype()).name)
        for p in (*model.inputs, model.outputs[0])
    ]
    return _single(path, found[: len(model.inputs)]), found[-1]


def _single(path: Path, inputs: list[_Tensor]) -> _Tensor:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1 or 3 not in inputs[0].shape[1::2]:
        shapes = ", ".join(str(t.shape) for t in inputs)
        raise HeadError(f"{path.name} takes {shapes}; expected one image, (1, H, W, 3) or (1, 3, H, W)")
    return inputs[0]


def _has_int8(runtime: str, path: Path) -> bool:
    if runtime == "tflite":
        return False
    return b"FakeQuantize" in path.read_bytes()
