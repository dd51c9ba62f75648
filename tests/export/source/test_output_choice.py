"""Of several outputs the scores are exported, and whoever exports is told."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch_networks
from networks import SIZE_HW, Net, body, frame, tensor, upsample

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.errors import OptionError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import make_float_graph
from edge_vseg.export.source.output_choice import Output, choose_output
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network


def open_torch(name: str, **options) -> SourceNetwork:
    return open_source_network(f"torch_networks:{name}", weights=None, size_hw=SIZE_HW, **options)


@pytest.mark.parametrize(
    ("name", "options", "chosen", "channels"),
    [
        ("pooled_scores", {}, "1", 4),
        ("aux_out", {}, "out", 4),
        ("edges_scores", {}, "1", 4),
        ("features_out", {}, "out", 3),
        ("features_out", {"classes": 8}, "features", 8),
        ("named", {}, "logits", 3),
        ("two_sizes", {}, "1", 4),
        ("two_sizes", {"classes": 3}, "0", 3),
        ("pooled_scores", {"output_name": "1"}, "1", 4),
        ("aux_out", {"output_name": "aux"}, "aux", 3),
        ("named", {"output_name": "hidden.0"}, "hidden.0", 4),
        ("nested", {"output_name": "0.out"}, "0.out.0", 4),
    ],
)
def test_the_output_taken(name, options, chosen, channels, caplog):
    network = open_torch(name, **options)
    assert network.output == chosen
    value = tensor(frame()).copy()
    assert network.run(value).shape[1] == channels
    warned = "output_name" not in options
    assert bool(network.notes) == warned
    assert ("--output-name" in caplog.text) == warned
    if warned:
        assert f"{chosen!r} (1, {channels}, " in caplog.text.split("is exported, not")[0]


@pytest.mark.parametrize("name", ["pooled_scores", "aux_out", "named"])
def test_the_graph_has_the_same_output(name):
    """The logits of the module itself, and not what was pooled or is an auxiliary."""
    network = open_torch(name)
    graph = make_float_graph(network, ExportOptions(size_hw=SIZE_HW))
    value = tensor(frame(), 0, 1).copy()
    with torch.no_grad():
        given = getattr(torch_networks, name)()(torch.from_numpy(value))
    wanted = {"pooled_scores": lambda: given[1], "aux_out": lambda: given["out"], "named": lambda: given.logits}[name]()
    np.testing.assert_allclose(network.run(value), wanted.numpy(), atol=1e-4)
    assert graph.head.classes == wanted.shape[1]


def test_one_output_needs_no_warning(caplog):
    assert open_torch("small").output == ""
    assert not caplog.text


def test_an_output_that_is_not_there():
    with pytest.raises(OptionError, match=r"no output 'hidden'; it has: 'logits' \(1, 3, 12, 16\), 'hidden.0'"):
        open_torch("named", output_name="hidden")


@pytest.fixture
def two_outputs(tmp_path) -> str:
    net = Net()
    scores = body(net)
    model = net.model([net.node("GlobalAveragePool", scores), upsample(net, scores, 2)])
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return str(path)


def test_onnx(two_outputs, caplog):
    network = open_source_network(two_outputs, weights=None, size_hw=None)
    first, second = (output.name for output in onnx.load(two_outputs).graph.output)
    assert network.output == second
    assert [output.name for output in network.model.graph.output] == [second]
    assert network.run(tensor(frame())).shape == (1, 4, *SIZE_HW)
    assert f"'{second}' (1, 4, 24, 32) is exported, not '{first}' (1, 4, 1, 1)" in caplog.text
    asked = open_source_network(two_outputs, weights=None, size_hw=None, output_name=first)
    assert asked.run(tensor(frame())).shape == (1, 4, 1, 1)


def test_onnx_without_that_output(two_outputs):
    with pytest.raises(OptionError, match="no output 'mask'; it has: 'globalaveragepool"):
        open_source_network(two_outputs, weights=None, size_hw=None, output_name="mask")


def test_classes_tell_scores(two_outputs):
    """The options' classes reach the choice."""
    labels = numbered_labels(3)
    network = open_torch("two_sizes", classes=len(labels))
    assert make_float_graph(network, ExportOptions(size_hw=SIZE_HW, labels=labels)).head.classes == 3


@pytest.mark.parametrize(
    ("shapes", "size_hw", "chosen"),
    [
        ([(1, 512, 8, 8), (1, 21, 64, 64)], (512, 512), 1),
        ([(1, 8, 8, 512), (1, 64, 64, 21)], (512, 512), 1),
        ([(1, 2048, 16, 32), (1, 19, 128, 256)], (512, 1024), 1),
        ([(1, 19, 64, 128), (1, 19, 64, 128)], (512, 1024), 0),
        ([(1, 5), (1, 512, 1024)], (512, 1024), 1),
        ([(1, 5), (1, 7)], (512, 1024), 0),
        ([(1, 512, 256, 512), (1, 19, 64, 128)], (512, 1024), 1),
        ([(1, 1024, 256), (1, 19, 64, 128)], (512, 1024), 1),
        ([(1, 8, 16), (1, 512, 1024)], (512, 1024), 1),
        ([(1, 1024, 256), (19, 64, 128)], (512, 1024), 1),
    ],
    ids=[
        "features",
        "NHWC features",
        "wide",
        "auxiliary",
        "label map",
        "no map",
        "more channels than classes",
        "tokens",
        "mask",
        "tokens beside scores without batch",
    ],
)
def test_shapes(shapes, size_hw, chosen):
    outputs = [Output(name=f"o{number}", shape=shape) for number, shape in enumerate(shapes)]
    assert choose_output(outputs, "", None, size_hw).name == f"o{chosen}"


def test_of_the_largest_scores_and_their_classes_the_classes():
    maximum = [Output(name="values", shape=(1, 64, 96)), Output(name="indices", shape=(1, 64, 96), whole=True)]
    assert choose_output(maximum, "", None, (64, 96)).name == "indices"
    scores = Output(name="scores", shape=(1, 5, 64, 96))
    assert choose_output([*maximum, scores], "", None, (64, 96)).name == "scores"


def test_outputs_that_nothing_tells_apart():
    """Official DDRNet, PIDNet and HRNet-OCR give an auxiliary output of the scores' shape first."""
    scores = [Output(name=name, shape=(1, 19, 64, 128)) for name in ("0", "1")]
    edges = Output(name="2", shape=(1, 1, 64, 128))
    for classes in (None, 19):
        note = choose_output([*scores, edges], "", classes, (512, 1024)).note
        assert "'0' (1, 19, 64, 128) is exported, not '1' (1, 19, 64, 128), '2' (1, 1, 64, 128)" in note
        assert "Nothing tells '0' and '1' apart, so the first was taken" in note
        assert note.endswith("say which with --output-name 0 or --output-name 1")
    assert "apart" not in choose_output([scores[0], edges], "", None, (512, 1024)).note
