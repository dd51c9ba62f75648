"""Pixels that int8 represents exactly: the same numbers, but where the first layer pads."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import Normalization, add_input_stage
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.tflite_litert import quantize_tflite, start_tflite, to_tflite
from edge_vseg.export.quantization.whole_input import with_whole_mean

IMAGENET = Normalization(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))
SIZE_HW = (21, 30)


def first_layer(norm: Normalization, **geometry: object) -> onnx.ModelProto:
    """A graph of one convolution of an image of 21x30 pixels."""
    rng = np.random.default_rng(3)
    kernel = geometry.pop("kernel_shape", [3, 3])
    weight = rng.normal(0, 0.2, (5, 3, *kernel)).astype(np.float32)
    constants = {"weight": weight, "bias": rng.normal(0, 1, 5).astype(np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["scores"], name="conv", **geometry)],
        "first",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, *SIZE_HW))],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    )
    return add_input_stage(
        model, ImageInput(name="image", layout="NCHW", size_hw=SIZE_HW, dtype=onnx.TensorProto.FLOAT), norm
    )


GEOMETRIES = [
    {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 1, 0], "strides": [2, 2]},
    {"kernel_shape": [7, 7], "pads": [3, 3, 3, 3], "strides": [4, 4]},
    {"pads": [4, 4, 4, 4], "dilations": [4, 4]},
    {"kernel_shape": [2, 2], "strides": [5, 5], "pads": [0, 0, 0, 0]},
    {},
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_scores_are_the_same(geometry: dict[str, object], color: str) -> None:
    model = first_layer(Normalization(mean=IMAGENET.mean, scale=IMAGENET.scale, color=color), **geometry)
    changed = with_whole_mean(model)
    assert changed is not model
    onnx.checker.check_model(changed, full_check=True)
    frames = [np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)]
    before, after = run_frames(model, frames)[0], run_frames(changed, frames)[0]
    assert before.shape == after.shape
    margin = -(-max(geometry.get("pads", [0])) // min(geometry.get("strides", [1])))  # type: ignore[call-overload]
    inside = (..., slice(margin, -margin), slice(margin, -margin)) if margin else ...
    assert before[inside].size
    np.testing.assert_allclose(after[inside], before[inside], atol=2e-4)
    weight = next(
        onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name.endswith("weight_on_pixels")
    )
    # Outside of the image the colour has whole bytes: half a level is off at most.
    assert np.abs(after - before).max() <= 0.5 * np.abs(weight).sum((1, 2, 3)).max() + 2e-4


@pytest.mark.parametrize("mean", [(-3.0, 0.0, 4.0), (256.0, 250.0, 251.0)])
def test_a_mean_that_is_no_byte_is_not_put_around_the_frame(mean: tuple[float, float, float]) -> None:
    changed = with_whole_mean(first_layer(Normalization(mean=mean), pads=[1, 1, 1, 1]))
    assert "Concat" not in {node.op_type for node in changed.graph.node}


def test_layers_that_pad_differently_pad_with_a_grey() -> None:
    model = first_layer(IMAGENET, pads=[1, 1, 1, 1])
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = np.random.default_rng(4).normal(0, 0.2, (2, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "point"))
    model.graph.node.append(helper.make_node("Conv", [conv.input[0], "point"], ["also"], name="also"))
    model.graph.output.append(helper.make_tensor_value_info("also", onnx.TensorProto.FLOAT, None))
    changed = with_whole_mean(model)
    assert "Concat" not in {node.op_type for node in changed.graph.node}
    frames = [np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)]
    before, after = run_frames(model, frames)[0], run_frames(changed, frames)[0]
    np.testing.assert_allclose(after[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1], atol=2e-4)


def test_int8_represents_every_pixel() -> None:
    index = GraphIndex(with_whole_mean(first_layer(IMAGENET, pads=[1, 1, 1, 1])))
    stage = index.producer["frame.pixels"]
    mean = np.asarray(index.constant(stage.input[1]))
    assert mean.size == 1
    assert mean.item() == round(mean.item())


@pytest.mark.parametrize(
    "norm",
    [Normalization(), Normalization(mean=(110.0, 110.0, 110.0), scale=(75.0, 75.0, 75.0))],
    ids=["nothing is subtracted", "one whole number is"],
)
def test_what_is_exact_already_stays(norm: Normalization) -> None:
    model = first_layer(norm, pads=[1, 1, 1, 1])
    assert with_whole_mean(model) is model


def test_readers_of_other_kinds_keep_their_input() -> None:
    model = first_layer(IMAGENET, pads=[1, 1, 1, 1])
    model.graph.node.append(helper.make_node("Relu", ["frame.pixels"], ["also"], name="also"))
    model.graph.output.append(helper.make_tensor_value_info("also", onnx.TensorProto.FLOAT, None))
    assert with_whole_mean(model) is model


@pytest.mark.parametrize("geometry", GEOMETRIES[:3])
def test_tflite_surrounds_the_frame_too(geometry: dict[str, object]) -> None:
    model = with_whole_mean(first_layer(IMAGENET, **geometry))
    frames = [np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8) for seed in range(2)]
    expected, made = run_frames(model, frames), to_tflite(model)
    infer, rounded = start_tflite(made), start_tflite(quantize_tflite(made, model, frames))
    for frame, scores in zip(frames, expected, strict=True):
        np.testing.assert_allclose(infer(frame), scores, atol=1e-3)
        assert np.abs(rounded(frame) - scores).mean() < 0.02 * np.abs(scores).mean()
