"""int8 graphs for other machines are judged as they will run there, although this CPU's sums may saturate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, frames, run, tensor, upsample

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, Normalization, SampleFrames, export_bundle
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import cut_head
from edge_vseg.export.graph.input_stage import add_input_stage
from edge_vseg.export.quantization import openvino_qdq
from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.graph_runners import OnnxRunner
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for, saturates
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.runtimes.cpu import CpuInfo

NORM = Normalization(mean=(0.0,) * 3, scale=(64.0,) * 3)


def bright_frames(count: int, start: int = 0) -> list[np.ndarray]:
    return [(150 + picture * 0.4).astype(np.uint8) for picture in frames(count, start=start)]


def bright_onnx() -> onnx.ModelProto:
    """Weights of one sign and bright pictures: every pair of products is as large as 8 bits allow."""
    middle = np.mean(
        [run(biased_onnx(np.zeros(4)), image) for image in map(network_input, bright_frames(8))], (0, 1, 3, 4)
    )
    return biased_onnx(-middle)


def biased_onnx(bias: np.ndarray) -> onnx.ModelProto:
    net = Net(seed=2)
    x = "image"
    for channels, stride in ((3, 2), (16, 1)):
        weight = np.abs(net.rng.normal(1, 0.3, (16, channels, 3, 3))) / (9 * channels)
        x = net.node(
            "Relu", net.node("Conv", x, net.const(weight), kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2)
        )
    last = net.rng.normal(0, 1, (4, 16, 1, 1))
    scores = net.node("Conv", x, net.const(last), net.const(bias), kernel_shape=[1, 1])
    return net.model(upsample(net, scores, 2), shape=(1, 3, *SIZE_HW))


def network_input(image: np.ndarray) -> np.ndarray:
    return tensor(image, 0.0, 64.0)


def cpu(architecture: str, *features: str) -> CpuInfo:
    return CpuInfo(model="made-up", architecture=architecture, cores=2, features=features)


@pytest.mark.parametrize(
    ("target", "wrong_on"),
    [("x86_64", {"old"}), ("x86_64-avx2", set()), ("arm64", {"old"}), ("jetson", {"old"})],
)
def test_sums_saturate_on_x86_without_vnni(target: str, wrong_on: set[str]) -> None:
    machines = {"old": cpu("x86_64", "avx2"), "new": cpu("x86_64", "avx512_vnni"), "pi": cpu("arm64", "asimd")}
    assert {name for name, each in machines.items() if saturates(recipe_for(target), each)} == wrong_on


@pytest.mark.parametrize("target", ["x86_64", "arm64", "jetson"])
def test_graphs_for_other_machines_are_judged_as_there(target: str, tmp_path: Path) -> None:
    path = tmp_path / "bright.onnx"
    path.write_bytes(bright_onnx().SerializeToString())
    sample = SampleFrames(calibration=bright_frames(8), validation=bright_frames(4, 50), spec=CalibrationSpec())
    options = ExportOptions(runtimes=("onnxruntime",), targets=(target,), slices=False, normalization=NORM)
    manifest = export_bundle(str(path), tmp_path / "net.evseg", sample, options).manifest
    (int8,) = [each for each in manifest.variants if each.precision == "int8"]
    assert int8.parity is not None
    assert int8.parity.pixel_agreement > 0.9
    assert min(trial.agreement for trial in int8.trials) > 0.9


def test_classes_in_float_are_those_without_any_kernel() -> None:
    canonical, image = canonicalize(bright_onnx(), None)
    prepared = Int8Preparation(add_input_stage(cut_head(canonical)[0], image, NORM), bright_frames(8), 0)
    graph = quantize_onnxruntime(prepared.weights(()), prepared.ranges, recipe_for("x86_64"))
    images = bright_frames(3, 50)
    plain = [run(graph, image[None]).argmax(1) for image in images]  # with all optimizations off
    runner = OnnxRunner(prepared, 1, native=True, in_float=True)
    for found, scores, expected in zip(runner.classes(graph, images), run_frames(graph, images), plain, strict=True):
        assert np.mean(found == expected) > 0.995
        assert np.mean(scores.argmax(1) == expected) > 0.995


def test_openvino_saturates_on_no_cpu(tmp_path: Path) -> None:
    """One graph is for all CPUs; with weights of the full range, 2 of 10 cells agree on one without VNNI."""
    canonical, image = canonicalize(bright_onnx(), None)
    prepared = Int8Preparation(add_input_stage(cut_head(canonical)[0], image, NORM), bright_frames(8), 0)
    weights = prepared.weights((), levels=openvino_qdq.RECIPE.levels)
    infer = openvino_qdq.start_openvino(openvino_qdq.quantize_openvino(weights, prepared.ranges, tmp_path))
    images = bright_frames(4, 50)
    found = [infer(each) for each in images]
    assert class_agreement(run_frames(prepared.model, images), found) > 0.9
