"""Fine-tuning as a step of an export."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, deep_onnx, frames, run, second_choice, staged, upsample

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec, FrameSpec, Letterbox
from edge_vseg.errors import CalibrationError, EdgeVsegError, OptionError
from edge_vseg.export import (
    ExportOptions,
    Normalization,
    SampleFrames,
    TrainingLength,
    export_bundle,
    training_hardware,
)
from edge_vseg.export.finetuning import finetune, training
from edge_vseg.export.finetuning.training_frame import with_truth
from edge_vseg.export.pipeline import prepare_source, work_folder
from edge_vseg.export.pipeline.finetune_step import FinetunedWeights, finetune_weights, truth_miou
from edge_vseg.export.pipeline.float_graph_step import build_float_graph
from edge_vseg.export.pipeline.job import open_job
from edge_vseg.export.progress import count_steps
from edge_vseg.export.quantization.preparation import Int8Preparation, TrainedWeights
from edge_vseg.export.source.source_network import open_source_network

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
    options = replace(OPTIONS, runtimes=("onnxruntime",))
    for lines in (first, second):
        export_bundle(
            str(onnx_file), tmp_path / "net.evseg", sample, options, lines.append, work_dir=tmp_path / "work"
        )  # fmt: skip
    assert any("min left" in line for line in first)
    assert not any("min left" in line for line in second)


def teach(
    source: Path, sample: SampleFrames, work: Path, steps: int, *, lines: list[str] | None = None, levels: int = 127
) -> FinetunedWeights:
    """The step by itself."""
    options = replace(OPTIONS, runtimes=("onnxruntime",), finetune=TrainingLength(steps=steps), normalization=NORM)
    told = [] if lines is None else lines
    with open_job(
        str(source), work / "net.evseg", options, frames=sample, progress=told.append, work_dir=work
    ) as job:  # fmt: skip
        built = build_float_graph(job, open_source_network(str(source), weights=None, size_hw=None))
        prepared = Int8Preparation(built.graph.model, job.calibration_frames(built.graph.size_hw), 0)
        return finetune_weights(job, built, prepared, {levels})


def test_a_shorter_training_is_not_taken_for_a_longer_one_in_the_same_folder(
    onnx_file: Path, sample: SampleFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bytes] = []
    train = finetune.finetune

    def kept(*args: Any, **kwargs: Any) -> TrainedWeights:
        trained = train(*args, **kwargs)
        found.append(trained.smooth.SerializeToString())
        return trained

    monkeypatch.setattr(finetune, "finetune", kept)
    for work, steps in (("both", 6), ("both", 3), ("alone", 3)):
        teach(onnx_file, sample, tmp_path / work, steps)
    longer, shorter, alone = found
    assert shorter == alone
    assert longer != shorter


def test_where_all_weights_have_seven_bits_these_are_trained(
    onnx_file: Path, sample: SampleFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[TrainedWeights] = []
    train = finetune.finetune

    def kept(*args: Any, **kwargs: Any) -> TrainedWeights:
        found.append(train(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(finetune, "finetune", kept)
    teach(onnx_file, sample, tmp_path / "work", 3, levels=64)
    (trained,) = found
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in trained.rounded.graph.initializer}
    for node in trained.rounded.graph.node:
        if node.op_type == "Conv":
            flat = constants[node.input[1]].reshape(len(constants[node.input[1]]), -1)
            integers = flat / (np.abs(flat).max(1, keepdims=True) / 64)
            np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
    prepared = Int8Preparation(staged(deep_onnx()), sample.calibration, 0).with_trained(trained)
    assert prepared.weights((), levels=64) == trained.rounded
    assert prepared.weights((), levels=127) != trained.rounded


def test_what_was_trained_elsewhere_is_trained_again(
    onnx_file: Path, sample: SampleFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arithmetic, grid and rules are part of what a checkpoint is known by."""
    work = tmp_path / "work"

    def known() -> int:
        return len(list(work.glob("finetune-*.pt")))

    teach(onnx_file, sample, work, 1)
    teach(onnx_file, sample, work, 1)
    assert known() == 1
    teach(onnx_file, sample, work, 1, levels=64)
    assert known() == 2
    other = not training_hardware.has_bfloat16("cpu")
    monkeypatch.setattr(training_hardware, "has_bfloat16", lambda device: other)
    teach(onnx_file, sample, work, 1)
    assert known() == 3
    monkeypatch.setattr(work_folder, "RULES", work_folder.RULES + 1)
    teach(onnx_file, sample, work, 1)
    assert known() == 4


def test_a_device_that_is_not_there_is_refused_before_a_video_is_decoded(onnx_file: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, finetune_device="nothing", normalization=NORM)
    with (
        open_job(str(onnx_file), tmp_path / "net.evseg", options, work_dir=tmp_path / "work") as job,
        pytest.raises(OptionError, match="device 'nothing' cannot be used here"),
    ):
        prepare_source(job)


