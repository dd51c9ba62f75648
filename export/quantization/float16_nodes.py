"""Which nodes of a float graph float16 can hold, by what their tensors hold on calibration frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import is_input_node
from edge_vseg.export.quantization.activations import activation_names, watch_activations
from edge_vseg.types import Image

COMPUTING = frozenset(
    ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "PRelu", "Relu", "LeakyRelu", "Clip", "Sigmoid",
     "HardSigmoid", "HardSwish", "Tanh", "MaxPool")
)  # fmt: skip
"""Operators with float16 kernels that round once. Sums of a whole map (pooling by mean, reductions, normalizations),
exponentials, divisions and Resize, which ONNX Runtime's CPU has in float32 alone, stay in float32."""
MOVING = frozenset(
    ("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth",
     "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")
)  # fmt: skip
"""Operators that only move values, in the precision in which they come."""
_BOUNDED = ("Clip", "Pad")
"""Operators whose constants may be brought into float16's range: what they are compared with lies there. A bound that
would become 0 may not: it keeps divisors from 0."""
LARGEST = float(np.finfo(np.float16).max)
_REACH = LARGEST / 2
"""Half of the largest number: other frames may hold more than those for calibration."""
_FAINT = 2.0**-13
"""Below this, the steps of float16 no longer shrink with the values: half of the digits are lost at 2**-19."""
_WEIGHT_NOISE = 1e-3
"""Largest relative error of rounded weights; rounding gives 2e-4 where float16 has all its digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Float16Nodes:
    """The nodes of a graph that compute in float16.

    Attributes:
        names: Their outputs.
        beyond: What float16 cannot hold of the others, by node name; a node whose operator stays in float32 anyway is
            listed too, for a device that computes all in float16.
    """

    names: frozenset[str]
    beyond: Mapping[str, str]


def find_float16_nodes(model: onnx.ModelProto, frames: Sequence[Image]) -> Float16Nodes:
    """Find the nodes that may compute in float16.

    Args:
        model: A canonical float graph.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
    """
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    reach = _measure_reach(model, frames)
    names: set[str] = set()
    beyond: dict[str, str] = {}
    for node in model.graph.node:
        if is_input_node(node):
            continue
        if reason := _why_not(node, index, reach):
            beyond[node.name] = reason
        elif _is_candidate(node, index, names):
            names.update(filter(None, node.output))
    return Float16Nodes(names=frozenset(names), beyond=beyond)


def _measure_reach(model: onnx.ModelProto, frames: Sequence[Image]) -> dict[str, float]:
    """Largest absolute value of each activation."""
    reach: dict[str, float] = {}

    def see(name: str, value: NDArray[np.float32]) -> None:
        finite = np.abs(value[np.isfinite(value)])
        reach[name] = max(reach.get(name, 0.0), float(finite.max(initial=0.0)))

    watch_activations(model, frames, activation_names(model), see)
    return reach


def _is_candidate(node: onnx.NodeProto, index: GraphIndex, halved: set[str]) -> bool:
    """Whether a node's operator can be float16, and its values are floats."""
    if any(index.dtype(name) != TensorProto.FLOAT for name in node.output if name):
        return False
    if node.op_type in COMPUTING:
        return True
    computed = [name for name in node.input if name in index.producer and index.dtype(name) == TensorProto.FLOAT]
    return node.op_type in MOVING and bool(computed) and all(name in halved for name in computed)


def _why_not(node: onnx.NodeProto, index: GraphIndex, reach: Mapping[str, float]) -> str:
    """What float16 cannot hold of a node; empty if it can all."""
    for name in (*node.input, *node.output):
        if name in index.initializer and index.dtype(name) == TensorProto.FLOAT:
            why_not = why_not_bound if node.op_type in _BOUNDED else why_not_constant
            if reason := why_not(np.asarray(index.constant(name))):
                return reason
        elif reach.get(name, 0.0) > _REACH:
            return f"values reach {reach[name]:.3g}"
        elif 0 < reach.get(name, 0.0) < _FAINT:
            return f"values stay below {reach[name]:.1g}"
    return ""


def why_not_constant(constant: NDArray[np.generic]) -> str:
    """What float16 cannot hold of a constant, such as weights; empty if it can all, infinities included."""
    values = constant[np.isfinite(constant)].astype(np.float64)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST:
        return f"a constant reaches {largest:.3g}"
    with np.errstate(under="ignore"):
        lost = values - values.astype(np.float16)
    if np.linalg.norm(lost) > _WEIGHT_NOISE * np.linalg.norm(values):
        return f"constants up to {largest:.1g} lose digits"
    return ""


def why_not_bound(bound: NDArray[np.generic]) -> str:
    """What float16 cannot hold of the bound of a Clip or the value of a Pad: next to nothing, which would become 0."""
    with np.errstate(under="ignore", over="ignore"):
        gone = bound[(bound != 0) & (bound.astype(np.float16) == 0)]
    return f"a bound of {float(gone[0]):.1g} becomes 0" if gone.size else ""
