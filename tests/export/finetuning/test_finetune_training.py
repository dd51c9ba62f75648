"""Training makes int8 agree better, is the same every time, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from networks import Net, deep_onnx, frames, run, second_choice, staged

from edge_vseg.errors import OptionError
from edge_vseg.export import TrainingLength
from edge_vseg.export.finetuning import training
from edge_vseg.export.finetuning.blocks import block_ends
from edge_vseg.export.finetuning.finetune import finetune
from edge_vseg.export.finetuning.frame_variants import vary_frame
from edge_vseg.export.finetuning.lesson_loss import lesson_loss, output_loss, upsample_scores
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training import Course, Training
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation, TrainedWeights
from edge_vseg.imaging.label_maps import LabelMapper


@pytest.fixture(scope="module")
def coarse() -> Int8Preparation:
    """Ranges that nobody measured well: there is something to learn."""
    prepared = Int8Preparation(staged(deep_onnx()), frames(8), 0)
    wide = {name: (3 * low, 3 * high) for name, (low, high) in prepared.ranges.items()}
    return prepared.with_trained(
        TrainedWeights(smooth=prepared.equalized, rounded=prepared.weights(()), ranges=wide)
    )  # fmt: skip


def unlabelled(prepared: Int8Preparation) -> list[TrainingFrame]:
    return [TrainingFrame(image=frame) for frame in prepared.frames]


def error(prepared: Int8Preparation) -> float:
    graph = quantize_onnxruntime(prepared.weights(()), prepared.ranges, recipe_for("arm64"))
    pictures = frames(6, start=50)
    # Without int8 kernels, whose sums may saturate on this CPU.
    pairs = zip(run_frames(prepared.model, pictures), [run(graph, each[None]) for each in pictures], strict=True)
    return float(np.mean([np.square(a - b).mean() for a, b in pairs]))


def tuned(prepared: Int8Preparation, **options: object) -> TrainedWeights:
    course = Course(**{"seed": 3, **options})
    return finetune(prepared.equalized, prepared.weights(()), prepared.ranges, unlabelled(prepared), course)


def test_int8_comes_nearer_to_float_on_frames_that_were_not_trained_on(coarse: Int8Preparation) -> None:
    after = coarse.with_trained(tuned(coarse, length=TrainingLength(steps=120)))
    assert after.is_trained
    assert error(after) < 0.8 * error(coarse)


def test_the_same_seed_gives_the_same_network_and_another_seed_another(coarse: Int8Preparation) -> None:
    first, again, other = (
        tuned(coarse, length=TrainingLength(steps=12), seed=seed).rounded.SerializeToString() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_stopped_training_goes_on(coarse: Int8Preparation, tmp_path: Path) -> None:
    whole = tuned(coarse, length=TrainingLength(steps=20))

    class Stopped(Exception):
        pass

    def stop(share: float, loss: float) -> None:
        if share >= 0.5:
            raise Stopped

    def make() -> Training:
        rounded = coarse.weights(())
        return Training(
            Student(coarse.equalized, rounded, coarse.ranges), Teacher(coarse.equalized), block_ends(coarse.equalized),
            unlabelled(coarse), Course(length=TrainingLength(steps=20), seed=3, checkpoint=tmp_path / "state.pt"),
        )  # fmt: skip

    training = make()
    with pytest.raises(Stopped):
        training.run(stop)
    training.save()
    assert not list(tmp_path.glob("*.part"))
    seen: list[float] = []
    make().run(lambda share, loss: seen.append(share))
    assert len(seen) == 10
    resumed = tuned(coarse, length=TrainingLength(steps=20), checkpoint=tmp_path / "state.pt")
    assert resumed.rounded == whole.rounded
    assert resumed.ranges == whole.ranges


def test_a_checkpoint_of_something_else_is_not_taken(coarse: Int8Preparation, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"no checkpoint")
    result = tuned(coarse, length=TrainingLength(steps=2), checkpoint=tmp_path / "state.pt")
    assert onnx.checker.check_model(result.rounded) is None


@pytest.mark.parametrize("damage", ["a shape", "a name", "no step"])
def test_a_checkpoint_that_fits_in_part_leaves_nothing(coarse: Int8Preparation, tmp_path: Path, damage: str) -> None:
    length = TrainingLength(steps=2)
    fresh = tuned(coarse, length=length)
    path = tmp_path / "state.pt"
    tuned(coarse, length=TrainingLength(steps=1), checkpoint=path)
    state = torch.load(path, weights_only=True)
    weights = state["student"]
    for value in weights.values():
        value += 1
    last = list(weights)[-1]
    match damage:
        case "a shape":
            weights[last] = torch.zeros(3, 3)
        case "a name":
            del weights[last]
        case "no step":
            del state["step"]
    torch.save(state, path)
    resumed = tuned(coarse, length=length, checkpoint=path)
    assert resumed.rounded == fresh.rounded
    assert resumed.ranges == fresh.ranges


@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_is_zero_for_the_teacher_and_positive_for_others(channels: int) -> None:
    torch.manual_seed(0)
    target = torch.randn(1, channels, 4, 5)
    assert output_loss(target, target).item() == pytest.approx(0, abs=1e-6)
    assert output_loss(target + torch.randn_like(target), target).item() > 0.01


def test_frames_are_varied_by_the_seed_alone() -> None:
    frame = TrainingFrame(image=frames(1)[0])
    made = [vary_frame(frame, np.random.default_rng(seed)).image for seed in range(24)]
    assert {each.shape for each in made} == {frame.image.shape}
    assert len({each.tobytes() for each in made}) > 12
    for seed, each in enumerate(made):
        np.testing.assert_array_equal(vary_frame(frame, np.random.default_rng(seed)).image, each)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("10min", TrainingLength(seconds=600)),
        ("1.5 h", TrainingLength(seconds=5400)),
        ("90s", TrainingLength(seconds=90)),
        ("500steps", TrainingLength(steps=500)),
    ],
)
def test_lengths(text: str, length: TrainingLength) -> None:
    assert TrainingLength.parse(text) == length


@pytest.mark.parametrize("text", ["", "10", "0min", "-1min", "ten minutes", "1.5steps", "10 parsecs"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="10min"):
        TrainingLength.parse(text)


def test_labels_move_with_their_pixels() -> None:
    """An image that is its own truth still is, however it is cropped and flipped."""
    labels = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((8, 8), np.uint8))
    image = np.repeat(labels[..., None], 3, axis=2)
    moved = 0
    for seed in range(40):
        varied = vary_frame(TrainingFrame(image=image, labels=labels), np.random.default_rng(seed))
        assert varied.labels is not None
        moved += not np.array_equal(varied.labels, labels)
        inside = cv2.erode((cv2.morphologyEx(varied.labels, cv2.MORPH_GRADIENT, np.ones((3, 3))) == 0).astype(np.uint8),
                           np.ones((3, 3)))  # fmt: skip
        near = np.abs(varied.image[..., 0].astype(int) - varied.labels) <= 0.06 * varied.labels + 1
        assert near[inside > 0].all()
    assert moved > 20


def test_the_truth_is_part_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(1, 3, 6, 8, generator=generator)
    truth = np.random.default_rng(0).integers(0, 3, (6, 8)).astype(np.uint8)
    truth[0] = 255
    log = torch.log_softmax(found, 1)[0].numpy()
    rows, columns = np.nonzero(truth != 255)
    expected = -0.5 * log[truth[rows, columns], rows, columns].mean()
    assert float(lesson_loss(found, found, truth)) == pytest.approx(float(expected), rel=1e-4)
    assert float(lesson_loss(found, found, np.full((6, 8), 255, np.uint8))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("align", ["half_pixel", "align_corners", "asymmetric", "nearest"])
@pytest.mark.parametrize("size", [(12, 16), (13, 29)])
def test_scores_are_compared_where_a_device_looks(align: str, size: tuple[int, int]) -> None:
    """Against ONNX Runtime's Resize, and against the label map that a device makes."""
    found = np.random.default_rng(0).normal(size=(1, 3, 6, 8)).astype(np.float32)
    upsampled = upsample_scores(torch.from_numpy(found), size, align).numpy()
    np.testing.assert_array_equal(upsampled[0].argmax(0), LabelMapper(size, align)(found[0]))
    truth = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    log = upsampled[0] - np.log(np.exp(upsampled[0]).sum(0))
    expected = -0.5 * np.take_along_axis(log, truth[None].astype(int), 0).mean()
    scores = torch.from_numpy(found)
    assert float(lesson_loss(scores, scores, truth, align)) == pytest.approx(expected, rel=1e-4)
    if align == "nearest":
        return
    net = Net()
    sizes = net.const([1, 3, *size], np.int64)
    resized = net.node("Resize", "image", "", "", sizes, mode="linear", coordinate_transformation_mode=align)
    np.testing.assert_allclose(upsampled, run(net.model(resized, shape=(1, 3, 6, 8)), found), atol=1e-5)


