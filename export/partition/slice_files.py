"""Write the slices of a variant as files of its runtime, and describe their inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edge_vseg.bundle.manifest import Layout, Quantization, Slice, TensorSpec, Variant
from edge_vseg.errors import ExportError
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.onnx_slices import NHWC, cut_onnx
from edge_vseg.types import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canonical:
    """The graph that a variant was made from; converters rename its tensors, and slices are planned in its names.

    Attributes:
        flow: The float graph; ``None`` but for ONNX Runtime, whose graphs are cut by it.
        model: The graph that was converted: the float graph, or its equalized form; ``None`` but for TFLite.
        frame: ``(H, W, 3)`` uint8 at the input size, to find tensors by their values.
    """

    flow: DataFlow | None
    model: onnx.ModelProto | None
    frame: Image


def write_slices(root: Path, variant: Variant, parts: Sequence[Part], canonical: Canonical) -> tuple[Slice, ...]:
    """Cut a variant's graph and write the slices beside it.

    Args:
        root: The folder that holds the variant's folder.
        variant: The variant.
        parts: The slices.
        canonical: What it was made from.

    Raises:
        ExportError: If the graph cannot be cut there.
    """
    folder = root / variant.id
    match variant.runtime:
        case "onnxruntime":
            made = _write_onnx(folder, root / variant.entry, parts, canonical)
        case "openvino":
            made = _write_openvino(folder, root / variant.entry, parts)
        case "tflite":
            made = _write_tflite(folder, root / variant.entry, parts, canonical)
        case _:
            raise ExportError(f"graphs of {variant.runtime} cannot be cut")
    whole = {tensor.name: tensor for tensor in (variant.input, variant.output)}
    return tuple(
        Slice(
            entry=f"{variant.id}/{name}",
            inputs=tuple(whole.get(tensor.name, tensor) for tensor in inputs),
            outputs=tuple(whole.get(tensor.name, tensor) for tensor in outputs),
        )
        for name, inputs, outputs in made
    )


_Written = list[tuple[str, list[TensorSpec], list[TensorSpec]]]


def _write_onnx(folder: Path, path: Path, parts: Sequence[Part], canonical: Canonical) -> _Written:
    assert canonical.flow is not None
    written: _Written = []
    for number, model in enumerate(cut_onnx(onnx.load(path), canonical.flow, parts), 1):
        name = f"slice{number}.onnx"
        onnx.save(model, folder / name)
        written.append((name, [_onnx_spec(v) for v in model.graph.input], [_onnx_spec(v) for v in model.graph.output]))
    return written


def _onnx_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return _spec(value.name, shape, dtype, "NHWC" if value.name.endswith(NHWC) else "NCHW")


def _write_openvino(folder: Path, path: Path, parts: Sequence[Part]) -> _Written:
    from edge_vseg.export.partition.openvino_slices import cut_openvino, openvino_ports
    from edge_vseg.export.quantization.openvino_qdq import read_openvino, save_openvino

    written: _Written = []
    for number, model in enumerate(cut_openvino(read_openvino(path), parts), 1):
        name = f"slice{number}.xml"
        save_openvino(model, folder / name)
        inputs, outputs = openvino_ports(model)
        written.append((name, [_spec(*t, "NCHW") for t in inputs], [_spec(*t, "NCHW") for t in outputs]))
    return written


def _write_tflite(folder: Path, path: Path, parts: Sequence[Part], canonical: Canonical) -> _Written:
    from edge_vseg.export.partition.tflite_slices import cut_tflite, tflite_ports

    assert canonical.model is not None
    written: _Written = []
    for number, file in enumerate(cut_tflite(path.read_bytes(), parts, canonical.model, canonical.frame), 1):
        name = f"slice{number}.tflite"
        (folder / name).write_bytes(file)
        inputs, outputs = tflite_ports(file)
        specs = [[_spec(n, shape, dtype, "NHWC", q) for n, shape, dtype, q in side] for side in (inputs, outputs)]
        written.append((name, specs[0], specs[1]))
    return written


def _spec(
    name: str, shape: tuple[int, ...], dtype: str, layout: Layout, quantization: Quantization | None = None
) -> TensorSpec:
    kind: Layout = layout if len(shape) == 4 and shape[0] == 1 else "any"
    return TensorSpec(name=name, shape=shape, dtype=dtype, layout=kind, quantization=quantization)  # type: ignore[arg-type]
