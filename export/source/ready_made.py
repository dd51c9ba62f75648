"""Describe a ready-made TFLite or OpenVINO file, which may be anything, without running it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import DType, HeadSpec, Label, Layout, TensorSpec
from edge_vseg.errors import HeadError, OptionError
from edge_vseg.export.export_options import DEFAULT_PRECISIONS, RUNTIMES, ExportOptions
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.onnx_file import read_model_bytes
from edge_vseg.export.source.file_tensors import FileTensor, read_openvino_tensors, read_tflite_tensors
from edge_vseg.export.source.output_choice import Output, choose_output, layout_of
from edge_vseg.export.source.own_normalization import NONE_GIVEN
from edge_vseg.types import Size

log = logging.getLogger(__name__)


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
        output_name: Name of the output if the file has several, else empty.
        notes: What whoever wraps it should know.
    """

    runtime: Literal["tflite", "openvino"]
    sha256: str
    input: TensorSpec
    output: TensorSpec
    head: HeadSpec
    labels: tuple[Label, ...]
    size_hw: Size
    output_name: str = ""
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
    runtime: Literal["tflite", "openvino"] = "tflite" if source.suffix.lower() == ".tflite" else "openvino"
    _refuse_options(source, runtime, options)
    data = read_model_bytes(source)
    tensors = read_tflite_tensors(source) if runtime == "tflite" else read_openvino_tensors(source)
    image = _single(source, tensors.inputs)
    layout: Layout = "NHWC" if image.shape[3] == 3 else "NCHW"
    size = cast(Size, image.shape[1:3] if layout == "NHWC" else image.shape[2:])
    own_range = image.dtype == "uint8" and image.quantization is None
    norm = options.normalization or Normalization()
    if own_range:
        norm.refuse_second(f"{source.name} takes uint8 images")
    classes = None if options.labels is None else len(options.labels)
    output, note = _choose_output(source, tensors.outputs, options.output_name, classes, size)
    head, out_spec = _describe_output(output, size, classes)
    labels = _choose_labels(source, options, head, out_spec)
    notes = [note] if note else []
    if not own_range and options.normalization is None:
        notes.append(NONE_GIVEN)  # nobody said what the file expects, and it may expect anything
    for line in notes:
        log.warning("%s: %s", source.name, line)
    return ReadyMade(
        runtime=runtime,
        sha256=hashlib.sha256(data).hexdigest(),
        input=TensorSpec(
            name=image.name,
            shape=image.shape,
            dtype=image.dtype,  # type: ignore[arg-type]
            layout=layout,
            quantization=image.quantization,
            mean=() if own_range else norm.mean,
            scale=() if own_range else norm.scale,
        ),
        output=out_spec,
        head=head,
        labels=labels,
        size_hw=size,
        output_name=output.name if len(tensors.outputs) > 1 else "",
        notes=tuple(notes),
    )


def _refuse_options(source: Path, runtime: str, options: ExportOptions) -> None:
    """Refuse what was asked for and cannot be had; what was left at its default was not asked for."""
    given = {
        "--weights": options.weights is not None,
        "--input-size": options.size_hw is not None,
        "--finetune": options.finetune is not None,
        "--tiles": options.tiles is not None,
        "--targets": bool(options.targets),
        "--precision": set(options.precisions) != set(DEFAULT_PRECISIONS),
        "--min-speedup": options.min_speedup is not None,
        "--node-times": options.node_times is not None,
        "--carry": bool(options.carried),
    }
    if names := [name for name, is_given in given.items() if is_given]:
        verb, them = ("does", "it") if len(names) == 1 else ("do", "them")
        raise OptionError(
            f"{' and '.join(names)} {verb} not apply to {source.name}: it is wrapped as it is; leave {them} out"
        )
    if set(options.runtimes) not in ({runtime}, set(RUNTIMES)):
        raise OptionError(
            f"{source.name} can be wrapped for {runtime} only, and --runtimes asks for {', '.join(options.runtimes)};"
            " leave it out"
        )


def _choose_output(
    source: Path, outputs: Sequence[FileTensor], wanted: str, classes: int | None, size: Size
) -> tuple[FileTensor, str]:
    """The output to take, and a warning if there were others."""
    choice = choose_output([Output(name=t.name, shape=t.shape, whole=t.whole) for t in outputs], wanted, classes, size)
    output = next(tensor for tensor in outputs if tensor.name == choice.name)
    if 0 in output.shape:
        raise HeadError(f"{source.name} has a dynamic input or output shape; convert it with a static one")
    return output, choice.note


def _choose_labels(source: Path, options: ExportOptions, head: HeadSpec, output: TensorSpec) -> tuple[Label, ...]:
    channels = {"scores": output.hwc[2], "foreground": 2, "labels": 0}[head.kind]
    if options.labels is None and not channels:
        raise HeadError(f"{source.name} gives a finished label map, which does not tell its classes; give --classes")
    labels = options.labels or numbered_labels(channels)
    if channels and len(labels) != channels:
        raise HeadError(f"--classes names {len(labels)} classes, {source.name} gives {channels}; make them agree")
    return labels


def _describe_output(tensor: FileTensor, size: Size, classes: int | None) -> tuple[HeadSpec, TensorSpec]:
    """Tell scores, a foreground channel and a label map apart by shape and dtype."""
    shape = tensor.shape
    layout: Layout
    match shape:
        case (1, _, _, _):
            layout = layout_of(shape, size, classes)
        case (1, _, _):
            layout = "NHW"
        case (1, count) if count == size[0] * size[1]:
            layout = "flat"
        case _:
            raise HeadError(f"output {tensor.name!r} has shape {shape}; expected scores or a label map of one image")
    if tensor.dtype not in get_args(DType):
        raise HeadError(
            f"output {tensor.name!r} is {tensor.dtype}; expected one of {', '.join(get_args(DType))}; convert it"
        )
    spec = TensorSpec(
        name=tensor.name,
        shape=shape,
        dtype=tensor.dtype,  # type: ignore[arg-type]
        layout=layout,
        quantization=tensor.quantization,
    )
    height, width, channels = spec.hwc
    out_size = size if layout == "flat" else (height, width)
    kind: Literal["scores", "foreground", "labels"] = "scores"
    if channels == 1:
        kind = "labels" if tensor.whole else "foreground"
    return HeadSpec(kind=kind, size_hw=out_size), spec


def _single(path: Path, inputs: Sequence[FileTensor]) -> FileTensor:
    if any(0 in tensor.shape for tensor in inputs):
        raise HeadError(f"{path.name} has a dynamic input or output shape; convert it with a static one")
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1 or 3 not in inputs[0].shape[1::2]:
        shapes = ", ".join(str(t.shape) for t in inputs)
        raise HeadError(f"{path.name} takes {shapes}; expected one image, (1, H, W, 3) or (1, 3, H, W)")
    return inputs[0]