def test_labels_are_learnt_beside_the_teacher(coarse: Int8Preparation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is the teacher's second choice where it is not sure."""
    monkeypatch.setattr(training, "LEARNING_RATE", 0.3)  # more than what rounding changes
    truth = [second_choice(scores) for scores in run_frames(coarse.model, coarse.frames)]
    lesson = [
        TrainingFrame(image=image, labels=cv2.resize(labels, (32, 24), interpolation=cv2.INTER_NEAREST))
        for image, labels in zip(coarse.frames, truth, strict=True)
    ]
    trained = finetune(
        coarse.equalized, coarse.weights(()), coarse.ranges, lesson, Course(length=TrainingLength(steps=200))
    )
    after = coarse.with_trained(trained)
    assert (coarse.knows_truth, after.knows_truth) == (False, True)

    def found(prepared: Int8Preparation) -> list[np.ndarray]:
        return run_frames(
            quantize_onnxruntime(prepared.weights(()), prepared.ranges, recipe_for("arm64")), coarse.frames
        )

    def right(outputs: list[np.ndarray]) -> float:
        return float(np.mean([np.mean(a.argmax(1)[0] == b) for a, b in zip(outputs, truth, strict=True)]))

    int8 = found(after)
    assert right(int8) > right(found(coarse)) + 0.05
    # The search for nodes in float asks what rounding changes, not what was learnt.
    assert class_agreement(after.unrounded, int8) > class_agreement(after.baseline, int8) + 0.02
