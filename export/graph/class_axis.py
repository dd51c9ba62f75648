"""Which axis of a tensor of scores holds the classes: the one behind the batch, or the last.

Most networks give ``(1, C, H, W)``. Those with a linear layer at their end, or that were written for TensorFlow,
compute ``(1, H, W, C)``, and some turn that round as the last thing they do.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edge_vseg.errors import HeadError
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.source.output_choice import fits_classes, layout_of
from edge_vseg.types import Size

_PLANAR = (
    "Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "AveragePool",
    "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth", "GridSample", "LRN",
)  # fmt: skip
"""Operators for which axis 1 holds the channels."""
_KEEPS_AXES = (
    "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "LogSoftmax", "Max", "Min", "Mish", "Mul", "Neg",
    "PRelu", "Pad", "Pow", "Relu", "Resize", "Round", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "Split",
    "Sqrt", "Sub", "Tanh", "Where",
)  # fmt: skip


def possible_axes(index: GraphIndex, name: str) -> tuple[int, ...]:
    """Of 1 and 3, the axes of a tensor that may hold the classes: only 1 where convolutions made it."""
    maker = _maker(index, name)
    return (1,) if maker is not None and maker.op_type in _PLANAR else (1, 3)


def class_axis(index: GraphIndex, name: str, axes: Sequence[int], classes: int | None, image_hw: Size) -> int:
    """The axis of a tensor that holds the classes.

    The other two are height and width, in the aspect of the image. If that does not tell, a linear layer does, or else
    the number of classes.

    Args:
        index: Of the graph.
        name: The tensor, of four axes.
        axes: Those of them that may be, 1, 3 or both.
        classes: Number of classes, if it is known.
        image_hw: Size of the image.

    Raises:
        HeadError: If nothing tells.
    """
    if len(axes) == 1:
        return axes[0]
    shape = index.shape(name)
    assert shape is not None, "canonical graphs have static shapes"
    _, first, middle, last = (length or 0 for length in shape)
    planes = {1: (middle, last), 3: (first, middle)}
    shaped = [axis for axis, plane in planes.items() if _has_aspect(plane, image_hw)]
    if len(shaped) == 1:
        return shaped[0]
    if _is_linear(index, name):
        return 3
    # The number of classes changes nothing where one plane is far more like the image than the other.
    layouts = {layout_of((1, first, middle, last), image_hw, count) for count in (first, last)}
    if not shaped and len(layouts) == 1:
        return 1 if layouts == {"NCHW"} else 3
    if classes is not None:
        fitting = [axis for axis, count in ((1, first), (3, last)) if fits_classes(count, classes)]
        if len(fitting) < 2:
            return fitting[0] if fitting else 1
    raise HeadError(
        f"the network gives scores of shape {shape}, and either axis 1 or axis 3 may hold the classes;"
        f" give {'--classes' if classes is None else 'another --input-size'}, or export it with (1, C, H, W) scores"
    )


def _maker(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """The operator that the axes of a tensor of four come from, behind which values change in their places only."""
    node = index.producer.get(name)
    while node is not None and node.op_type in _KEEPS_AXES:
        whole = (each for each in node.input if index.constant(each) is None and len(index.shape(each) or ()) == 4)
        node = index.producer.get(next(whole, ""))
    return node


def _is_linear(index: GraphIndex, name: str) -> bool:
    """Whether a linear layer made a tensor, at each place or at each row of a list of them."""
    node = _maker(index, name)
    if node is not None and node.op_type == "Reshape":
        before, after = index.shape(node.input[0]), index.shape(node.output[0])
        node = index.producer.get(node.input[0]) if before and after and before[-1] == after[-1] else None
    return node is not None and node.op_type in ("Gemm", "MatMul") and index.constant(node.input[1]) is not None


def _has_aspect(plane: tuple[int, int], image_hw: Size) -> bool:
    """Whether a height and width are the image's divided by one stride, but for the rounding of both."""
    return abs(plane[0] * image_hw[1] - plane[1] * image_hw[0]) <= max(image_hw)
