"""Divide stages into slices that take about the same time.

The smallest parts that a graph can be cut into, atoms, are timed one by one. Neighbouring atoms are then joined so that
the longest slice is as short as possible.

Reference: Carreira et al., Massively Parallel Video Networks, ECCV 2018, spread a network over frames like this, by
hand, where this goes by measured time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import onnx

from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.feature_reuse import Stages, in_input_stage, is_internal

MAX_BOUNDARY_TENSORS = 5
MAX_BOUNDARY_INPUTS = 3.0
"""Largest number of values handed from slice to slice, as a multiple of those of the input image."""
MIN_ATOM_SHARE = 0.01
"""Share of all multiply-accumulates below which an atom is joined with the next: timing each costs time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A slice, as tensors of the canonical graph.

    Attributes:
        inputs: The image, or outputs of earlier parts.
        outputs: Tensors that later parts read, or the graph's output.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Slices in the order in which they run.

    Attributes:
        parts: The slices.
        context: First slice of the context, and one after its last; ``None`` without a reuse cut. The first is 0
            where context and detail share no slice.
    """

    parts: tuple[Part, ...]
    context: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutRules:
    """Where a graph that was converted from the canonical one may be cut.

    Attributes:
        exists: Whether it has a tensor of the canonical graph: converters fold and fuse.
        allowed: Whether nodes give as a slice what they give in the whole. Where nothing is allowed, slices are as if
            everything were.
    """

    exists: Callable[[str], bool] = lambda name: True
    allowed: Callable[[Sequence[onnx.NodeProto]], bool] = lambda nodes: True


ANYWHERE = CutRules()


def plan_chain(
    flow: DataFlow,
    stages: Stages | None,
    slices: int,
    measure: Callable[[Sequence[Part]], Sequence[float]],
    rules: CutRules = ANYWHERE,
) -> Chain | None:
    """Divide a graph into about so many slices of about the same time.

    Args:
        flow: The graph.
        stages: Its stages, which slices do not straddle; ``None`` for none.
        slices: How many.
        measure: Times parts, in the order given, in any unit.
        rules: Where the graph that is cut may be cut.

    Returns:
        The chain; ``None`` if the graph cannot be cut anywhere.
    """
    groups = [list(g) for g in (stages.stem, stages.context, stages.detail)] if stages else [flow.order]
    divided = [_atoms(flow, group, rules) if group else [] for group in groups]
    times = list(measure([_part(flow, atom) for atoms in divided for atom in atoms]))
    share = sum(times) / slices
    parts: list[Part] = []
    ends: list[int] = []
    for atoms in divided:
        mine, times = times[: len(atoms)], times[len(atoms) :]
        if atoms:
            count = min(len(atoms), max(1, round(sum(mine) / share)))
            parts += [_part(flow, nodes) for nodes in _join(atoms, mine, count, rules.allowed)]
        ends.append(len(parts))
    if len(parts) < 2:
        return None
    return Chain(parts=tuple(parts), context=(ends[0], ends[1]) if stages else None)


def _join(
    atoms: Sequence[Sequence[onnx.NodeProto]],
    times: Sequence[float],
    count: int,
    allowed: Callable[[Sequence[onnx.NodeProto]], bool],
) -> list[list[onnx.NodeProto]]:
    """The nodes of ``count`` slices, or of as many as can be allowed."""

    def nodes(first: int, last: int) -> list[onnx.NodeProto]:
        return [node for atom in atoms[first:last] for node in atom]

    @cache
    def may_be(first: int, last: int) -> bool:
        return allowed(nodes(first, last))

    for fewer in range(count, 0, -1):
        if groups := partition(times, fewer, may_be):
            return [nodes(*group) for group in groups]
    return [nodes(*group) for group in partition(times, count)]


def partition(
    times: Sequence[float], count: int, allowed: Callable[[int, int], bool] = lambda first, last: True
) -> list[tuple[int, int]]:
    """Join neighbours into ``count`` groups whose largest sum is smallest.

    Args:
        times: What each item takes, not negative.
        count: Groups, at most as many as items.
        allowed: Whether the items from the first to before the last may be a group.

    Returns:
        First, and one after the last, item of each group; empty if no such groups are allowed.
    """
    sums = [0.0]
    for value in times:
        sums.append(sums[-1] + value)
    # best[k][i]: the smallest possible largest sum of the first i items in k groups, and where the last begins.
    best: list[list[tuple[float, int]]] = [[(0.0, 0)] + [(float("inf"), 0)] * len(times)]
    for groups in range(1, count + 1):
        row = [(float("inf"), 0)] * groups
        for end in range(groups, len(times) + 1):
            options = (
                (max(best[groups - 1][at][0], sums[end] - sums[at]), at)
                for at in range(groups - 1, end)
                if best[groups - 1][at][0] < float("inf") and allowed(at, end)
            )
            row.append(min(options, default=(float("inf"), 0)))
        best.append(row)
    if best[count][-1][0] == float("inf"):
        return []
    bounds = [len(times)]
    for groups in range(count, 0, -1):
        bounds.insert(0, best[groups][bounds[0]][1])
    return list(itertools.pairwise(bounds))


def _atoms(flow: DataFlow, nodes: Sequence[onnx.NodeProto], rules: CutRules) -> list[list[onnx.NodeProto]]:
    """The finest pieces: cut wherever few, small and complete tensors cross."""
    shape = flow.index.shape(flow.image)
    assert shape is not None
    limit = MAX_BOUNDARY_INPUTS * flow.elements(flow.image)
    min_cost = MIN_ATOM_SHARE * flow.cost(flow.macs)
    atoms: list[list[onnx.NodeProto]] = [[]]
    for at, node in enumerate(nodes[:-1]):
        atoms[-1].append(node)
        crossing = _crossing(flow, nodes, at)
        small = len(crossing) <= MAX_BOUNDARY_TENSORS and sum(map(flow.elements, crossing)) <= limit
        heavy = flow.cost([n.name for n in atoms[-1]]) >= min_cost
        if small and heavy and all(rules.exists(name) and not is_internal(flow, name) for name in crossing):
            atoms.append([])
    atoms[-1].append(nodes[-1])
    if len(atoms) > 1 and flow.cost([n.name for n in atoms[-1]]) < min_cost:
        last = atoms.pop()
        atoms[-1] += last
    return atoms


def _crossing(flow: DataFlow, nodes: Sequence[onnx.NodeProto], at: int) -> list[str]:
    """Tensors made by the nodes up to ``at`` that nodes of the group after it read."""
    later = {name for node in nodes[at + 1 :] for name in flow.reads(node)}
    return [name for node in nodes[: at + 1] for name in node.output if name in later]


def _part(flow: DataFlow, nodes: Sequence[onnx.NodeProto]) -> Part:
    inputs, outputs = flow.boundary(nodes)
    return Part(inputs=tuple(dict.fromkeys(_handed_over(flow, name) for name in inputs)), outputs=outputs)


def _handed_over(flow: DataFlow, name: str) -> str:
    """The frame in place of what the input stage makes of it: a slice that reads that has the stage in it."""
    producer = flow.index.producer.get(name)
    return flow.image if producer is not None and in_input_stage(flow, producer) else name
