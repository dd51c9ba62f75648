"""Choose the nodes of an int8 graph that stay in float, by what they gain and by what they cost on this machine.

Activations are ranked by the noise that rounding them makes, for the work that would then run in float. Graphs with
more and more of them in float are built, compared with float and timed, until one agrees well; then the one is taken in
which disagreement times duration is least: half of the disagreement is worth no more than twice the time.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import PrecisionTrial
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.quantization.activations import Infer, class_agreement, winning_classes
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.quantization.sensitivity import nodes_around
from edge_vseg.types import Image

log = logging.getLogger(__name__)
Graph = TypeVar("Graph")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial(Generic[Graph]):
    """An int8 graph, how well it agrees with float, and how long it takes.

    Attributes:
        graph: The graph, in its runtime's form.
        float_nodes: Names of the nodes kept in float.
        agreement: Share of pixels, at the resolution of the output, that agree with the float graph on
            calibration frames.
        ms: Median milliseconds of a frame, here.
    """

    graph: Graph
    float_nodes: tuple[str, ...]
    agreement: float
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedPrecision(Generic[Graph]):
    """What was tried, and what of it is taken.

    Attributes:
        taken: The graph.
        trials: All trials, fewest nodes in float first.
    """

    taken: Trial[Graph]
    trials: tuple[PrecisionTrial, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphRun:
    """What a graph gives, and how long it takes.

    Attributes:
        classes: The class of each cell, by frame.
        ms: Median milliseconds of a frame, here.
    """

    classes: list[NDArray[np.generic]]
    ms: float


def run_graph(start: Callable[[Graph], Infer], graph: Graph, frames: Sequence[Image], rounds: int) -> GraphRun:
    """Run a graph on frames.

    Args:
        start: Opens it.
        graph: The graph, in its runtime's form.
        frames: ``(H, W, 3)`` uint8 at the input size.
        rounds: Number of runs that are timed.
    """
    infer = start(graph)
    classes = [_small(winning_classes(infer(frame))) for frame in frames]
    return GraphRun(classes=classes, ms=_median_ms(infer, frames, rounds))


def choose_float_nodes(
    prepared: Int8Preparation,
    build: Callable[[tuple[str, ...]], Graph],
    run: Callable[[Graph, Sequence[Image], int], GraphRun],
) -> MixedPrecision[Graph]:
    """Keep as few nodes in float as it takes for an int8 graph to agree with float.

    Args:
        prepared: The network.
        build: Makes the int8 graph with the given nodes in float.
        run: Runs a graph on frames, so many times; see :func:`run_graph`.
    """
    limits, trials = prepared.thresholds, list[Trial[Graph]]()
    for count in limits.float_layer_counts:
        if trials and count > len(prepared.ranges) // 3:
            break  # what is left would hardly be an int8 graph
        nodes = nodes_around(prepared.equalized, prepared.ranking[:count]) if count else ()
        trials.append(_measured(prepared, build(nodes), nodes, run))
        if trials[-1].agreement >= limits.int8_agreement:
            break
    taken = best_trial(trials, limits)
    return MixedPrecision(
        taken=taken,
        trials=tuple(
            PrecisionTrial(
                float_nodes=len(trial.float_nodes),
                agreement=trial.agreement,
                latency_ms=trial.ms,
                taken=trial is taken,
            )
            for trial in trials
        ),
    )


def best_trial(trials: Sequence[Trial[Graph]], limits: ExportThresholds) -> Trial[Graph]:
    """The trial in which disagreement times duration is least, among those that agree well enough, if any do."""
    accepted = [trial for trial in trials if trial.agreement >= limits.int8_accepted]
    if not accepted:
        return max(trials, key=lambda trial: trial.agreement)
    return min(accepted, key=lambda trial: (1 - trial.agreement) * trial.ms)


def _measured(
    prepared: Int8Preparation,
    graph: Graph,
    nodes: tuple[str, ...],
    run: Callable[[Graph, Sequence[Image], int], GraphRun],
) -> Trial[Graph]:
    found = run(graph, prepared.check_frames, prepared.thresholds.timing_rounds)
    agreement = class_agreement(prepared.baseline, found.classes)
    log.info("int8 with %d nodes in float agrees in %.4f of the cells, %.1f ms", len(nodes), agreement, found.ms)
    return Trial(graph=graph, float_nodes=nodes, agreement=agreement, ms=found.ms)


def _small(classes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Class ids in as few bytes as they need: they come from another process."""
    return classes.astype(np.int16) if classes.dtype.kind == "i" else classes


def _median_ms(infer: Callable[[Image], NDArray[np.generic]], frames: Sequence[Image], rounds: int) -> float:
    samples = []
    for number in range(rounds):
        begin = time.perf_counter()
        infer(frames[number % len(frames)])
        samples.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(samples)
