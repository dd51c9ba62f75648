"""int8 for ONNX Runtime: static QDQ, with a recipe for each target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edge_vseg.errors import OptionError, QuantizationError
from edge_vseg.export.conversion_failure import NO_INT8, conversion_failure
from edge_vseg.export.graph.fast_prelu import with_fast_prelu
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.graph.input_stage import is_input_node
from edge_vseg.export.graph.matrix_constants import stacks_of_constants
from edge_vseg.export.quantization.clips import clips_beyond_zero
from edge_vseg.export.quantization.depthwise_channels import widen_depthwise
from edge_vseg.export.quantization.infinity import nodes_of_infinity
from edge_vseg.export.quantization.integer_operators import scale_gates, use_integer_operators
from edge_vseg.export.quantization.merged_columns import merge_columns
from edge_vseg.export.quantization.needless_rounding import (
    clipped_by_rounding,
    drop_needless_rounding,
    sums_of_floats,
)
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.quantization.uint8_input import take_bytes
from edge_vseg.runtimes.cpu import CpuInfo, cpu_features
from edge_vseg.runtimes.graph_checks import short_reason

# The second registry adds sums, concatenations and activations, as quantize_static does.
INTEGER_OPERATORS = frozenset({*QDQRegistry, *QLinearOpsRegistry}) - {
    "LayerNormalization", "InstanceNormalization", "BatchNormalization",
}  # fmt: skip
"""Operators that are quantized; the quantizer knows more, which no runtime computes in integers."""
_FAST = INTEGER_OPERATORS - {"Softmax"}
"""Those of ONNX Runtime: its integer Softmax looks up exponentials one by one, which is slower than to compute them."""

FULL_LEVELS, HALF_LEVELS = 127, 64
"""Largest weight integer of 8 and of 7 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QdqRecipe:
    """How a target is quantized.

    Attributes:
        name: Goes into the manifest.
        activation: ``uint8`` or ``int8``.
        symmetric: Whether activations have their zero at 0.
        levels: Largest weight integer: 127, or 64 where 16-bit sums would saturate.
        requires: CPU features without which a kernel saturates or crawls.
        depthwise_multiple: Of channels, for which depthwise convolutions have their fast kernel.
        merges_columns: Whether the first convolution reads several pixels of a row as one.
    """

    name: str
    activation: str
    symmetric: bool = False
    levels: int = 127
    requires: tuple[str, ...] = ()
    depthwise_multiple: int = 1
    merges_columns: bool = False


# S8S8 on x86 is 6 times slower than U8S8 (measured); arm64's kernels are written for S8S8.
RECIPES = {
    "x86_64": QdqRecipe(
        name="U8S8 per channel",
        activation="uint8",
        requires=("vnni",),
        depthwise_multiple=16,
        merges_columns=True,
    ),
    # Without VNNI, vpmaddubsw adds pairs of products in 16 bits: 7-bit weights cannot overflow them.
    # Neither was measured there. Merging stays off: it multiplies by zeros, and a product takes three instructions.
    "x86_64-avx2": QdqRecipe(
        name="U8S8 per channel, reduced range", activation="uint8", levels=HALF_LEVELS, depthwise_multiple=16
    ),
    "arm64": QdqRecipe(name="S8S8 per channel", activation="int8", depthwise_multiple=8),
    "jetson": QdqRecipe(name="S8S8 per channel, symmetric", activation="int8", symmetric=True),
}


def recipe_for(target: str) -> QdqRecipe:
    """The recipe of a target.

    Raises:
        OptionError: If the target is unknown.
    """
    if target not in RECIPES:
        raise OptionError(f"unknown target {target!r}; known: {', '.join(RECIPES)}")
    return RECIPES[target]


def weight_levels(runtime: str, target: str) -> int:
    """Largest weight integer of a runtime's int8 graphs."""
    if runtime == "onnxruntime":
        return recipe_for(target).levels
    return HALF_LEVELS if runtime == "openvino" else FULL_LEVELS


def rounding_key(runtime: str, target: str) -> str:
    """For fingerprints: how int8 graphs of a runtime and target are rounded, and whether they are judged in float."""
    levels = weight_levels(runtime, target)
    here = runtime == "onnxruntime" and saturates(recipe_for(target), cpu_features())
    return f"{levels} levels, in float" if here else f"{levels} levels"


