"""A network of one channel is trained as two classes, and written as one channel again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Net, frames, run, upsample

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.float_graph import finish_float_graph
from edge_vseg.export.shrinking import open_whole
from edge_vseg.export.shrinking.channels import find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.shrinking.trainable import Trainable, teach
from edge_vseg.export.shrinking.whole_network import cut_network, find_fixed, find_twins, take_weights

NORM = Normalization(mean=(127.5,) * 3, scale=(64.0, 32.0, 16.0))
OPTIONS = ExportOptions(normalization=NORM)
Last = Callable[[Net, str], str]


def _convolution(net: Net, x: str) -> str:
    return net.node("Sigmoid", upsample(net, net.conv(x, 16, 1), 2))


def _without_bias(net: Net, x: str) -> str:
    return net.node("Sigmoid", upsample(net, net.conv(x, 16, 1, bias=False), 2))


def _transposed(net: Net, x: str) -> str:
    weight = net.const(net.rng.normal(0, 0.3, (16, 1, 2, 2)))
    return net.node("Sigmoid", net.node("ConvTranspose", x, weight, net.const([0.1]), strides=[2, 2]))


def _sum(net: Net, x: str) -> str:
    return net.node("Sigmoid", upsample(net, net.node("Add", net.conv(x, 16, 1), net.conv(x, 16, 1, 1)), 2))


def _probabilities_upsampled(net: Net, x: str) -> str:
    return upsample(net, net.node("Sigmoid", net.conv(x, 16, 1)), 2)


def network(path: Path, last: Last) -> str:
    net = Net(seed=7)
    x = net.node("Relu", net.conv("image", 3, 12, strides=[2, 2]))
    x = net.node("Relu", net.conv(x, 12, 16))
    path.write_bytes(net.model(last(net, x)).SerializeToString())
    return str(path)


@pytest.mark.parametrize("last", [_convolution, _without_bias, _transposed, _sum, _probabilities_upsampled])
def test_what_was_trained_is_what_is_written(tmp_path: Path, last: Last) -> None:
    whole = open_whole(network(tmp_path / "net.onnx", last), OPTIONS)
    model = whole.graph.model
    twins = find_twins(model, whole.canonical)
    removed = [channel for group in find_channels(model) for channel in group.channels[1::3]]
    small = cut_channels(model, removed)
    student = Trainable(small, find_fixed(model, whole.canonical, twins))
    lesson = [TrainingFrame(image=image) for image in frames(4)]
    teach(student, Trainable(model), lesson, 8, seed=0, rate=0.05)
    trained = student.write(small)
    written = take_weights(cut_network(whole.canonical, removed, twins), trained, twins)

    assert [tuple(d.dim_value for d in o.type.tensor_type.shape.dim)[1] for o in written.graph.output] == [1]
    for image in frames(3, start=50):
        values = run(trained, image[None])
        again = run(finish_float_graph(written, whole.image, OPTIONS).model, image[None])
        # Scores may move together, their difference is what says the class.
        np.testing.assert_allclose(np.diff(again, axis=1), np.diff(values, axis=1), atol=1e-4)
        before = run(finish_float_graph(whole.canonical, whole.image, OPTIONS).model, image[None])
        assert np.abs(np.diff(values, axis=1) - np.diff(before, axis=1)).max() > 1e-2


def test_every_weight_of_the_last_layer_is_trained(tmp_path: Path) -> None:
    """Against the sigmoid of the network itself, in its own form."""
    whole = open_whole(network(tmp_path / "net.onnx", _convolution), OPTIONS)
    twins = find_twins(whole.graph.model, whole.canonical)
    student = Trainable(whole.graph.model, find_fixed(whole.graph.model, whole.canonical, twins))
    teach(student, Trainable(whole.graph.model), [TrainingFrame(image=frames(1)[0])], 3, seed=0, rate=0.05)
    written = take_weights(whole.canonical, student.write(whole.graph.model), twins)
    before, after = ({t.name: onnx.numpy_helper.to_array(t) for t in each.graph.initializer
                      if t.data_type == onnx.TensorProto.FLOAT} for each in (whole.canonical, written))  # fmt: skip
    learnt = [name for name, value in before.items() if value.ndim == 4 or value.size in (1, 12, 16)]
    assert len(learnt) == 6
    assert all(not np.array_equal(before[name], after[name]) for name in learnt)


def test_a_network_that_cannot_be_trained_is_refused_at_once_with_what_to_do(tmp_path: Path) -> None:
    def normalized(net: Net, x: str) -> str:
        return net.conv(net.node("LRN", x, size=3), 16, 4)

    words = (
        r"net\.onnx cannot be trained here.*LRN \('lrn4' of layer 'n_lrn4'\).*Change these layers; or .*--input-size"
    )
    with pytest.raises(UnsupportedOperatorError, match=words) as found:
        open_whole(network(tmp_path / "net.onnx", normalized), OPTIONS)
    assert "TFLite" not in str(found.value)
