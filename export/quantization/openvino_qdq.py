"""int8 for OpenVINO: the QDQ graph of ONNX Runtime's quantizer, converted.

OpenVINO takes pairs of QuantizeLinear and DequantizeLinear for what its own quantizer would insert, so weights, ranges
and the nodes in float are the same in both runtimes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx

from edge_vseg.bundle.manifest import Label, Resize
from edge_vseg.errors import QuantizationError
from edge_vseg.export.conversion_failure import conversion_failure, openvino_reason
from edge_vseg.export.graph.index import GraphIndex, attribute, prune, rewire
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.graph.shared_weights import separate_transposed_weights
from edge_vseg.export.metadata import tag_openvino
from edge_vseg.export.quantization.activations import Infer
from edge_vseg.export.quantization.needless_rounding import (
    clipped_by_rounding,
    drop_needless_rounding,
    sums_of_floats,
)
from edge_vseg.export.quantization.onnxruntime_qdq import (
    HALF_LEVELS,
    QdqRecipe,
    insert_qdq,
    transposed_in_groups,
)
from edge_vseg.export.quantization.openvino_pools import write_out_pools
from edge_vseg.export.quantization.openvino_resizes import write_out_resizes
from edge_vseg.export.quantization.openvino_roundings import SMALLEST_STEP, round_for_extremes, round_for_transposed
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.telemetry import no_telemetry

with no_telemetry():
    import openvino as ov

RECIPE = QdqRecipe(name="S8S8 per channel, reduced range", activation="int8", levels=HALF_LEVELS)
"""Signed, since OpenVINO leaves a convolution whose output is not rounded in float if its input is unsigned. Weights of
7 bits, since one graph is for all CPUs, and without VNNI it adds pairs of products in 16 bits, too."""

_FLOATING = frozenset(
    {"Softmax", "LayerNormalization", "InstanceNormalization", "BatchNormalization", "Gelu", "PRelu", "Sigmoid"}
    | {"HardSigmoid", "HardSwish", "Mul", "Sub", "ReduceMean", "ReduceSum", "ReduceMax", "Cast", "Resize"}
)
"""What OpenVINO computes in float whatever it reads, so that a rounding between two of them costs time and accuracy.
A resize is among them: what it reads would be moved as bytes before, by a transpose for which there is no fast
kernel."""
_WAY_OUT = "leave it out with --runtimes onnxruntime,tflite, or change the network there"


_PAIR = "QuantizeLinear", "DequantizeLinear"
_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantize_openvino(
    model: onnx.ModelProto, ranges: Ranges, scratch: Path, *, float_nodes: Sequence[str] = ()
) -> ov.Model:
    """Static int8: asymmetric activations, symmetric per-channel weights.

    Args:
        model: A float graph whose weights lie on the int8 grid.
        ranges: Range of every float activation.
        scratch: An existing folder for the file that the converter reads.
        float_nodes: Names of nodes that stay in float.

    Raises:
        QuantizationError: If the quantizer or the converter fails.
    """
    float_nodes = (*float_nodes, *_wrong_in_int8(model), *transposed_in_groups(model), *_products_of_activations(model))
    float_nodes = (*float_nodes, *_beside_small_steps(model, ranges))
    integer = frozenset(node.op_type for node in model.graph.node) - _FLOATING
    float_nodes = (*float_nodes, *sums_of_floats(model, integer))
    graph = insert_qdq(model, ranges, RECIPE, float_nodes=float_nodes)
    clipped = clipped_by_rounding(graph, model)
    drop_needless_rounding(graph, integer, float_nodes, clipped)
    round_for_transposed(graph, ranges, float_nodes)
    round_for_extremes(graph, ranges)
    _give_floats(graph, clipped)
    return to_openvino(graph, scratch)


def _wrong_in_int8(model: onnx.ModelProto) -> tuple[str, ...]:
    """Convolutions that stay in float: with AMX, OpenVINO's int8 kernel (2026.4) gives wrong sums for some of them.

    It was seen with even kernels from 4x4 and a stride, as patches are embedded with, for 32 and 48 channels and not
    for 40 or 64.
    """
    index = GraphIndex(model)
    found = []
    for node in model.graph.node:
        kernel = (
            (index.shape(node.input[1]) or ())[2:]
            if node.op_type == "Conv" and node.input[1] in index.initializer
            else ()
        )
        strides = attribute(node, "strides", [1, 1])
        if any(k is not None and k >= 4 and k % 2 == 0 for k in kernel) and strides != [1, 1]:
            found.append(node.name)
    return tuple(found)


def _beside_small_steps(model: onnx.ModelProto, ranges: Ranges) -> tuple[str, ...]:
    """Nodes that read or write a tensor whose step would be too small, as in a network whose scores fade away."""
    small = {name for name, (lowest, highest) in ranges.items() if 0 < highest - lowest < 255 * SMALLEST_STEP}
    return tuple(node.name for node in model.graph.node if small.intersection([*node.input, *node.output]))


def _products_of_activations(model: onnx.ModelProto) -> tuple[str, ...]:
    """The products of attention, which one operator computes in float as long as nothing is rounded between them."""
    index = GraphIndex(model)
    products = (node for node in model.graph.node if node.op_type == "MatMul")
    return tuple(node.name for node in products if all(index.constant(name) is None for name in node.input))


def _give_floats(graph: onnx.ModelProto, clipped: Collection[str]) -> None:
    """Leave outputs of products unrounded: int8 kernels give floats, and rounded scores win where they should not."""
    index = GraphIndex(graph)
    for output in graph.graph.output:
        if output.name in clipped:
            continue  # nothing else is left of a Relu or Clip there
        made = index.producer.get(output.name)
        rounding = None if made is None else index.producer.get(made.input[0])
        if made is None or rounding is None or (rounding.op_type, made.op_type) != _PAIR:
            continue
        exact = rounding.input[0]
        writer = index.producer.get(exact)
        if writer is not None and writer.op_type in _PRODUCTS and len(index.consumers[rounding.output[0]]) == 1:
            made.output[0] = f"{output.name}.rounded"  # which nothing reads
            rewire(graph.graph, output.name, made.output[0])
            writer.output[0] = output.name
            rewire(graph.graph, exact, output.name)
    prune(graph)


def to_openvino(model: onnx.ModelProto, scratch: Path) -> ov.Model:
    """Convert a graph to OpenVINO, float or QDQ.

    Args:
        model: The graph.
        scratch: An existing folder for the file that the converter reads.

    Raises:
        QuantizationError: If OpenVINO cannot convert it, or a resize that it does not know has an unknown size.
    """
    path = scratch / "for_openvino.onnx"
    onnx.save(separate_transposed_weights(write_out_pools(write_out_resizes(model))), path)
    try:
        return ov.convert_model(path)
    except Exception as exc:  # OpenVINO raises RuntimeError and its own kinds
        raise QuantizationError(
            conversion_failure("OpenVINO cannot convert the network", openvino_reason(exc), exc, model, _WAY_OUT)
        ) from exc


def write_openvino(model: onnx.ModelProto, labels: Sequence[Label], path: Path, resize: Resize = "stretch") -> None:
    """Convert a graph, float or QDQ, and write it as ``.xml`` and ``.bin`` with what other clients read.

    Args:
        model: The graph.
        labels: The classes.
        path: The ``.xml``, in an empty folder, where the converter may leave a file.
        resize: What becomes of frames of another size.

    Raises:
        QuantizationError: If OpenVINO cannot convert it.
    """
    converted = to_openvino(model, path.parent)
    tag_openvino(converted, labels, resize)
    save_openvino(converted, path)


def write_openvino_int8(
    model: onnx.ModelProto,
    ranges: Ranges,
    labels: Sequence[Label],
    path: Path,
    resize: Resize = "stretch",
    *,
    float_nodes: Sequence[str] = (),
) -> None:
    """:func:`quantize_openvino`, written as :func:`write_openvino` does."""
    converted = quantize_openvino(model, ranges, path.parent, float_nodes=float_nodes)
    tag_openvino(converted, labels, resize)
    save_openvino(converted, path)


def open_openvino(path: Path) -> Infer:
    """Open an ``.xml`` that :func:`write_openvino` wrote."""
    return start_openvino(read_openvino(path))


def start_openvino(model: ov.Model) -> Infer:
    """Compile a model for the CPU, what is not int8 in float32."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda frame: np.array(compiled({FRAME: frame[None]})[0])


def read_openvino(path: Path) -> ov.Model:
    """Read an ``.xml`` that :func:`save_openvino` wrote."""
    return ov.Core().read_model(path)


def save_openvino(model: ov.Model, path: Path) -> None:
    """Write ``.xml`` and ``.bin``, weights uncompressed; the same model always gives the same bytes."""
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        # OpenVINO numbers nodes without a name over the whole process, so the numbers tell what was made before.
        # A constant that was folded has the number, and the kind, of the node that it came from.
        made_by = "[A-Z][A-Za-z]*" if kind == "Constant" else kind
        if re.fullmatch(rf"{made_by}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_{number}")
    ov.save_model(model, path, compress_to_fp16=False)