def test_an_operator_that_cannot_be_trained_is_no_end_of_the_export(sample: SampleFrames, tmp_path: Path) -> None:
    net = Net()
    x = net.node("LRN", net.node("Relu", net.conv("image", 3, 8, strides=[2, 2])), size=3)
    path = tmp_path / "lrn.onnx"
    path.write_bytes(net.model(upsample(net, net.conv(x, 8, 4), 2)).SerializeToString())
    lines: list[str] = []
    found = teach(path, sample, tmp_path / "work", 3, lines=lines)
    assert found.key is None
    assert found.verdict.startswith(
        "fine-tuning dropped: this network cannot be trained here: unsupported operators: LRN"
    )
    assert "TFLite" not in found.verdict
    assert found.verdict in lines


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
    with pytest.raises(OptionError, match=r"--finetune and --targets do not apply to tiny\.tflite"):
        export_bundle(str(tiny), tmp_path / "net.evseg", sample, OPTIONS)


def labelled(count: int, *, start: int = 500, classes: int = 4) -> list[LabelledFrame]:
    """Frames of another size than the network's, with stripes for labels."""
    stripes = np.repeat((np.arange(40) * classes // 40).astype(np.uint8)[None], 30, axis=0)
    return [LabelledFrame(image=image, labels=stripes) for image in frames(count, start=start, size_hw=(30, 40))]


NORM = Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3)
"""As ``staged`` has it."""


def unlike(count: int) -> list[LabelledFrame]:
    """Frames whose truth is the network's second choice where it is not sure."""
    found = []
    for image in frames(count, start=500):
        labels = second_choice(run(staged(deep_onnx()), image[None]))
        found.append(
            LabelledFrame(image=image, labels=cv2.resize(labels, SIZE_HW[::-1], interpolation=cv2.INTER_NEAREST))
        )
    return found


def test_labels_are_learnt_and_judge(
    onnx_file: Path, sample: SampleFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LEARNING_RATE", 0.3)  # more than what rounding changes
    lines: list[str] = []
    options = replace(OPTIONS, runtimes=("onnxruntime",), finetune=TrainingLength(steps=200), normalization=NORM)
    exported = export_bundle(
        str(onnx_file), tmp_path / "net.evseg", sample, options, lines.append, truth=unlike(16)
    )  # fmt: skip
    (verdict,) = [line for line in lines if line.startswith(("fine-tuning taken", "fine-tuning dropped"))]
    found = re.search(r"taken: 127 levels: mIoU (\S+) before, (\S+) after; float has (\S+); 4 labelled frames", verdict)
    assert found, verdict
    before, after, whole = map(float, found.groups())
    assert after > before + 1
    assert after > whole
    (int8,) = [v for v in exported.manifest.variants if v.precision == "int8"]
    assert "fine-tuned with labels" in int8.recipe


def test_the_miou_of_the_verdict_is_that_of_the_metrics(onnx_file: Path) -> None:
    model = staged(deep_onnx())
    spec = FrameSpec(size_hw=SIZE_HW)
    taught = [each for frame in labelled(5) if (each := with_truth(frame, spec)) is not None]
    confusion = np.zeros((4, 4))
    for each in taught:
        scores = run(model, each.image[None])[0]
        planes = np.stack([cv2.resize(plane, SIZE_HW[::-1]) for plane in scores])
        np.add.at(confusion, (each.labels, planes.argmax(0)), 1)
    both = np.diag(confusion)
    iou = both / (confusion.sum(0) + confusion.sum(1) - both)
    assert truth_miou(model, taught) == pytest.approx(np.nanmean(iou))


def test_labels_lie_where_a_letterbox_puts_the_frame() -> None:
    tall = LabelledFrame(image=np.full((40, 10, 3), 200, np.uint8), labels=np.full((40, 10), 3, np.uint8))
    found = with_truth(tall, FrameSpec(size_hw=(24, 32), resize=Letterbox(border_rgb=(1, 1, 1))))
    assert found is not None
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels == 3, found.image[..., 0] == 200)
    assert (found.labels[found.labels != 3] == 255).all()
    nothing = LabelledFrame(image=tall.image, labels=np.full((40, 10), 255, np.uint8))
    assert with_truth(nothing, FrameSpec(size_hw=(24, 32))) is None


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (labelled(7), "--labels needs 8 labelled frames or more, got 7"),
        (labelled(16, classes=6), "the labels have class 5, the network gives 4 classes"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(
    onnx_file: Path, sample: SampleFrames, tmp_path: Path, truth: list[LabelledFrame], message: str
) -> None:
    with pytest.raises(EdgeVsegError, match=message):
        export_bundle(str(onnx_file), tmp_path / "net.evseg", sample, OPTIONS, truth=truth)
    assert not (tmp_path / "net.evseg").exists()


def test_labels_without_training_are_refused(onnx_file: Path, sample: SampleFrames, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="give --finetune as well"):
        export_bundle(
            str(onnx_file), tmp_path / "net.evseg", sample, replace(OPTIONS, finetune=None), truth=labelled(8)
        )  # fmt: skip
