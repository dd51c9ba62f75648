"""Find the image input and the output of a segmentation graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx

from edge_vseg.errors import DynamicShapeError, HeadError, OptionError
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.types import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The graph input that takes the image.

    Attributes:
        name: Name of the tensor.
        layout: ``NCHW`` or ``NHWC``.
        size_hw: Height and width, ``None`` where the graph leaves them open.
        dtype: ONNX element type.
        batch: Number of images that the graph takes at once; ``None`` if it leaves that open.
    """

    name: str
    layout: Literal["NCHW", "NHWC"]
    size_hw: tuple[int | None, int | None]
    dtype: int
    batch: int | None = None

    def shape(self, size_hw: Size) -> tuple[int, int, int, int]:
        """Shape of one image in this layout."""
        height, width = size_hw
        return (1, 3, height, width) if self.layout == "NCHW" else (1, height, width, 3)


def find_image_input(model: onnx.ModelProto) -> ImageInput:
    """The one input that takes a 3-channel image.

    Raises:
        DynamicShapeError: If its rank is unknown.
        HeadError: If the graph has several inputs, or this one is no 3-channel image.
    """
    index = GraphIndex(model)
    inputs = [i for i in model.graph.input if i.name not in index.initializer]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise HeadError(
            f"expected one image input, the model has {len(inputs)} ({names}); export a single-image network"
        )
    name = inputs[0].name
    shape = index.shape(name)
    if shape is None:
        raise DynamicShapeError(f"input {name!r} has no rank; export the network with a shape of 4 dimensions")
    if len(shape) != 4:
        raise HeadError(f"input {name!r} has shape {shape}; expected (1, 3, H, W) or (1, H, W, 3)")
    dtype, batch = index.dtype(name), shape[0]
    if shape[1] == 3:
        return ImageInput(name=name, layout="NCHW", size_hw=(shape[2], shape[3]), dtype=dtype, batch=batch)
    if shape[3] == 3:
        return ImageInput(name=name, layout="NHWC", size_hw=(shape[1], shape[2]), dtype=dtype, batch=batch)
    raise HeadError(
        f"input {name!r} has shape {shape}; expected 3 colour channels, (1, 3, H, W) or (1, H, W, 3): put operators"
        " before it that make its channels of three, such as a mean for grey, and export that"
    )


def keep_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A copy of the model with one output only."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [output for output in model.graph.output if output.name == name]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return copy


def choose_size(image: ImageInput, size_hw: Size | None) -> Size:
    """Input size of the export: the one asked for, else the graph's own.

    Raises:
        OptionError: If there is neither, or it is not positive.
    """
    if size_hw is not None:
        if min(size_hw) < 1:
            raise OptionError(f"input size must be positive, got {size_hw[0]}x{size_hw[1]}")
        return size_hw
    height, width = image.size_hw
    if height is None or width is None:
        raise OptionError(
            f"input {image.name!r} leaves its height or width open ({height}x{width}); give --input-size HxW"
        )
    return height, width
