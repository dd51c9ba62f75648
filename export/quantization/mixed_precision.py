"""Find the nodes of an int8 graph that stay in float, by what they gain and by what they cost on this machine.

Scores come first: where the layer that makes them computes little, in float it costs next to nothing, and close classes
are told apart. Activations follow, ranked by the noise that rounding them makes, over the time that is lost if they run
in float. Graphs with more and more of them in float are built and compared with float, until one agrees well, and one
more between it and the one before. Then all are timed in turns, float among them, unless they are made for another
machine, and one is taken; see :mod:`~edge_vseg.export.quantization.trial_choice`. For another machine, times of nodes
that were recorded there say what a graph loses, and about how long it takes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import PrecisionTrial
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.macs import node_macs
from edge_vseg.export.quantization.activations import winning_classes
from edge_vseg.export.quantization.device_times import DeviceCosts
from edge_vseg.export.quantization.preparation import Int8Preparation, score_names
from edge_vseg.export.quantization.sensitivity import nodes_around, rank_by_noise
from edge_vseg.export.quantization.trial_choice import Trial, Wanted, choose_trial, tried
from edge_vseg.types import Image

log = logging.getLogger(__name__)
CHEAP = 0.03
"""Share of all multiply-accumulates that the layer of the scores may have to be tried in float first."""
MEASURED, MULTIPLICATIONS = "measured at the export", "multiply-accumulates"
"""What nodes were ranked by, where nothing was recorded on the device."""
Graph = TypeVar("Graph")
OpenedGraph = TypeVar("OpenedGraph", contravariant=True)


class GraphRunner(Protocol[OpenedGraph]):
    """Opens graphs in the form of one runtime, and runs them."""

    def classes(self, graph: OpenedGraph, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
        """See :func:`~edge_vseg.export.quantization.graph_runs.run_graph`."""
        ...

    def times(self, graphs: Sequence[OpenedGraph], frame: Image, turns: int) -> NDArray[np.float64]:
        """See :func:`~edge_vseg.export.quantization.graph_runs.time_in_turns`.

        No turns, ``(graphs, 0)``, if the graphs are made for another machine.
        """
        ...

    @property
    def rounds_scores(self) -> bool:
        """Whether an int8 graph's output is rounded, too."""
        ...

    def lost_ms(self, int8: OpenedGraph) -> Mapping[str, float] | None:
        """Milliseconds that each node takes longer in float than in this int8 graph; ``None`` if that is not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedPrecision(Generic[Graph]):
    """What was tried, and what of it is taken.

    Attributes:
        taken: The graph.
        trials: All trials, fewest nodes in float first.
        ranked_by: Where the times came from by which nodes were chosen; empty if none had to be.
    """

    taken: Trial[Graph]
    trials: tuple[PrecisionTrial, ...]
    ranked_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Built(Generic[Graph]):
    """A graph that is not timed yet."""

    graph: Graph
    float_nodes: tuple[str, ...]
    disagreement: NDArray[np.float64]


def choose_float_nodes(
    prepared: Int8Preparation,
    build: Callable[[tuple[str, ...]], Graph],
    runner: GraphRunner[Graph],
    float_graph: Callable[[], Graph],
    wanted: Wanted,
    costs: DeviceCosts | None = None,
) -> MixedPrecision[Graph]:
    """Keep as few nodes in float as it takes for an int8 graph to agree with float.

    Args:
        prepared: The network.
        build: Makes the int8 graph with the given nodes in float.
        runner: Runs graphs.
        float_graph: The float graph in the runtime's form.
        wanted: What the graph must reach.
        costs: What nodes take on the device that the graph is for, if that was recorded; it goes before what they take
            here.
    """
    search = _Search(prepared, build, runner, wanted, costs)
    built = search.run()
    graphs = [float_graph(), *(each.graph for each in built)]
    float_ms, *rows = runner.times(graphs, prepared.check_frames[0], prepared.thresholds.timing_rounds)
    estimated = costs is not None and not float_ms.size
    if costs is not None and estimated:
        float_ms = np.array([costs.float_ms])
        rows = [np.array([costs.estimated_ms(each.float_nodes)]) for each in built]
    trials = [
        Trial(graph=b.graph, float_nodes=b.float_nodes, disagreement=b.disagreement, ms=ms, float_ms=float_ms)
        for b, ms in zip(built, rows, strict=True)
    ]
    taken = choose_trial(trials, wanted)
    found = tuple(tried(trial, taken) for trial in trials)
    if estimated:
        found = tuple(msgspec.structs.replace(each, quartiles_ms=None, estimated=True) for each in found)
    for each in found:
        log.info(
            "int8 with %d nodes in float agrees in %.4f of the cells%s%s",
            each.float_nodes, each.agreement, _timing(each), ": taken" if each.taken else "",
        )  # fmt: skip
    return MixedPrecision(taken=taken, trials=found, ranked_by=search.ranked_by)


def _timing(trial: PrecisionTrial) -> str:
    if trial.latency_ms is None or trial.speedup is None:
        return ""
    about = "estimated at " if trial.estimated else ""
    return f", {about}{trial.latency_ms:.1f} ms, {trial.speedup:.2f} times as fast as float"


class _Search(Generic[Graph]):
    """Builds graphs with more and more nodes in float, until one agrees well with float."""

    def __init__(
        self,
        prepared: Int8Preparation,
        build: Callable[[tuple[str, ...]], Graph],
        runner: GraphRunner[Graph],
        wanted: Wanted,
        costs: DeviceCosts | None,
    ) -> None:
        self.ranked_by = ""
        self._prepared = prepared
        self._build = build
        self._runner = runner
        self._wanted = wanted
        self._costs = costs
        self._built: dict[int, _Built[Graph]] = {}

    def run(self) -> list[_Built[Graph]]:
        """The graphs, fewest nodes in float first."""
        prepared, last = self._prepared, 0
        for count in prepared.thresholds.float_layer_counts:
            if self._built and count > len(prepared.ranges) // 3:
                break  # what is left would hardly be an int8 graph
            if self._is_enough(count):
                if count - last > 1:
                    self._is_enough((last + count) // 2)  # counts double, so half of the last step may do
                break
            last = count
        return [self._built[count] for count in sorted(self._built)]

    def _is_enough(self, count: int) -> bool:
        """Build the graph with so many activations in float; whether nothing better is needed."""
        prepared = self._prepared
        nodes = nodes_around(prepared.equalized, self._ranking[:count]) if count else ()
        if any(set(nodes) == set(each.float_nodes) for each in self._built.values()):
            return False  # further activations between the same nodes
        graph = self._build(nodes)
        classes = self._runner.classes(graph, prepared.check_frames)
        pairs = zip(prepared.unrounded, classes, strict=True)
        disagreement = np.array([np.mean(winning_classes(expected) != found) for expected, found in pairs])
        self._built[count] = _Built(graph=graph, float_nodes=nodes, disagreement=disagreement)
        return bool(1 - disagreement.mean() >= self._wanted.enough)

    @cached_property
    def _ranking(self) -> list[str]:
        prepared = self._prepared
        lost: Mapping[str, float] | None
        if self._costs is not None:
            lost, self.ranked_by = self._costs.lost_ms, self._costs.origin
        else:
            lost = self._runner.lost_ms(self._built[0].graph if 0 in self._built else self._build(()))
            self.ranked_by = MULTIPLICATIONS if lost is None else MEASURED
        scores = _cheap_scores(prepared.equalized) if self._runner.rounds_scores else []
        return [*scores, *rank_by_noise(prepared.equalized, prepared.noise, lost)]


def _cheap_scores(model: onnx.ModelProto) -> list[str]:
    """Scores of a product that is a small part of all."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    macs = {name: node_macs(index, node) for node in index.graph.node for name in node.output}
    most = CHEAP * sum(macs.values())
    return [name for name in score_names(model) if 0 < macs[name] <= most]
