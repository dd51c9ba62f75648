"""Rank activations by how much rounding them to 8 bits changes the logits.

Each activation is rounded alone while everything else stays in float. The noise in the logits, over what int8 saves in
the nodes around it, is its rank. Keeping the few worst ones in float is mixed precision, or partial quantization
(Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.macs import node_macs
from edge_vseg.export.quantization.activations import rounded_names, run_frames
from edge_vseg.types import Image

Ranges = dict[str, tuple[float, float]]


def measure_noise(
    model: onnx.ModelProto,
    ranges: Ranges,
    frames: Sequence[Image],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """What rounding each activation alone changes in the output, as a sum of squares.

    Args:
        model: A graph with the input ``frame``.
        ranges: Range of each activation.
        frames: A frame or two, ``(H, W, 3)`` uint8.
        progress: Called with (done, total).
    """
    reference = run_frames(model, frames)
    names = [n for n in rounded_names(model) if n in ranges]
    noise: dict[str, float] = {}
    for i, name in enumerate(names):
        outputs = run_frames(_round_one(model, name, ranges[name]), frames)
        noise[name] = sum(_power(a - b) for a, b in zip(reference, outputs, strict=True))
        if progress is not None:
            progress(i + 1, len(names))
    return noise


def rank_by_noise(
    model: onnx.ModelProto, noise: Mapping[str, float], lost: Mapping[str, float] | None = None
) -> list[str]:
    """Activations, the one first whose rounding makes the most noise for what it saves.

    Args:
        model: The float graph.
        noise: Of each activation; see :func:`measure_noise`.
        lost: Milliseconds that each node takes longer in float, by name; ``None`` for its multiply-accumulates instead.
    """
    if lost is None:
        index = GraphIndex(onnx.shape_inference.infer_shapes(model))
        lost = {node.name: node_macs(index, node) for node in index.graph.node}
    # What is faster in float saves nothing, but it is not sought for that: the noise decides.
    price = {name: sum(max(lost.get(node, 0.0), 0.0) for node in nodes_around(model, [name])) for name in noise}
    # Going to float and back takes time whatever is computed: as much as an average activation's share of it all.
    base = sum(price.values()) / max(len(price), 1) or 1.0
    return sorted(noise, key=lambda n: -noise[n] / (price[n] + base))


def nodes_around(model: onnx.ModelProto, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the nodes that write or read the given activations: those that must run in float."""
    index = GraphIndex(model)
    nodes: dict[str, None] = {}
    for name in names:
        writer = index.producer[name]
        nodes[writer.name] = None
        if writer.op_type in ("Relu", "Clip") and writer.input[0] in index.producer:
            nodes[index.producer[writer.input[0]].name] = None
        for reader in index.consumers.get(name, []):
            nodes[reader.name] = None
    return tuple(nodes)


def _round_one(model: onnx.ModelProto, name: str, span: tuple[float, float]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    scale = max((span[1] - span[0]) / 255, 1e-12)
    zero = int(np.clip(round(-span[0] / scale), 0, 255))
    graph.initializer.append(helper.make_tensor(f"{name}.s", TensorProto.FLOAT, [], [scale]))
    graph.initializer.append(helper.make_tensor(f"{name}.z", TensorProto.UINT8, [], [zero]))
    nodes = []
    for node in graph.node:
        for i, read in enumerate(node.input):
            if read == name:
                node.input[i] = f"{name}.dq"
        nodes.append(node)
        if name in node.output:
            constants = [f"{name}.s", f"{name}.z"]
            nodes.append(helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.q"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", *constants], [f"{name}.dq"]))
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return copy


def _power(values: NDArray[np.float32]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
