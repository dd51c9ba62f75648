"""What bounds the time of a graph on this machine: memory or arithmetic.

No machine computes a node faster than its multiply-accumulates take at the machine's peak, nor than its tensors take to
come from memory and go back. The larger of the two is the least time of the node. Where that is memory, int8 gains no
more than its tensors are smaller, and usually less: depthwise convolutions at high resolution are so.

The peaks are measured: a product of two matrices in ONNX Runtime, and copies of blocks as large as activations are,
which stay in a large cache. That is what a good kernel reaches, not what the data sheet says. One thread is measured,
and counted as often as a graph has threads: with several, a busy machine hardly ever shows what it can. Threads that
share a core or a bus reach less, so the roof is rather too high than too low.

Reference: Williams, Waterman, Patterson, Roofline: An Insightful Visual Performance Model for Multicore Architectures,
Communications of the ACM, 2009; multiply-accumulates instead of floating-point operations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.bundle.manifest import Precision, Roofline, RooflineNode
from edge_vseg.bundle.manifest.roofline import Bound
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import is_input_node
from edge_vseg.export.graph.macs import node_macs

_SIDE = 512
_BLOCK = 4 * 1024 * 1024
_REPEATS = 12
_SECONDS = 0.4
"""Each peak is looked for so long: on a busy machine a few repeats find none."""
_SHOWN = 12
_BYTES: Mapping[Precision, int] = {"int8": 1, "float": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePeaks:
    """What a machine reaches at most.

    Attributes:
        gmac_per_s: Multiply-accumulates a second, in 10^9, by precision.
        gb_per_s: Bytes a second, read and written, in 10^9.
    """

    gmac_per_s: Mapping[Precision, float]
    gb_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWork:
    """What a node has to do.

    Attributes:
        kind: Its operator; depthwise convolutions are called so.
        macs: Multiply-accumulates.
        elements: Values that it reads and writes, weights among them.
    """

    kind: str
    macs: int
    elements: int


def measure_peaks(threads: int) -> MachinePeaks:
    """Measure this machine, which takes a second or two.

    Args:
        threads: How many a graph gets.
    """
    macs = _SIDE**3
    return MachinePeaks(
        gmac_per_s={
            "float": threads * macs / _product_s("MatMul", np.float32, np.float32) / 1e9,
            "int8": threads * macs / _product_s("MatMulInteger", np.uint8, np.int8) / 1e9,
        },
        gb_per_s=threads * 2 * _BLOCK / _copy_s() / 1e9,
    )


def node_work(model: onnx.ModelProto) -> dict[str, NodeWork]:
    """What the nodes of a canonical graph have to do, by name; without the input stage, and those of unknown shape."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    work: dict[str, NodeWork] = {}
    for node in index.graph.node:
        shapes = [index.shape(name) for name in (*node.input, *node.output) if name]
        if is_input_node(node) or any(shape is None or None in shape for shape in shapes):
            continue
        sizes = [math.prod(cast("tuple[int, ...]", shape)) for shape in shapes]
        work[node.name] = NodeWork(kind=_kind(index, node), macs=node_macs(index, node), elements=sum(sizes))
    return work


def make_roofline(
    precision: Precision,
    float_nodes: Collection[str],
    ms: Mapping[str, float],
    work: Mapping[str, NodeWork],
    peaks: MachinePeaks,
) -> Roofline | None:
    """Compare the time of nodes with the least that it could be.

    Args:
        precision: Of the variant, ``int8`` or ``float``.
        float_nodes: Nodes of an int8 variant that are in float.
        ms: Measured milliseconds, by node.
        work: What the nodes do.
        peaks: What the machine reaches.

    Returns:
        ``None`` if no node was timed.
    """
    nodes = [
        _node(name, ms[name], work[name], "float" if name in float_nodes else precision, peaks)
        for name in ms
        if name in work and ms[name] > 0
    ]
    if not nodes:
        return None
    total = sum(node.ms for node in nodes)
    return Roofline(
        gmac_per_s=peaks.gmac_per_s[precision],
        gb_per_s=peaks.gb_per_s,
        ms=total,
        least_ms=sum(node.least_ms for node in nodes),
        memory_share=sum(node.ms for node in nodes if node.bound == "memory") / total,
        nodes=tuple(sorted(nodes, key=lambda node: -node.ms)[:_SHOWN]),
    )


def _node(name: str, ms: float, work: NodeWork, precision: Precision, peaks: MachinePeaks) -> RooflineNode:
    moved = work.elements * _BYTES[precision]
    arithmetic = work.macs / peaks.gmac_per_s[precision] / 1e6
    memory = moved / peaks.gb_per_s / 1e6
    bound: Bound = "memory" if memory >= arithmetic else "arithmetic"
    return RooflineNode(
        name=name,
        kind=work.kind,
        ms=ms,
        macs=work.macs,
        bytes=moved,
        least_ms=max(arithmetic, memory),
        bound=bound,
    )


def _kind(index: GraphIndex, node: onnx.NodeProto) -> str:
    weight = index.shape(node.input[1]) if node.op_type == "Conv" else None
    return "depthwise Conv" if weight is not None and weight[1] == 1 and weight[0] != 1 else node.op_type


def _product_s(kind: str, left: type[np.generic], right: type[np.generic]) -> float:
    """Seconds of a product of a matrix with a constant one, ``(_SIDE, _SIDE)`` each."""
    weights = np.random.default_rng(0).integers(0, 100, (_SIDE, _SIDE)).astype(right)
    made = TensorProto.INT32 if kind == "MatMulInteger" else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(left)), [_SIDE, _SIDE])],
        [helper.make_tensor_value_info("y", made, [_SIDE, _SIDE])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": np.ones((_SIDE, _SIDE), left)}
    return _least_s(lambda: session.run(None, feed))


def _copy_s() -> float:
    """Seconds of a copy of a block."""
    source, target = np.ones(_BLOCK, np.uint8), np.zeros(_BLOCK, np.uint8)
    return _least_s(lambda: np.copyto(target, source))


def _least_s(run: Callable[[], object]) -> float:
    """Seconds of the fastest run: what else the machine does only ever adds."""
    best, end, runs = math.inf, time.perf_counter() + _SECONDS, 0
    while runs < _REPEATS or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best
