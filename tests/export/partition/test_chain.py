"""Where graphs are cut: against brute force, and against what the networks say of themselves."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.export import ExportOptions
from edge_vseg.export.float_graph import carried_tensors, make_float_graph
from edge_vseg.export.graph.macs import count_macs
from edge_vseg.export.partition.chain import ANYWHERE, CutRules, partition, plan_chain
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.feature_reuse import cut_at, find_reuse_cut
from edge_vseg.export.partition.onnx_slices import cut_onnx
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.zoo import small, untrained_middle_thin
from edge_vseg.export.reference.zoo.stage_macs import stage_macs
from edge_vseg.export.reference.zoo.weights import NORMALIZATION
from edge_vseg.export.source.source_network import open_source_network

SIZE_HW = (96, 128)


@pytest.fixture(scope="module")
def two_branch() -> tuple:
    network = open_source_network("edge_vseg.export.reference.zoo:small", weights=None, size_hw=SIZE_HW)
    options = ExportOptions(normalization=NORMALIZATION)
    return make_float_graph(network, options), network


@given(times=st.lists(st.floats(0, 100), min_size=1, max_size=9), data=st.data())
def test_no_other_grouping_has_a_shorter_longest_group(times: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(times)))
    groups = partition(times, count)
    assert [first for first, _ in groups[1:]] == [last for _, last in groups[:-1]]
    assert (groups[0][0], groups[-1][1], len(groups)) == (0, len(times), count)
    longest = max(sum(times[first:last]) for first, last in groups)
    for cuts in itertools.combinations(range(1, len(times)), count - 1):
        bounds = [0, *cuts, len(times)]
        other = max(sum(times[a:b]) for a, b in itertools.pairwise(bounds))
        assert longest <= other + 1e-9 * max(1.0, other)


@given(times=st.lists(st.floats(0, 100), min_size=1, max_size=8), data=st.data())
def test_only_allowed_groups_are_made(times: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(times)))
    spans = list(itertools.combinations(range(len(times) + 1), 2))
    refused = set(data.draw(st.lists(st.sampled_from(spans))))
    best = float("inf")
    for cuts in itertools.combinations(range(1, len(times)), count - 1):
        groups = list(itertools.pairwise([0, *cuts, len(times)]))
        if not refused.intersection(groups):
            best = min(best, max(sum(times[a:b]) for a, b in groups))
    made = partition(times, count, lambda first, last: (first, last) not in refused)
    assert bool(made) == (best < float("inf"))
    assert not refused.intersection(made)
    if made:
        longest = max(sum(times[first:last]) for first, last in made)
        assert longest <= best + 1e-9 * max(1.0, best)


def test_slices_that_are_not_allowed_are_joined(two_branch) -> None:
    flow = DataFlow(two_branch[0].model)
    heavy = max(flow.order, key=lambda node: flow.macs[node.name])
    before = flow.index.producer[heavy.input[0]]

    def allowed(nodes) -> bool:
        return (heavy in nodes) == (before in nodes)

    def unit(parts) -> list[float]:
        return [1.0] * len(parts)

    free, bound = (plan_chain(flow, None, 30, unit, rules) for rules in (ANYWHERE, CutRules(allowed=allowed)))
    cut_there = [
        any(
            before.output[0] in part.inputs and heavy.name in flow.ancestors(part.outputs, part.inputs)
            for part in c.parts
        )
        for c in (free, bound)
    ]
    assert cut_there == [True, False]
    assert 2 < len(bound.parts) < len(free.parts) + 1
    nothing = plan_chain(flow, None, 4, unit, CutRules(allowed=lambda nodes: False))
    assert len(nothing.parts) == 4


def test_no_cut_at_tensors_that_a_converter_has_fused(two_branch) -> None:
    flow = DataFlow(two_branch[0].model)
    free = plan_chain(flow, None, 6, lambda parts: [1.0] * len(parts))
    gone = free.parts[2].outputs[0]
    there = plan_chain(flow, None, 6, lambda parts: [1.0] * len(parts), CutRules(exists=lambda name: name != gone))
    assert len(there.parts) > 2
    assert not any(gone in part.outputs for part in there.parts)


def test_order_is_topological_and_complete(two_branch) -> None:
    flow = DataFlow(two_branch[0].model)
    seen = {flow.image}
    for node in flow.order:
        assert set(flow.reads(node)) <= seen
        seen.update(node.output)
    assert flow.output in seen
    assert flow.cost([node.name for node in flow.order]) == count_macs(flow.model)


def test_the_search_finds_the_context_that_the_network_names(two_branch) -> None:
    graph, network = two_branch
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    named = carried_tensors(graph, network, NORMALIZATION, frame)
    flow = DataFlow(graph.model)
    found, by_name = find_reuse_cut(flow), cut_at(flow, named)
    assert found is not None
    assert by_name is not None
    assert flow.boundary(found.context)[1] == named == flow.boundary(by_name.context)[1]
    counted = stage_macs(small(), SIZE_HW)
    for name in ("stem", "context", "detail"):
        assert flow.cost([node.name for node in getattr(found, name)]) == counted[name]


def test_a_chain_without_the_image_beside_has_no_reuse_cut() -> None:
    """All that reaches the scores goes through every tensor: carrying one would be carrying the scores."""
    nodes, tensors, name = [], [], "frame.pixels"
    value = onnx.helper.make_tensor_value_info
    nodes.append(onnx.helper.make_node("Cast", ["frame"], ["nhwc"], to=1, name="frame.Cast"))
    nodes.append(onnx.helper.make_node("Transpose", ["nhwc"], [name], perm=[0, 3, 1, 2], name="frame.Transpose"))
    for at in range(5):
        weight = np.zeros((4, 3 if at == 0 else 4, 3, 3), np.float32)
        tensors.append(onnx.numpy_helper.from_array(weight, f"w{at}"))
        target = "scores" if at == 4 else f"t{at}"
        nodes.append(
            onnx.helper.make_node(
                "Conv", [name, f"w{at}"], [target], strides=[2, 2], pads=[1, 1, 1, 1], name=f"conv{at}"
            )
        )
        name = target
    graph = onnx.helper.make_graph(
        nodes, "chain", [value("frame", 2, (1, 64, 64, 3))], [value("scores", 1, (1, 4, 2, 2))], tensors
    )
    flow = DataFlow(onnx.helper.make_model(graph))
    assert find_reuse_cut(flow) is None
    chain = plan_chain(flow, None, 3, lambda parts: [1.0] * len(parts))
    assert chain is not None
    assert chain.context is None
    assert chain.parts[0].inputs == ("frame",)
    assert chain.parts[-1].outputs == ("scores",)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_every_slice_is_fed_by_those_before_it(two_branch, count: int) -> None:
    flow = DataFlow(two_branch[0].model)
    chain = plan_chain(flow, find_reuse_cut(flow), count, lambda parts: list(range(1, len(parts) + 1)))
    assert chain is not None
    known = {flow.image}
    for part in chain.parts:
        assert set(part.inputs) <= known
        known.update(part.outputs)
    assert chain.parts[-1].outputs == (flow.output,)
    first, last = chain.context
    assert 0 < first < last < len(chain.parts)


@pytest.fixture(scope="module")
def own_stem() -> tuple:
    """The float graph of a network that shares nothing but the input stage, and its stages."""
    torch.manual_seed(0)
    module = untrained_middle_thin().eval()
    torch.manual_seed(0)
    network = open_source_network("edge_vseg.export.reference.zoo:untrained_middle_thin", weights=None, size_hw=SIZE_HW)
    graph = make_float_graph(network, ExportOptions(normalization=NORMALIZATION))
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    flow = DataFlow(graph.model)
    return module, graph.model, flow, cut_at(flow, carried_tensors(graph, network, NORMALIZATION, frame)), frame


def test_a_network_that_shares_only_the_input_has_no_stem(own_stem) -> None:
    network, _, flow, stages, _ = own_stem
    assert stages is not None
    assert stages.stem == ()
    counted = stage_macs(network, SIZE_HW)
    for name in ("context", "detail"):
        nodes = getattr(stages, name)
        assert flow.cost([node.name for node in nodes]) == counted[name]
        assert not any(node.name.startswith("frame.") for node in nodes)


@pytest.mark.parametrize("count", [2, 5])
def test_its_slices_read_the_frame_on_both_ways(own_stem, count: int) -> None:
    """Chained, the slices give what the whole gives; with a context of another frame, what the two give together."""
    network, model, flow, stages, frame = own_stem
    chain = plan_chain(flow, stages, count, lambda parts: [1.0] * len(parts))
    assert chain.context == (0, len(chain.parts) - 1)
    assert chain.parts[0].inputs == ("frame",)
    assert "frame" in chain.parts[-1].inputs
    assert not any(name.startswith("frame.") for part in chain.parts for name in (*part.inputs, *part.outputs))
    sessions = [open_float(made) for made in cut_onnx(model, flow, chain.parts)]

    def run(values: dict[str, np.ndarray], numbers: range) -> dict[str, np.ndarray]:
        for number in numbers:
            part, session = chain.parts[number], sessions[number]
            given = {name: values[name] for name in part.inputs}
            values |= dict(zip(part.outputs, session.run(list(part.outputs), given), strict=True))
        return values

    last = len(chain.parts) - 1
    (expected,) = open_float(model).run(None, {"frame": frame[None]})
    np.testing.assert_allclose(run({"frame": frame[None]}, range(last + 1))["scores"], expected, atol=1e-6)
    older = run({"frame": frame[None, ::-1].copy()}, range(last))
    mixed = run(older | {"frame": frame[None]}, range(last, last + 1))["scores"]
    image, old = to_input([frame]), to_input([frame[::-1].copy()])
    with torch.inference_mode():
        np.testing.assert_allclose(mixed, network.detail(image, network.context(old)), rtol=1e-3, atol=1e-4)
