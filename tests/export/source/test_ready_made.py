"""What a ready-made file's inputs and outputs are taken for, on files that are built here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hand_made import operator_recording
from networks import frames

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import HeadError, OptionError
from edge_vseg.export import DeviceTimes, ExportOptions, Normalization, SampleFrames, TrainingLength, export_bundle
from edge_vseg.export.source.output_choice import layout_of
from edge_vseg.export.source.ready_made import read_ready_made
from edge_vseg.segmenter import Segmenter

ASSETS = Path(__file__).parents[2] / "assets"
SIZE_HW = (24, 32)
TIMES = DeviceTimes(path=Path("times.json"), recording=operator_recording("float", "int8"))
Outputs = dict[str, Any]
IN_FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO computes in bfloat16 by default, where a CPU has units for it."""


def write_ir(path: Path, outputs: Callable[[Any, Any], Outputs], size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """An OpenVINO IR of the outputs, by name, that a function makes of opset and image ``(1, 3, H, W)``."""
    import openvino as ov
    from openvino import opset13 as ops

    image = ops.parameter([1, 3, *size_hw], np.float32, name="image")
    image.output(0).set_names({"image"})
    results = []
    for name, node in outputs(ops, image).items():
        node.output(0).set_names({name})
        results.append(ops.result(node))
    ov.save_model(ov.Model(results, [image]), path, compress_to_fp16=False)
    return path


def scores(ops: Any, image: Any, channels: int, *, stride: int = 2, seed: int = 0) -> Any:
    weights = np.random.default_rng(seed).normal(size=(channels, 3, stride, stride)).astype(np.float32)
    return ops.convolution(image, weights, [stride] * 2, [0, 0], [0, 0], [1, 1])


def label_map(ops: Any, image: Any, dtype: str, *, keep_channel: bool = False) -> Any:
    best = ops.topk(scores(ops, image, 4, stride=1), np.int64(1), np.int64(1), "max", "none", index_element_type="i64")
    found = best.output(1)
    return ops.convert(found if keep_channel else ops.squeeze(found, np.array([1], np.int64)), dtype)


def sample() -> SampleFrames:
    return SampleFrames(calibration=(), validation=frames(2, size_hw=SIZE_HW), spec=CalibrationSpec())


@pytest.mark.parametrize("classes", [None, 150], ids=["numbered", "named"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_more_classes_than_rows_are_no_rows(tmp_path: Path, layout: str, classes: int | None) -> None:
    """SegFormer's 150 classes of ADE20K at a quarter of 512x512."""

    def outputs(ops: Any, image: Any) -> Outputs:
        planes = scores(ops, image, 150, stride=4)
        return {"logits": planes if layout == "NCHW" else ops.transpose(planes, np.array([0, 2, 3, 1]))}

    path = write_ir(tmp_path / "net.xml", outputs, (512, 512))
    labels = None if classes is None else numbered_labels(classes)
    found = read_ready_made(path, ExportOptions(labels=labels))
    assert (found.output.layout, found.output.hwc) == (layout, (128, 128, 150))
    assert (found.head.kind, found.head.size_hw, len(found.labels)) == ("scores", (128, 128), 150)


@pytest.mark.parametrize(
    ("shape", "size_hw", "classes", "layout"),
    [
        ((1, 150, 128, 128), (512, 512), None, "NCHW"),
        ((1, 128, 128, 150), (512, 512), None, "NHWC"),
        ((1, 1, 24, 32), (24, 32), None, "NCHW"),
        ((1, 24, 32, 1), (24, 32), None, "NHWC"),
        ((1, 60, 80, 256), (480, 640), None, "NHWC"),
        ((1, 12, 15, 19), (360, 480), 19, "NHWC"),
        ((1, 12, 15, 19), (360, 480), 12, "NCHW"),
        ((1, 1, 2, 3), (24, 32), 2, "NCHW"),
        ((1, 3, 12, 16), (24, 32), 16, "NCHW"),
    ],
    ids=["ade", "ade-last", "mask", "mask-last", "features", "rounded", "rounded-first", "binary", "mistake"],
)
def test_the_layout(shape: tuple[int, ...], size_hw: tuple[int, int], classes: int | None, layout: str) -> None:
    assert layout_of(shape, size_hw, classes) == layout


@pytest.mark.parametrize("keep_channel", [False, True], ids=["NHW", "NCHW"])
@pytest.mark.parametrize("dtype", ["u8", "i64"])
def test_a_finished_map_of_any_integers(tmp_path: Path, dtype: str, keep_channel: bool) -> None:
    path = write_ir(
        tmp_path / "net.xml",
        lambda ops, image: {"map": label_map(ops, image, dtype, keep_channel=keep_channel)},
    )
    with pytest.raises(HeadError, match="finished label map, which does not tell its classes"):
        read_ready_made(path, ExportOptions())
    options = ExportOptions(labels=numbered_labels(4), normalization=Normalization())
    made = export_bundle(str(path), tmp_path / "net.evseg", sample(), options)
    assert made.manifest.head.kind == "labels"
    image = sample().validation[0]
    with Segmenter.open(made.path, runtime="openvino", threads=1) as segmenter:
        given = segmenter(image).labels
    import openvino as ov

    planes = np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
    expected = np.array(ov.Core().compile_model(path, "CPU", IN_FLOAT)(planes)[0]).reshape(SIZE_HW)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(given, expected)


def test_a_type_that_no_bundle_can_name(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "net.xml", lambda ops, image: {"map": label_map(ops, image, "u16")})
    with pytest.raises(HeadError, match="output 'map' is uint16; expected one of uint8, int8, int32"):
        read_ready_made(path, ExportOptions(labels=numbered_labels(4)))


def two_heads(ops: Any, image: Any) -> Outputs:
    """An auxiliary head comes first, at half the size; one whose size is not known is last."""
    return {
        "aux": scores(ops, image, 4, stride=4, seed=1),
        "main": scores(ops, image, 4),
        "found": ops.non_zero(image),
    }


def test_the_output_most_like_scores_is_wrapped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_ir(tmp_path / "net.xml", two_heads)
    options = ExportOptions(normalization=Normalization(), labels=numbered_labels(4))
    made = export_bundle(str(path), tmp_path / "net.evseg", sample(), options)
    (variant,) = made.manifest.variants
    assert (variant.output.name, variant.output.hwc) == ("main", (12, 16, 4))
    assert made.manifest.source.output == "main"
    warning = made.warnings[0]
    assert "3 outputs: 'main' (1, 4, 12, 16) is exported, not 'aux' (1, 4, 6, 8), 'found'" in warning
    assert "choose another with --output-name" in caplog.text


def test_an_output_of_a_file_is_chosen_by_name(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "net.xml", two_heads)
    found = read_ready_made(path, ExportOptions(output_name="aux", normalization=Normalization()))
    assert (found.output.name, found.head.size_hw, found.output_name) == ("aux", (6, 8), "aux")
    assert found.notes == ()
    with pytest.raises(OptionError, match=r"no output 'auxiliary'; it has: 'aux' \(1, 4, 6, 8\), 'main'"):
        read_ready_made(path, ExportOptions(output_name="auxiliary"))
    with pytest.raises(HeadError, match="dynamic"):
        read_ready_made(path, ExportOptions(output_name="found"))


def test_outputs_of_tflite(tmp_path: Path) -> None:
    """The committed file with its hidden map of 8 channels as an output before the scores."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT.InitFromPackedBuf((ASSETS / "tiny.tflite").read_bytes(), 0)
    graph = model.subgraphs[0]
    (last,) = graph.outputs
    hidden = next(n for n, tensor in enumerate(graph.tensors) if list(tensor.shape) == [1, 12, 16, 8])
    graph.tensors[hidden].name, graph.outputs = b"hidden", [hidden, last]
    builder = Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "net.tflite"
    path.write_bytes(builder.Output())

    found = read_ready_made(path, ExportOptions(labels=numbered_labels(3)))
    assert (found.output.hwc, found.output.layout) == ((12, 16, 3), "NCHW")
    assert any("not 'hidden' (1, 12, 16, 8)" in note for note in found.notes)
    chosen = read_ready_made(path, ExportOptions(output_name="hidden"))
    assert (chosen.output.hwc, chosen.output.layout) == ((12, 16, 8), "NHWC")


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny.xml"])
def test_bytes_are_not_normalized_twice(name: str) -> None:
    for norm in (Normalization(mean=(127.5,) * 3), Normalization(scale=(58.0,) * 3)):
        with pytest.raises(OptionError, match=f"{name} takes uint8 images and normalises them itself; leave out"):
            read_ready_made(ASSETS / name, ExportOptions(normalization=norm))
    found = read_ready_made(ASSETS / name, ExportOptions(normalization=Normalization(color="bgr")))
    assert (found.input.mean, found.input.scale) == ((), ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ("arm64",)}, "--targets does not apply to tiny.tflite"),
        ({"precisions": ("int8",)}, "--precision does not apply to tiny.tflite"),
        ({"min_speedup": 1.5}, "--min-speedup does not apply to tiny.tflite"),
        ({"node_times": TIMES}, "--node-times does not apply to tiny.tflite"),
        ({"carried": ("mid",)}, "--carry does not apply to tiny.tflite"),
        ({"carried": ("mid",), "tiles": (96, 96)}, "--tiles and --carry do not apply to tiny.tflite"),
        ({"finetune": TrainingLength(steps=3)}, "--finetune does not apply to tiny.tflite"),
        ({"runtimes": ("onnxruntime",)}, "tiny.tflite can be wrapped for tflite only, and --runtimes asks for onnxr"),
        ({"runtimes": ("onnxruntime", "tflite")}, "and --runtimes asks for onnxruntime, tflite; leave it out"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_file_cannot_be_is_not_passed_over(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_ready_made(ASSETS / "tiny.tflite", ExportOptions(**options))


def test_its_own_runtime_may_be_named() -> None:
    assert read_ready_made(ASSETS / "tiny.tflite", ExportOptions(runtimes=("tflite",))).runtime == "tflite"
    assert read_ready_made(ASSETS / "tiny.xml", ExportOptions(runtimes=("openvino",), slices=False)).runtime


@pytest.mark.parametrize("last", ["logits", "sigmoid"])
def test_one_channel_of_logits_is_halved_at_zero(tmp_path: Path, last: str) -> None:
    """At one half, as probabilities are, it would lose what is nearly as likely foreground as not."""

    def outputs(ops: Any, image: Any) -> Outputs:
        centred = ops.multiply(ops.subtract(image, np.float32(128)), np.float32(1 / 128))
        planes = scores(ops, centred, 1)
        return {"mask": planes if last == "logits" else ops.sigmoid(planes)}

    path = write_ir(tmp_path / "net.xml", outputs)
    made = export_bundle(str(path), tmp_path / "net.evseg", sample(), ExportOptions(normalization=Normalization()))
    assert made.manifest.head.threshold == (0.0 if last == "logits" else 0.5)
    assert any("no probabilities; what is above 0 counts" in each for each in made.warnings) == (last == "logits")
    import openvino as ov

    image = sample().validation[0]
    planes = np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
    values = cv2.resize(np.array(ov.Core().compile_model(path, "CPU", IN_FLOAT)(planes)[0])[0, 0], SIZE_HW[::-1])
    expected = values > (0.0 if last == "logits" else 0.5)
    with Segmenter.open(made.path, runtime="openvino", threads=1) as segmenter:
        found = segmenter(image).labels
    assert 0.1 < expected.mean() < 0.9
    assert np.mean(found == expected) > 0.99


@pytest.mark.parametrize("last", ["logits", "softmax", "sigmoid"])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_probabilities_of_a_file_are_those_of_the_device(tmp_path: Path, last: str, channels: int) -> None:
    """A softmax of probabilities would be nearly flat, and everything uncertain."""
    if channels == 1 and last == "softmax":
        pytest.skip("always 1")

    def outputs(ops: Any, image: Any) -> Outputs:
        centred = ops.multiply(ops.subtract(image, np.float32(128)), np.float32(1 / 128))
        planes = ops.multiply(scores(ops, centred, channels), np.float32(3))
        match last:
            case "softmax":
                return {"found": ops.softmax(planes, 1)}
            case "sigmoid":
                return {"found": ops.sigmoid(planes)}
        return {"found": planes}

    path = write_ir(tmp_path / "net.xml", outputs)
    options = ExportOptions(normalization=Normalization())
    made = export_bundle(str(path), tmp_path / "net.evseg", sample(), options)
    assert made.manifest.head.holds_probabilities == (last != "logits")
    import openvino as ov

    image = sample().validation[0]
    planes = np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
    values = np.array(ov.Core().compile_model(path, "CPU", IN_FLOAT)(planes)[0])[0].astype(np.float64)
    if channels == 1:
        foreground = 1 / (1 + np.exp(-values[0])) if last == "logits" else values[0]
        expected = np.stack((1 - foreground, foreground))
    else:
        expected = np.exp(values - values.max(0)) if last == "logits" else values
        expected = expected / expected.sum(0)
    with Segmenter.open(made.path, runtime="openvino", threads=1) as segmenter:
        result = segmenter(image)
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-3)
    assert expected.max() > 0.8
