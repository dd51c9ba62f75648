"""Open an ONNX file as the float network that it is, or was before somebody quantized or halved it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.errors import DynamicShapeError, ModelFileError
from edge_vseg.export.error_text import last_line
from edge_vseg.export.graph.dequantize import drop_quantization, is_quantized
from edge_vseg.export.graph.interface import ImageInput, choose_size, find_image_input, keep_output
from edge_vseg.export.graph.onnx_file import read_onnx
from edge_vseg.export.graph.precision import is_double, is_half, to_float32
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.export.source.output_choice import ChosenOutput, Output, choose_output
from edge_vseg.export.source.source_network import SourceNetwork
from edge_vseg.types import Size

_DEQUANTIZED = (
    "it is already quantized: its weights are taken from their grid of 8 bits, and quantization of activations is left"
    " out; give the float network that it was made from if you have it"
)
_HALVED = "its float16 weights are taken as float32"
_ROUNDED = "it computes in double precision; its weights are rounded to float32"


def open_onnx(path: Path, size_hw: Size | None, output_name: str, classes: int | None) -> SourceNetwork:
    """Open an ONNX file.

    Args:
        path: The file.
        size_hw: Input size; ``None`` for the graph's own.
        output_name: The output to take of several; empty for the one that looks most like scores.
        classes: Number of classes, if it is known, to tell scores by.

    Raises:
        SourceError: One of its kinds, if the network cannot be used.
        OptionError: If the output or the size does not exist.
    """
    read = read_onnx(path)
    _require_size(read.model, path, size_hw)
    original, model, notes = read.model, read.model, list[str]()
    if is_double(model):
        original = model = to_float32(model)
        notes.append(_ROUNDED)
    _require_loadable(original, path)
    if is_quantized(model):
        # The check against the source is one of this graph: what integers rounded is no fault of the export.
        original = model = drop_quantization(model, where=str(path))
        notes.append(_DEQUANTIZED)
    if is_half(model):
        model = to_float32(model)
        notes.append(_HALVED)
    chosen = _choose_output(original, path, size_hw, output_name, classes)
    if chosen is not None:
        original, model = keep_output(original, chosen.name), keep_output(model, chosen.name)
        notes.append(chosen.note)
    return SourceNetwork(
        name=path.name,
        kind="onnx",
        fingerprint=read.sha256,
        size_hw=None,
        load_graph=lambda size_hw: model,
        run=lambda value: _run(original, path, value)[0],
        output="" if chosen is None else chosen.name,
        notes=tuple(note for note in notes if note),
    )


def _require_size(model: onnx.ModelProto, path: Path, size_hw: Size | None) -> None:
    """Raise DynamicShapeError if a file is written for another size: it could not be run to compare the export with."""
    if size_hw is None:
        return
    own = find_image_input(model).size_hw
    if all(length in (None, wanted) for length, wanted in zip(own, size_hw, strict=True)):
        return
    height, width = ("any" if length is None else length for length in own)
    raise DynamicShapeError(
        f"{path} is written for {height}x{width} images, not for {size_hw[0]}x{size_hw[1]}; leave out --input-size, or"
        " write the file with an open height and width (dynamic_axes or dynamic_shapes of torch.onnx.export)"
    )


def _require_loadable(model: onnx.ModelProto, path: Path) -> None:
    try:
        open_float(model)
    except Exception as exc:  # ONNX Runtime raises kinds of its own, all under Exception
        raise ModelFileError(f"model {path} cannot be loaded by ONNX Runtime: {last_line(exc)}") from exc


def _choose_output(
    model: onnx.ModelProto, path: Path, size_hw: Size | None, wanted: str, classes: int | None
) -> ChosenOutput | None:
    """The output to take, ``None`` if there is only one and nobody asked. Runs the network to see the shapes."""
    names = [output.name for output in model.graph.output]
    if len(names) == 1 and not wanted:
        return None
    image = find_image_input(model)
    size = choose_size(image, size_hw)
    black = np.zeros(image.shape(size), onnx.helper.tensor_dtype_to_np_dtype(image.dtype))
    outputs = [
        Output(name=name, shape=value.shape, whole=not np.issubdtype(value.dtype, np.floating))
        for name, value in zip(names, _run(model, path, black), strict=True)
    ]
    return choose_output(outputs, wanted, classes, size)


def _run(model: onnx.ModelProto, path: Path, value: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """All outputs for one image, also of a model with a fixed batch or another precision."""
    session, image = open_float(model), find_image_input(model)
    batch = np.repeat(value, image.batch or 1, axis=0)
    feed = batch.astype(onnx.helper.tensor_dtype_to_np_dtype(image.dtype))
    try:
        outputs = session.run(None, {image.name: feed})
    except Exception as exc:  # as above
        raise ModelFileError(
            f"model {path} cannot be run: {last_line(exc)}; it may be damaged, or need another --input-size"
        ) from exc
    return [_one_of(np.asarray(output), image) for output in outputs]


def _one_of(output: NDArray[np.generic], image: ImageInput) -> NDArray[np.generic]:
    """The first image's part, in float32 if the network computes in another float type."""
    first = output[:1] if output.ndim and output.shape[0] == image.batch else output
    return first.astype(np.float32) if first.dtype == np.float16 else first
