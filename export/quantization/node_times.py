"""What each node of the canonical graph takes in a runtime, from the runtime's own profiler.

A runtime fuses nodes, and names what it makes after one of them. An operator's time goes to the node whose name it has,
or where that is a convolution named after what follows it, to the convolution; what is inside it then takes nothing,
which is true. What has no node's name (conversions of layout, roundings in between) belongs to none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.export.graph.input_stage import FRAME, is_input_node
from edge_vseg.runtimes import GraphSpec, SessionOptions
from edge_vseg.runtimes.operator_times.measurement import OperatorTime, profile_operators
from edge_vseg.types import Image

log = logging.getLogger(__name__)
RUNS = 15
MIN_SHARE = 0.6
"""Share of a graph's time that must bear names of nodes: with less, products tell more."""
_ADDED = re.compile(r"(_quant|_token_\d+|_nchwc|\.gate|\.shift|/fused.*|/WithoutBiases|_original)+$")
"""What runtimes, and our own changes for them, append to a name."""
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimes:
    """Milliseconds by node.

    Attributes:
        ms: Of the nodes that are named in the runtime's graph.
        share: Share of the time of all operators that these make up.
    """

    ms: Mapping[str, float]
    share: float


def times_by_node(operators: Iterable[OperatorTime], nodes: Sequence[onnx.NodeProto]) -> NodeTimes:
    """Give the times of a runtime's operators to the nodes that they are named after.

    Args:
        operators: What the profiler measured.
        nodes: Nodes of the canonical graph; a runtime may call one by its name or by its output.
    """
    known = {alias: place for place, node in enumerate(nodes) for alias in (*node.output, node.name)}
    ms: dict[str, float] = {}
    total = 0.0
    for operator in operators:
        total += operator.median_ms
        place = known.get(operator.name, known.get(_ADDED.sub("", operator.name)))
        if place is not None:
            name = nodes[_fused_into(place, operator.kind, nodes, known)].name
            ms[name] = ms.get(name, 0.0) + operator.median_ms
    return NodeTimes(ms=ms, share=sum(ms.values()) / total if total else 0.0)


def _fused_into(place: int, kind: str, nodes: Sequence[onnx.NodeProto], known: Mapping[str, int]) -> int:
    """Place of the product that an operator of that kind computes, which may be named after a node that follows it.

    Of the two that a sum adds, it is the later one: the other must be there when the sum is taken.
    """
    if not any(word in kind for word in ("Conv", "Gemm", "MatMul", "FullyConnected")):
        return place
    found = place
    while nodes[found].op_type not in _PRODUCTS:
        before = [known[name] for name in nodes[found].input if name in known]
        if not before:
            return place
        found = max(before)
    return found


def lost_by_node(
    in_float: Iterable[OperatorTime], in_int8: Iterable[OperatorTime], nodes: Sequence[onnx.NodeProto]
) -> dict[str, float] | None:
    """Milliseconds that each node takes longer in float than in int8; ``None`` if too little bears names of nodes."""
    slow, fast = times_by_node(in_float, nodes), times_by_node(in_int8, nodes)
    if min(slow.share, fast.share) < MIN_SHARE:
        log.info(
            "only %.0f %% of the float graph's time and %.0f %% of the int8 graph's bear names of nodes;"
            " products stand in for times",
            100 * slow.share, 100 * fast.share,
        )  # fmt: skip
        return None
    names = [node.name for node in nodes if not is_input_node(node)]
    return {name: slow.ms.get(name, 0.0) - fast.ms.get(name, 0.0) for name in names}


def profile_onnx(model: onnx.ModelProto, frame: Image, threads: int) -> tuple[OperatorTime, ...]:
    """Profile an ONNX graph in ONNX Runtime.

    Raises:
        BackendError: If it cannot be opened or run.
    """
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(model, path)
        return profile_file("onnxruntime", path, *graph_tensors(model), frame, threads)


def profile_file(
    runtime: str, path: Path, source: TensorSpec, output: TensorSpec, frame: Image, threads: int
) -> tuple[OperatorTime, ...]:
    """Profile a graph that takes frames as they are.

    Args:
        runtime: The runtime's name.
        path: The graph.
        source: Its input.
        output: Its output.
        frame: ``(H, W, 3)`` uint8 at the input size.
        threads: How many it gets.

    Raises:
        BackendError: If it cannot be opened or run, or the runtime has no profiler.
    """
    options = SessionOptions(threads=threads)
    spec = GraphSpec.of(input=source, output=output)
    return profile_operators(runtime, path, spec, options, {source.name: frame[None]}, runs=RUNS)


def graph_tensors(model: onnx.ModelProto) -> tuple[TensorSpec, TensorSpec]:
    """Specs of the input and the output of a canonical graph."""
    output = model.graph.output[0]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type).name
    return (
        TensorSpec(name=FRAME, shape=_shape(model.graph.input[0]), dtype="uint8", layout="NHWC"),
        TensorSpec(name=output.name, shape=_shape(output), dtype=dtype, layout="any"),
    )


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
