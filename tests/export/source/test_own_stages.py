"""The stages that a module names, and attributes called ``stages`` that are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from networks import SIZE_HW, frame, tensor
from torch import nn
from torch_networks import Small

from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.export.float_graph import carried_tensors, make_float_graph
from edge_vseg.export.source.own_stages import read_own_stages
from edge_vseg.export.source.source_network import open_source_network


@dataclass
class Stage:
    module: Any
    inputs: tuple[str, ...]
    output: str
    reusable: bool = True


class WithStages(Small):
    """Says what ``given`` holds."""

    given: Any = ()

    def stages(self) -> Any:
        return self.given


def saying(*stages: Any) -> nn.Module:
    network = WithStages()
    network.given = stages
    return network


def listing() -> nn.Module:
    network = Small()
    network.stages = nn.ModuleList([nn.Conv2d(3, 3, 1)])
    return network


def chaining() -> nn.Module:
    network = Small()
    network.stages = nn.Sequential(nn.Conv2d(3, 3, 1))
    return network


def counting() -> nn.Module:
    network = Small()
    network.stages = 4
    return network


def grouping() -> nn.Module:
    return saying(nn.Sequential(nn.Conv2d(3, 3, 1)))


def elsewhere() -> nn.Module:
    """Its stage gives what is nowhere in its graph."""
    torch.manual_seed(0)
    return saying(Stage(module=nn.Conv2d(3, 2, 1), inputs=("image",), output="context")).eval()


def failing() -> nn.Module:
    """Its stage takes another number of channels."""
    return saying(Stage(module=nn.Conv2d(5, 2, 1), inputs=("image",), output="context")).eval()


def test_stages_run_in_order():
    first, second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1)
    stages = [Stage(first, ("image",), "stem", reusable=False), Stage(second, ("stem",), "context")]
    run, note = read_own_stages(saying(*stages))
    assert run is not None
    assert note == ""
    value = tensor(frame()).copy()
    (given,) = run(value)
    with torch.no_grad():
        np.testing.assert_allclose(given, second(first(torch.from_numpy(value))).numpy(), atol=1e-6)


@pytest.mark.parametrize("factory", [Small, listing, chaining, counting], ids=lambda factory: factory.__name__)
def test_layers_and_counts_are_no_stages(factory):
    network = open_source_network(f"{__file__}:{factory.__name__}", weights=None, size_hw=SIZE_HW)
    assert (network.run_stages, network.notes) == (None, ())


def test_a_method_of_another_meaning_is_ignored_and_the_export_says_so(caplog):
    network = open_source_network(f"{__file__}:grouping", weights=None, size_hw=SIZE_HW)
    assert network.run_stages is None
    (note,) = network.notes
    assert "stages() does not name parts that may be carried over, and is ignored: it gives Sequential without" in note
    assert note in caplog.text


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([Stage(nn.Identity(), ("features",), "context")], "reads features, which none before it gives"),
        ([Stage(nn.Identity(), "image", "context")], "takes no named tensors"),
        ([Stage(4, ("image",), "context")], "takes no named tensors"),
        (None, "TypeError"),
    ],
    ids=["unknown", "text", "number", "nothing"],
)
def test_what_does_not_run_as_a_chain(stages, reason):
    network = saying()
    network.given = stages
    run, note = read_own_stages(network)
    assert run is None
    assert reason in note


@pytest.mark.parametrize(("factory", "reason"), [(elsewhere, "no tensor of the graph"), (failing, "do not run")])
def test_stages_that_the_graph_does_not_have_are_ignored(factory, reason, caplog):
    """The export has built all variants by then, and finds another place to cut."""
    network = open_source_network(f"{__file__}:{factory.__name__}", weights=None, size_hw=SIZE_HW)
    graph = make_float_graph(network, ExportOptions(normalization=Normalization(), size_hw=SIZE_HW))
    assert carried_tensors(graph, network, Normalization(), frame()) == ()
    assert reason in caplog.text
