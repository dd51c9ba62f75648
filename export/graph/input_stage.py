"""Give a float graph a uint8 NHWC input, with colour order and normalisation inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_vseg.errors import OptionError
from edge_vseg.export.graph.index import GraphIndex, attribute, prepend, prune, rewire, set_initializer
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.types import ColorOrder

FRAME = "frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """What the trained network expects: ``(pixel - mean) / scale`` of channels in ``color`` order.

    Attributes:
        mean: 3 values on the 0 to 255 scale, in the network's colour order.
        scale: 3 positive values to divide by.
        color: The network's colour order.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    color: ColorOrder = "rgb"

    def __post_init__(self) -> None:
        """Raise OptionError for a scale that is not positive, or an unknown colour order."""
        if not np.all(np.isfinite([*self.mean, *self.scale])) or min(self.scale) <= 0:
            raise OptionError(f"mean must be finite and scale positive, got {self.mean} and {self.scale}")
        if self.color not in ("rgb", "bgr"):
            raise OptionError(f"unknown colour order {self.color!r}; known: rgb, bgr")

    def refuse_second(self, taker: str) -> None:
        """Raise OptionError if a mean or scale is given to what ``taker`` names, which normalises by itself."""
        if (*self.mean, *self.scale) != (0, 0, 0, 1, 1, 1):
            raise OptionError(
                f"{taker} and normalises them itself; leave out --mean and --scale"
                " (--color still says which order it expects)"
            )


def add_input_stage(model: onnx.ModelProto, image: ImageInput, norm: Normalization) -> onnx.ModelProto:
    """Replace the image input by ``frame``: ``(1, H, W, 3)`` uint8 in BGR order.

    Where only plain convolutions read the image, the scale and the colour order go into their weights,
    and only the subtraction of the mean is left (it cannot move: zero padding is zero after it).

    Args:
        model: A canonical model; not changed.
        image: Its image input, with a known size.
        norm: What the network expects.

    Returns:
        The model with the new input.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    pixels = f"{FRAME}.pixels"
    _enter_as_nchw(copy, image, pixels)
    swap = norm.color == "rgb"
    mean, scale = np.array(norm.mean, np.float32), np.array(norm.scale, np.float32)
    if _fold_into_convs(copy, pixels, scale, swap):
        mean, scale, swap = (mean[::-1] if swap else mean), np.ones(3, np.float32), False
    _write_stage(graph, image, pixels, mean, scale, swap)
    prune(copy)
    return copy


def _enter_as_nchw(model: onnx.ModelProto, image: ImageInput, pixels: str) -> None:
    """Make all readers of the image read the NCHW tensor ``pixels``."""
    graph = model.graph
    if image.layout == "NCHW":
        rewire(graph, image.name, pixels)
        return
    entering = [
        node.output[0]
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] == image.name and attribute(node, "perm") == [0, 3, 1, 2]
    ]
    back = f"{FRAME}.nhwc"
    rewire(graph, image.name, back)
    for name in entering:
        rewire(graph, name, pixels)
    prepend(graph, [helper.make_node("Transpose", [pixels], [back], perm=[0, 2, 3, 1])])
    prune(model)  # mostly nothing reads the image this way round any more


def _fold_into_convs(model: onnx.ModelProto, pixels: str, scale: NDArray[np.float32], swap: bool) -> bool:
    index = GraphIndex(model)
    readers = index.consumers.get(pixels, [])
    plain = [n for n in readers if n.op_type == "Conv" and attribute(n, "group", 1) == 1 and n.input[0] == pixels]
    weights = [index.constant(n.input[1]) for n in plain]
    if len(plain) != len(readers) or not plain:
        return False
    for node, weight in zip(plain, weights, strict=True):
        if weight is None:
            return False
        folded = weight.astype(np.float32) / scale.reshape(1, 3, 1, 1)
        name = f"{node.output[0]}.weight_on_pixels"
        set_initializer(model.graph, name, folded[:, ::-1] if swap else folded)
        node.input[1] = name
    return True


def _write_stage(
    graph: onnx.GraphProto,
    image: ImageInput,
    pixels: str,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    swap: bool,
) -> None:
    """Put frame, transpose, (swap), cast, (- mean), (/ scale), pixels first; bytes are moved while they are bytes."""
    steps: list[tuple[str, list[str], dict[str, object]]] = [("Transpose", [], {"perm": [0, 3, 1, 2]})]
    if swap:
        steps.append(("Gather", [set_initializer(graph, f"{FRAME}.swap", np.array([2, 1, 0], np.int64))], {"axis": 1}))
    steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
    if mean.any():
        steps.append(("Sub", [set_initializer(graph, f"{FRAME}.mean", _per_channel(mean))], {}))
    if (scale != 1).any():
        steps.append(("Mul", [set_initializer(graph, f"{FRAME}.gain", _per_channel(1 / scale))], {}))
    nodes, current = [], FRAME
    for i, (op, constants, attributes) in enumerate(steps):
        target = pixels if i == len(steps) - 1 else f"{FRAME}.{op.lower()}"
        nodes.append(helper.make_node(op, [current, *constants], [target], name=f"{FRAME}.{op}", **attributes))
        current = target
    prepend(graph, nodes)
    del graph.input[:]
    height, width = image.size_hw
    graph.input.append(helper.make_tensor_value_info(FRAME, TensorProto.UINT8, [1, height, width, 3]))


def _per_channel(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """A scalar where all channels have the same value: ten times faster in ONNX Runtime, which works on NHWC here."""
    return values[:1].reshape(()) if (values == values[0]).all() else values.reshape(1, 3, 1, 1)


def is_input_node(node: onnx.NodeProto) -> bool:
    """Whether a node belongs to the input stage, which stays in float."""
    return bool(node.name.startswith(f"{FRAME}."))
