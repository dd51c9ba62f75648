"""Feed the bytes of a frame to the first int8 layer directly."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex, described_tensors, prune, rewire
from edge_vseg.export.graph.input_stage import is_input_node


def take_bytes(model: onnx.ModelProto) -> None:
    """Remove the arithmetic of the input stage where quantizing undoes it exactly.

    ``(pixel - mean) * gain``, quantized to uint8 with scale ``gain`` and zero point ``mean``, is the pixel again.
    So where mean and gain are the same for all channels and the mean is whole, the DequantizeLinear may read
    the frame itself. Cast, subtraction and quantization cost a sixth of a 2.5 GMAC network on x86.

    Args:
        model: A QDQ graph; changed in place.
    """
    index = GraphIndex(model)
    for node in list(model.graph.node):
        if node.op_type != "QuantizeLinear":
            continue
        stage: list[onnx.NodeProto] = []
        name = node.input[0]
        while (source := index.producer.get(name)) is not None and is_input_node(source) and source.op_type != "Cast":
            stage.insert(0, source)
            name = source.input[0]
        if source is None or source.op_type != "Cast" or not is_input_node(source):
            continue
        mean, gain = _uniform(index, stage)
        scale, zero = (_scalar(index.constant(part)) for part in node.input[1:3])
        if None not in (mean, gain, scale) and zero == mean and abs(scale / gain - 1) < 1e-6:  # type: ignore[operator]
            rewire(model.graph, node.output[0], source.input[0])
    prune(model, described_tensors(model))


def _uniform(index: GraphIndex, stage: list[onnx.NodeProto]) -> tuple[float | None, float | None]:
    """The one mean and gain of an input stage; ``None`` where channels differ or it does something else."""
    mean: float | None = 0.0
    gain: float | None = 1.0
    for node in stage:
        value = _scalar(index.constant(node.input[1])) if node.op_type in ("Sub", "Mul") else None
        if node.op_type == "Sub":
            mean = value
        elif node.op_type == "Mul":
            gain = value
        else:
            return None, None
    return mean, gain


def _scalar(value: NDArray[np.generic] | None) -> float | None:
    return float(value.item()) if value is not None and value.size == 1 else None
