"""Fine-tuning as a step of an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import Net, body, frames, upsample

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export import ExportOptions, SampleFrames, TrainingLength, export_bundle
from edge_vseg.export.progress import count_steps

pytestmark = pytest.mark.usefixtures("warm_converter")

OPTIONS = ExportOptions(
    runtimes=("onnxruntime", "openvino"), targets=("x86_64",), slices=False, finetune=TrainingLength(steps=40)
)


def test_an_export_says_whether_training_helped(onnx_file: Path, sample: SampleFrames, tmp_path: Path) -> None:
    lines: list[str] = []
    exported = export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS, lines.append)
    (verdict,) = [line for line in lines if line.startswith(("fine-tuning taken", "fine-tuning dropped"))]
    assert any("min left" in line for line in lines)
    recipes = [v.recipe for v in exported.manifest.variants if v.precision == "int8"]
    assert len(recipes) == 2
    assert [("fine-tuned" in recipe) for recipe in recipes] == [verdict.startswith("fine-tuning taken")] * 2
    assert len(lines) <= count_steps(str(onnx_file), OPTIONS)


def test_trained_weights_are_taken_from_the_work_folder(onnx_file: Path, sample: SampleFrames, tmp_path: Path) -> None:
    first, second = ([], [])
    for lines in (first, second):
        export_bundle(
            str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS, lines.append, work_dir=tmp_path / "work"
        )  # fmt: skip
    assert any("min left" in line for line in first)
    assert not any("min left" in line for line in second)


def test_too_few_frames_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    sample = SampleFrames(calibration=frames(7), validation=frames(4, start=100), spec=CalibrationSpec())
    with pytest.raises(CalibrationError, match="8 calibration frames or more, got 7"):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS)
    assert not (tmp_path / "net.evseg").exists()


def test_a_network_that_gives_labels_is_refused(sample: SampleFrames, tmp_path: Path) -> None:
    net = Net()
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=0)
    labels = net.node("Gather", net.const([3, 0, 1, 2], np.int64), best, axis=0)
    path = tmp_path / "labels.onnx"
    path.write_bytes(net.model(labels).SerializeToString())
    with pytest.raises(OptionError, match="without its argmax"):
        export_bundle(str(path), tmp_path / "net.evseg", sample, replace(OPTIONS, labels=numbered_labels(4)))


def test_without_int8_there_is_nothing_to_teach() -> None:
    with pytest.raises(OptionError, match="add int8"):
        replace(OPTIONS, precisions=("float",))


def test_a_file_that_is_wrapped_as_it_is_is_not_taught(sample: SampleFrames, tmp_path: Path) -> None:
    tiny = Path(__file__).parents[2] / "assets/tiny.tflite"
    with pytest.raises(OptionError, match=r"--finetune and --output-name do not apply to tiny\.tflite"):
        export_bundle(str(tiny), tmp_path / "net.evseg", sample, OPTIONS)
