"""Run graphs of any runtime on frames, and time some against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.quantization.activations import Infer, winning_classes
from edge_vseg.types import Image

Graph = TypeVar("Graph")
MIN_TURNS = 5
"""However long a run takes: a spread needs so many."""
BUDGET_S = 10.0
"""No further turns after that."""


def run_graph(start: Callable[[Graph], Infer], graph: Graph, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
    """The class of each cell, frame by frame.

    Args:
        start: Opens the graph.
        graph: It, in its runtime's form.
        frames: ``(H, W, 3)`` uint8 at the input size.
    """
    infer = start(graph)
    return [_small(winning_classes(infer(frame))) for frame in frames]


def time_in_turns(
    start: Callable[[Graph], Infer],
    graphs: Sequence[Graph],
    frame: Image,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> NDArray[np.float64]:
    """Time graphs in turns, all open at once, so that heat and other processes affect all alike.

    In each turn each graph runs twice, and the second run counts: the first brings its weights back into the caches.

    Args:
        start: Opens a graph.
        graphs: The graphs, in their runtime's form.
        frame: ``(H, W, 3)`` uint8 at the input size.
        turns: How many; fewer if they take longer than :data:`BUDGET_S`.
        clock: Gives seconds.

    Returns:
        ``(graphs, turns)`` milliseconds. Values of one turn may be compared with each other.
    """
    opened = [start(graph) for graph in graphs]
    begin, rows = clock(), list[list[float]]()
    while len(rows) < turns and (len(rows) < MIN_TURNS or clock() - begin < BUDGET_S):
        rows.append([_second_ms(infer, frame, clock) for infer in opened])
    return np.array(rows).T


def _second_ms(infer: Infer, frame: Image, clock: Callable[[], float]) -> float:
    infer(frame)
    begin = clock()
    infer(frame)
    return (clock() - begin) * 1e3


def _small(classes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Class ids in as few bytes as they need: they come from another process."""
    return classes.astype(np.int16) if classes.dtype.kind == "i" else classes
