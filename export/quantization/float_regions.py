"""Find the parts of a graph that are faster in float than in int8, the conversions at their borders counted.

Every node runs in int8 or in float, and takes a measured time in either; a tensor between two nodes of which one runs
in float and one in int8 is converted, which takes time by its size. The least sum over all assignments is a minimum
cut: nodes on one side run in int8, those on the other in float. What has no integer kernel is in float anyway.

Reference: Greig, Porteous and Seheult, Exact Maximum A Posteriori Estimation for Binary Images, 1989, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import networkx
import onnx

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import is_input_node

CONVERSION_NS = 0.25
"""Time to convert one value to float or from it, in ONNX Runtime on a core of an x86-64 with AVX-512."""
_INT8, _FLOAT = "int8", "float"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRegions:
    """What is faster in float.

    Attributes:
        nodes: Names of nodes, those that had to be in float among them; what has no integer kernel is not listed.
        saved_ms: How much less time than with only those that had to be.
    """

    nodes: tuple[str, ...]
    saved_ms: float


def find_float_regions(
    model: onnx.ModelProto, lost_ms: Mapping[str, float], integer: Collection[str], forced: Collection[str] = ()
) -> FloatRegions:
    """The nodes that are to run in float for the least time.

    Args:
        model: The float graph; without shapes of its tensors conversions cost nothing.
        lost_ms: Milliseconds that each node takes longer in float than in int8, by name; negative where it is faster.
        integer: Operators that have integer kernels.
        forced: Names of nodes that run in float whatever it costs.
    """
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    nodes = [node for node in index.graph.node if not is_input_node(node)]
    names = {node.name for node in nodes}
    outputs = {output.name for output in index.graph.output}
    held = {node.name for node in nodes if node.op_type not in integer or node.name in forced}
    cut = networkx.DiGraph()  # a tuple is a node of the graph; whole nanoseconds, for sums of floats are not exact
    for node in nodes:
        lost_ns = round(lost_ms.get(node.name, 0.0) * 1e6)
        if node.name in held:
            cut.add_edge((node.name,), _FLOAT)  # without a capacity: infinite
        else:
            converted = sum(_conversion_ns(index, name) for name in node.output if name in outputs)
            cut.add_edge(_INT8, (node.name,), capacity=max(lost_ns, 0))
            cut.add_edge((node.name,), _FLOAT, capacity=max(-lost_ns, 0) + converted)
        for tensor in node.input:
            writer = index.producer.get(tensor)
            if writer is None or writer.name not in names:
                continue
            for ends in ((writer.name,), (node.name,)), ((node.name,), (writer.name,)):
                before = cut.get_edge_data(*ends, default={"capacity": 0})["capacity"]
                cut.add_edge(*ends, capacity=before + _conversion_ns(index, tensor))
    if not held < names:
        return FloatRegions(nodes=tuple(forced), saved_ms=0.0)
    least, (int8_side, _) = networkx.minimum_cut(cut, _INT8, _FLOAT)
    now = {_INT8, *((name,) for name in names - held)}
    before = sum(cut.edges[ends]["capacity"] for ends in networkx.edge_boundary(cut, now))
    chosen = [node.name for node in nodes if (node.name,) not in int8_side and node.name not in held]
    return FloatRegions(
        nodes=tuple(node.name for node in nodes if node.name in {*chosen, *forced}), saved_ms=(before - least) / 1e6
    )


def _conversion_ns(index: GraphIndex, tensor: str) -> int:
    return round(math.prod(size or 0 for size in index.shape(tensor) or (0,)) * CONVERSION_NS)
