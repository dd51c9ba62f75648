"""Graphs are timed in turns, on a clock of the test's own."""

from __future__ import annotations

import numpy as np

from edge_vseg.export.quantization.graph_runs import BUDGET_S, MIN_TURNS, run_graph, time_in_turns

FRAME = np.zeros((4, 4, 3), np.uint8)


class Machine:
    """A clock that graphs move on: a graph is its list of seconds, one for each run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[int] = []

    def start(self, graph: list[float]):
        number, runs = len(self.order), iter(graph)
        self.order.append(-1 - number)

        def infer(frame: np.ndarray) -> np.ndarray:
            self.now += next(runs)
            self.order.append(number)
            return np.zeros((1, 2, 1, 1), np.float32)

        return infer


def test_the_second_run_of_each_turn_counts() -> None:
    machine = Machine()
    graphs = [[9.0, 0.001, 9.0, 0.002], [9.0, 0.010, 9.0, 0.020]]
    found = time_in_turns(machine.start, graphs, FRAME, 2, lambda: machine.now)
    np.testing.assert_allclose(found, [[1, 2], [10, 20]])
    assert machine.order == [-1, -2, 0, 0, 1, 1, 0, 0, 1, 1], "both are open before the first turn"


def test_slow_graphs_get_fewer_turns() -> None:
    machine = Machine()
    found = time_in_turns(machine.start, [[BUDGET_S / 4] * 200], FRAME, 100, lambda: machine.now)
    assert found.shape == (1, MIN_TURNS)
    quick = Machine()
    found = time_in_turns(quick.start, [[BUDGET_S / 40] * 200], FRAME, 100, lambda: quick.now)
    assert found.shape == (1, 20)


def test_classes_of_all_frames() -> None:
    scores = np.zeros((1, 3, 2, 2), np.float32)
    scores[0, 2, 0, 0] = 1
    found = run_graph(lambda graph: lambda frame: graph + frame[0, 0, 0], scores, [FRAME, FRAME])
    assert len(found) == 2
    np.testing.assert_array_equal(found[0], [[[2, 0], [0, 0]]])
    assert found[0].dtype == np.int16
