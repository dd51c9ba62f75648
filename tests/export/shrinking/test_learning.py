"""What a smaller network learns, and which channels are important."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from networks import SIZE_HW, Net, frames, scores, staged
from onnx import numpy_helper
from small_networks import wide

from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.graph.index import GraphIndex, set_initializer
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.shrinking.channels import find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.shrinking.importance import _log_loss, channel_importance
from edge_vseg.export.shrinking.layers import find_layers
from edge_vseg.export.shrinking.trainable import Trainable, teach
from edge_vseg.types import IGNORE_ID


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return wide()


LESSON = [TrainingFrame(image=image) for image in frames(12)]


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_it_computes_what_onnx_runtime_does(model: onnx.ModelProto) -> None:
    network = Trainable(model)
    for frame, expected in zip(frames(2), scores(model, frames(2)), strict=True):
        with torch.no_grad():
            np.testing.assert_allclose(network(torch.from_numpy(frame[None])), expected, atol=2e-4)


@pytest.mark.parametrize("transposed", [0, 1])
def test_fully_connected_layers_are_trained_and_transposed_ones_keep_their_weights(transposed: int) -> None:
    net = Net(seed=5)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[4, 4]))
    up = net.const(net.rng.normal(0, 1, (8, 1, 2, 2)))
    x = net.node("ConvTranspose", x, up, net.const(net.rng.normal(0, 1, 8)), strides=[2, 2], group=8)
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    weight = net.const(net.rng.normal(0, 1, (12, 8) if transposed else (8, 12)))
    gate = net.node("Gemm", pooled, weight, net.const(net.rng.normal(0, 1, 12)), transB=transposed)
    gate = net.node("Reshape", gate, net.const([1, 12, 1, 1], np.int64))
    x = net.node("Mul", net.conv(x, 8, 12), gate)
    model = staged(net.model(net.conv(x, 12, 4), shape=(1, 3, *SIZE_HW)))
    student = Trainable(model)
    before = weights(student.write(model))
    truth = TrainingFrame(image=LESSON[0].image, labels=np.ones(SIZE_HW, np.uint8))
    teach(student, Trainable(model), [truth], 2, seed=0, rate=0.1)
    after = weights(student.write(model))
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm")]
    assert len(layers) == 5
    assert [n.op_type for n in layers if np.array_equal(before[n.input[1]], after[n.input[1]])] == ["ConvTranspose"]
    np.testing.assert_allclose(scores(Trainable(model).write(model), frames(1)), scores(model, frames(1)), atol=1e-3)


def test_untrained_weights_are_written_as_they_were(model: onnx.ModelProto) -> None:
    written = weights(Trainable(model).write(model))
    for name, value in weights(model).items():
        np.testing.assert_allclose(written[name], value, rtol=1e-5, atol=1e-7)


def test_a_cut_network_learns_from_the_whole_one(model: onnx.ModelProto) -> None:
    removed = [channel for group in find_channels(model) for channel in group.channels[::3]]
    small = cut_channels(model, removed)
    student, teacher = Trainable(small), Trainable(model)
    first = teach(student, teacher, LESSON, 8, seed=0, rate=0.0)
    last = teach(student, teacher, LESSON, 200, seed=0)
    assert last < 0.5 * first


def test_a_seed_gives_the_same_network(model: onnx.ModelProto) -> None:
    small = cut_channels(model, find_channels(model)[0].channels[:8])

    def train(seed: int) -> dict[str, np.ndarray]:
        student = Trainable(small)
        teach(student, Trainable(model), LESSON, 3, seed=seed)
        return weights(student.write(small))

    first, again, other = train(0), train(0), train(1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_the_truth_is_learnt_where_there_is_one(model: onnx.ModelProto) -> None:
    labels = np.full(LESSON[0].image.shape[:2], 2, np.uint8)
    labels[:4] = IGNORE_ID
    student = Trainable(model)
    teach(student, Trainable(model), [TrainingFrame(image=LESSON[0].image, labels=labels)], 150, seed=0, rate=0.02)
    with torch.no_grad():
        found = student(torch.from_numpy(LESSON[0].image[None])).argmax(1)
        before = Trainable(model)(torch.from_numpy(LESSON[0].image[None])).argmax(1)
    assert (found == 2).float().mean() > (before == 2).float().mean() + 0.1


def test_a_channel_that_nobody_reads_has_no_importance(model: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    group = find_channels(copy)[1]
    deaf = group.channels[5]
    made = {name for name, _ in deaf.made}
    reader = next(n for n in copy.graph.node if n.op_type == "Conv" and n.input[1] not in
                  {GraphIndex(copy).producer[name].input[1] for name in made}
                  and (n.input[1], 1, 5) in deaf.held)  # fmt: skip
    weight = np.array(GraphIndex(copy).constant(reader.input[1]))
    weight[:, 5] = 0
    set_initializer(copy.graph, reader.input[1], weight)
    importance = channel_importance(copy, find_channels(copy), LESSON[:4])
    assert importance[deaf] == 0
    assert sum(importance[channel] == 0 for channel in group.channels) < len(group.channels)


def test_taylor_tells_what_cutting_costs(model: onnx.ModelProto) -> None:
    """Against the true change of the probabilities when each channel alone is cut."""
    group = max(find_channels(model), key=lambda each: len(each.channels))
    importance = channel_importance(model, [group], LESSON)
    images = [frame.image for frame in LESSON]
    whole = [torch.log_softmax(torch.from_numpy(each), 1) for each in scores(model, images)]
    true = []
    for channel in group.channels:
        cut = scores(cut_channels(model, [channel]), images)
        lost = [
            (a.exp() * (a - torch.log_softmax(torch.from_numpy(b), 1))).sum() for a, b in zip(whole, cut, strict=True)
        ]
        true.append(float(sum(lost)))
    order = np.argsort(np.argsort([importance[channel] for channel in group.channels]))
    assert np.corrcoef(order, np.argsort(np.argsort(true)))[0, 1] > 0.6


def test_l1_and_scale_are_what_they_say(model: onnx.ModelProto) -> None:
    index = GraphIndex(model)
    for group in find_channels(model):
        names = list(dict.fromkeys(name for name, _ in group.channels[0].made))
        by_weight = channel_importance(model, [group], LESSON, criterion="l1")
        by_spread = channel_importance(model, [group], LESSON, criterion="scale")
        seen: dict[str, list[np.ndarray]] = {name: [] for name in names}

        def see(name: str, value: np.ndarray, seen: dict[str, list[np.ndarray]] = seen) -> None:
            seen[name].append(value[0])

        watch_activations(model, [frame.image for frame in LESSON], names, see)
        for number, channel in enumerate(group.channels):
            filters = [np.asarray(index.constant(index.producer[name].input[1]))[number] for name in names]
            assert by_weight[channel] == pytest.approx(sum(np.abs(each).sum() for each in filters), rel=1e-5)
            spreads = [np.std([each[number] for each in seen[name]]) for name in names]
            assert by_spread[channel] == pytest.approx(sum(spreads), rel=1e-3)


def row_convolution(net: Net, x: str) -> str:
    """A gate from convolutions over the height."""
    rows = net.node("ReduceMean", x, net.const([3], np.int64), keepdims=0)
    rows = net.node("Conv", rows, net.const(net.rng.normal(0, 0.3, (6, 8, 3))), pads=[1, 1])
    gate = net.node("Conv", net.node("Relu", rows), net.const(net.rng.normal(0, 0.3, (8, 6, 1))))
    return net.node("Mul", x, net.node("Unsqueeze", net.node("Sigmoid", gate), net.const([3], np.int64)))


def efficient_attention(net: Net, x: str) -> str:
    """A gate from a convolution along the channels, as ECA has it."""
    means = net.node("Squeeze", net.node("GlobalAveragePool", x), net.const([3], np.int64))
    row = net.node("Transpose", means, perm=[0, 2, 1])
    row = net.node("Conv", row, net.const(net.rng.normal(0, 0.3, (1, 1, 3))), pads=[1, 1])
    gate = net.node("Transpose", net.node("Sigmoid", row), perm=[0, 2, 1])
    return net.node("Mul", x, net.node("Unsqueeze", gate, net.const([3], np.int64)))


def products(net: Net, x: str) -> str:
    """Two products with the channels last, as transformers have them."""
    x = net.node("Transpose", x, perm=[0, 2, 3, 1])
    x = net.node("Relu", net.node("MatMul", x, net.const(net.rng.normal(0, 0.3, (8, 6)))))
    x = net.node("MatMul", x, net.const(net.rng.normal(0, 0.3, (6, 8))))
    return net.node("Transpose", x, perm=[0, 3, 1, 2])


def test_the_truth_of_a_cell_is_that_of_its_middle() -> None:
    labels = np.ones((8, 8), np.uint8)
    labels[3:6:4, 3:6:4] = labels[2::4, 2::4] = 0
    sure = torch.tensor([20.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert float(_log_loss(sure, labels, torch.Generator())) < 1e-3


@pytest.mark.parametrize(
    ("inside", "axis", "timed"), [(row_convolution, 1, 2), (efficient_attention, None, 2), (products, 3, 4)]
)
def test_channels_that_are_no_image_have_an_importance(
    inside: Callable[[Net, str], str], axis: int | None, timed: int
) -> None:
    net = Net(seed=5)
    x = inside(net, net.node("Relu", net.conv("image", 3, 8, strides=[2, 2])))
    model = staged(net.model(net.conv(x, 8, 4), shape=(1, 3, *SIZE_HW)))
    assert len(find_layers(model)) == timed  # what a 1-D convolution takes is left out
    groups = find_channels(model)
    assert set(channel_importance(model, groups, LESSON[:2])) == {c for group in groups for c in group.channels}
    small = [group for group in groups if len(group.channels) == 6]
    assert len(small) == (0 if axis is None else 1)
    for group in small:
        found = channel_importance(model, [group], LESSON[:4], criterion="scale")
        seen: list[np.ndarray] = []

        def see(name: str, value: np.ndarray, seen: list[np.ndarray] = seen) -> None:
            seen.append(value[0])

        watch_activations(model, [frame.image for frame in LESSON[:4]], [group.name], see)
        for number, channel in enumerate(group.channels):
            values = [np.take(each, number, axis - 1) for each in seen]
            assert found[channel] == pytest.approx(np.std(values), rel=1e-3)
