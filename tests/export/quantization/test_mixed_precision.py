"""Which graphs the search builds, with scripted agreements and times."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from networks import SIZE_HW, Net, staged

from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.quantization.graph_runners import OnnxRunner
from edge_vseg.export.quantization.mixed_precision import choose_float_nodes
from edge_vseg.export.quantization.sensitivity import nodes_around
from edge_vseg.export.quantization.trial_choice import Wanted

CELLS = 1000


def chain(length: int):
    """Convolutions one after the other; each activation but the last is read by the next."""
    net = Net(seed=1)
    x = net.conv("image", 3, 4)
    for _ in range(length):
        x = net.node("Relu", net.conv(x, 4, 4))
    return staged(net.model(net.conv(x, 4, 4)))


def prepared_of(model, noise: dict[str, float], **limits):
    """What the search reads of a preparation."""
    return SimpleNamespace(
        equalized=model,
        noise=noise,
        ranges=dict.fromkeys(range(60), (0.0, 1.0)),
        thresholds=ExportThresholds(**limits),
        check_frames=[np.zeros((2, 2, 3), np.uint8)] * 2,
        unrounded=[np.zeros((1, CELLS), np.int64)] * 2,
    )


def noise_of(model) -> dict[str, float]:
    """The earlier an activation, the more noise."""
    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    return {name: float(100 - place) for place, name in enumerate(relus)}


class Scripted:
    """A graph is its nodes in float; each costs a millisecond and takes away a thousandth of disagreement."""

    def __init__(self, wrong: int, *, lost: dict[str, float] | None = None, rounds_scores: bool = False) -> None:
        self.rounds_scores = rounds_scores
        self.wrong, self.lost, self.asked = wrong, lost, 0

    def classes(self, graph, frames):
        found = np.zeros((1, CELLS), np.int64)
        found[0, : max(self.wrong - len(graph), 0)] = 1
        return [found] * len(frames)

    def times(self, graphs, frame, turns):
        return np.array([[40.0 if graph == "float" else 10.0 + len(graph)] * turns for graph in graphs])

    def lost_ms(self, int8):
        assert int8 == ()
        self.asked += 1
        return self.lost


def searched(runner: Scripted, model, noise, built: list, **limits):
    def build(nodes: tuple[str, ...]) -> tuple[str, ...]:
        built.append(nodes)
        return nodes

    return choose_float_nodes(prepared_of(model, noise, **limits), build, runner, lambda: "float", Wanted())


def test_graphs_for_another_machine_are_not_timed(model, noise, caplog) -> None:
    """All of them agree well enough from the first on; times of this machine would have the last one taken."""
    prepared = prepared_of(model, noise)
    prepared.model = model
    graphs = [model, model, model]
    foreign = OnnxRunner(prepared, 1, native=False).times(graphs, np.zeros((*SIZE_HW, 3), np.uint8), 3)
    assert foreign.shape == (3, 0)
    assert OnnxRunner(prepared, 1, native=True).times(graphs, np.zeros((*SIZE_HW, 3), np.uint8), 3).shape == (3, 3)

    class Foreign(Scripted):
        def times(self, graphs, frame, turns):
            return np.empty((len(graphs), 0))

    found = searched(Foreign(13), model, noise, [])
    assert len(found.trials) > 1
    assert found.taken.float_nodes == ()
    assert {trial.latency_ms for trial in found.trials} == {None}


@pytest.fixture(scope="module")
def model():
    return chain(24)


@pytest.fixture(scope="module")
def noise(model) -> dict[str, float]:
    return noise_of(model)


def test_nothing_is_searched_where_int8_agrees(model, noise) -> None:
    runner, built = Scripted(5), []
    found = searched(runner, model, noise, built)
    assert built == [()]
    assert runner.asked == 0, "no profile is needed"
    (trial,) = found.trials
    assert (trial.taken, trial.speedup, trial.agreement) == (True, 4.0, 0.995)


def test_half_of_the_last_step_is_tried_too(model, noise) -> None:
    """Counts of 0, 1, 2, 4, 8 activations: 8 are enough, so 6 are tried as well."""
    order = list(noise)
    sizes = {count: len(nodes_around(model, order[:count])) for count in (1, 2, 4, 6, 8)}
    runner, built = Scripted(8 + sizes[6], lost={}), []
    found = searched(runner, model, noise, built)
    assert [len(nodes) for nodes in built] == [0, *(sizes[count] for count in (1, 2, 4, 8, 6))]
    assert [trial.float_nodes for trial in found.trials] == [0, sizes[1], sizes[2], sizes[4], sizes[6], sizes[8]]
    assert runner.asked == 1
    assert found.trials[4].agreement == pytest.approx(0.992)


def test_measured_times_decide_what_is_spared_first(model, noise) -> None:
    order = list(noise)
    lost = {node: 50.0 for node in nodes_around(model, order[:6])}
    built: list = []
    searched(Scripted(500, lost=lost), model, noise, built, float_layer_counts=(0, 2))
    assert not set(built[1]) & set(nodes_around(model, order[:5]))


def test_scores_that_cost_little_are_the_first_in_float() -> None:
    """Where a runtime does not round them, or they take a large part of the time, there is nothing to be had."""
    wide = chain(60)
    scores = [node.name for node in wide.graph.node][-1]
    for model, rounds_scores, first in ((wide, True, (scores,)), (wide, False, None), (chain(3), True, None)):
        built: list = []
        searched(Scripted(500, lost={}, rounds_scores=rounds_scores), model, noise_of(model), built)
        assert (built[1] == first) if first else (scores not in built[1])


def test_the_same_nodes_are_not_built_twice() -> None:
    """Two activations between the same two nodes: the second adds none."""
    net = Net(seed=2)
    first = net.conv("image", 3, 4)
    left, right = net.node("Split", first, outputs=2, num_outputs=2, axis=1), ""
    right = f"{left}.1"
    model = staged(net.model(net.conv(net.node("Add", left, right), 2, 4)))
    split = next(node for node in model.graph.node if node.op_type == "Split")
    noise = {split.output[0]: 2.0, split.output[1]: 1.0}
    built: list = []
    searched(Scripted(500), model, noise, built, float_layer_counts=(0, 1, 2))
    assert len(built) == 2