def saturates(recipe: QdqRecipe, cpu: CpuInfo) -> bool:
    """Whether ONNX Runtime's integer kernels of a CPU give wrong sums for a graph of this recipe.

    An x86 CPU without VNNI adds pairs of products in 16 bits, which weights of the full range overflow. On the machine
    that the graph is for, it may be right.
    """
    return cpu.architecture == "x86_64" and not cpu.has_vnni and recipe.levels > HALF_LEVELS


def quantize_onnxruntime(
    model: onnx.ModelProto, ranges: Ranges, recipe: QdqRecipe, *, float_nodes: Sequence[str] = ()
) -> onnx.ModelProto:
    """Insert QuantizeLinear and DequantizeLinear pairs for ONNX Runtime or TensorRT.

    Args:
        model: A float graph whose weights lie on the recipe's grid.
        ranges: Range of every float activation.
        recipe: The target's recipe.
        float_nodes: Names of nodes that stay in float.

    Returns:
        The QDQ graph.

    Raises:
        QuantizationError: If ONNX Runtime's quantizer fails.
    """
    if recipe.symmetric:
        # TensorRT has kernels of its own; and a symmetric range does not end at 0, where a gate has to.
        return insert_qdq(model, ranges, recipe, float_nodes=float_nodes)
    float_nodes = [*float_nodes, *sums_of_floats(model, _FAST), *clips_beyond_zero(model)]
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    changed, gates = use_integer_operators(prepared, ranges, float_nodes)
    quantized = insert_qdq(prepared, changed, recipe, float_nodes=float_nodes, operators=_FAST)
    if not scale_gates(quantized, gates):
        quantized = insert_qdq(model, ranges, recipe, float_nodes=float_nodes, operators=_FAST)
    drop_needless_rounding(quantized, _FAST, float_nodes, clipped_by_rounding(quantized, model))
    widen_depthwise(quantized, recipe.depthwise_multiple)
    if recipe.merges_columns:
        merge_columns(quantized)
    return with_fast_prelu(quantized)


def transposed_in_groups(model: onnx.ModelProto) -> list[str]:
    """Transposed convolutions of groups of several channels: the quantizer takes one scale for too few of them."""
    index = GraphIndex(model)
    nodes = (n for n in model.graph.node if n.op_type == "ConvTranspose" and attribute(n, "group", 1) != 1)
    return [n.name for n in nodes if (index.shape(n.input[1]) or (0, 0))[1] != 1]


def insert_qdq(
    model: onnx.ModelProto,
    ranges: Ranges,
    recipe: QdqRecipe,
    *,
    float_nodes: Sequence[str] = (),
    operators: Collection[str] = INTEGER_OPERATORS,
) -> onnx.ModelProto:
    """As :func:`quantize_onnxruntime`, with the graph as it is and the given operators quantized."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # In a symmetric range no activation is dropped.
    clips = [] if recipe.symmetric else clips_beyond_zero(copy)
    tensors = {n: TensorData(lowest=np.float32(a), highest=np.float32(b)) for n, (a, b) in ranges.items()}
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=recipe.levels == HALF_LEVELS,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if recipe.activation == "uint8" else QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, tensors),
        nodes_to_quantize=[],
        nodes_to_exclude=[n.name for n in copy.graph.node if is_input_node(n)]
        + [*float_nodes, *nodes_of_infinity(copy), *transposed_in_groups(copy), *clips, *stacks_of_constants(copy)],
        op_types_to_quantize=sorted(operators),
        extra_options={"ActivationSymmetric": recipe.symmetric, "WeightSymmetric": True},
    )
    try:
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        quantized: onnx.ModelProto = quantizer.model.model
        take_bytes(quantized)
        onnx.checker.check_model(quantized)
    except Exception as exc:  # the quantizer raises whatever its operators raise
        what = f"ONNX Runtime's quantizer failed ({recipe.name})"  # for OpenVINO as well
        way_out = f"leave the runtime out of --runtimes, {NO_INT8}"
        raise QuantizationError(conversion_failure(what, short_reason(exc), exc, model, way_out)) from exc
    return quantized
