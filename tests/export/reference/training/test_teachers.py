"""Learning from a torch module that is no reference network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import parse_labels
from edge_vseg.errors import EdgeVsegError, ModelFileError, OptionError, WeightsError
from edge_vseg.export.reference.training.batches import Batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.loop import train
from edge_vseg.export.reference.training.objective import Trainee, losses
from edge_vseg.export.reference.training.teachers import ForeignTeacher, open_teacher
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.zoo.new_head import with_labels
from edge_vseg.export.reference.zoo.weights import pretrained

LABELS = parse_labels(["blue", "green", "red"], "here")
CROP = (64, 96)
# It says "red" of what is red, and so on, at an eighth of the size; its images are RGB from 0 to 1.
MODULE = """
import torch

class Colours(torch.nn.Module):
    normalization = {NORMALIZATION}
    labels = {LABELS}

    def forward(self, image):
        assert image.shape[1] == 3
        return {FORWARD}

def colours():
    return Colours()
"""
FORWARD = '{"out": torch.nn.functional.avg_pool2d(image, 8) * 4}'


def write(
    folder: Path,
    normalization: str = "{'mean': 0, 'scale': 255, 'color': 'rgb'}",
    labels: str = "['red', 'green', 'blue']",
    forward: str = FORWARD,
) -> str:
    text = MODULE.replace("{NORMALIZATION}", normalization).replace("{LABELS}", labels).replace("{FORWARD}", forward)
    (folder / "teacher.py").write_text(text)
    return f"{folder / 'teacher.py'}:colours"


def images(count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, *CROP, 3), np.uint8))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_it_gets_its_own_normalization_and_gives_the_classes_in_order(color: str, tmp_path: Path) -> None:
    mean = (10.0, 20.0, 30.0)
    names = ["red", "green", "blue"] if color == "rgb" else ["blue", "green", "red"]
    source = write(tmp_path, f"{{'mean': {mean}, 'scale': (1, 2, 4), 'color': {color!r}}}", str(names))
    given = images()
    teacher = open_teacher(source, LABELS, CROP)
    assert isinstance(teacher, ForeignTeacher)
    scores = teacher(to_input(given)).numpy()
    # What the module would be given by hand: channels in its order, then blue, green, red of its answer.
    channels = np.stack(given).astype(np.float64)[..., :: -1 if color == "rgb" else 1]
    cells = ((channels - mean) / (1, 2, 4)).reshape(2, 8, 8, 12, 8, 3).mean(axis=(2, 4)) * 4
    expected = cells[..., :: -1 if color == "rgb" else 1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_the_response_is_that_of_the_teacher(tmp_path: Path) -> None:
    teacher = open_teacher(write(tmp_path), LABELS, CROP)
    student = Trainee(with_labels(pretrained("small"), LABELS))
    batch = Batch(
        images=to_input(images()),
        labels=torch.zeros(2, *CROP, dtype=torch.long),
        older=torch.zeros(0, 3, *CROP),
        motion=torch.zeros(0, CROP[0] // 8, CROP[1] // 8, 2),
    )
    config = TrainConfig(network="small", response=1.0)
    found = losses(student, batch, config, torch.ones(3), teacher)
    shared = student.network.stem(batch.images)
    scores = student.network.detail(shared, student.network.context(shared))
    target = functional.interpolate(teacher(batch.images), scores.shape[2:], mode="bilinear", antialias=True)
    expected = (
        functional.kl_div(torch.log_softmax(scores / 2, 1), torch.softmax(target / 2, 1), reduction="none")
        .sum(1)
        .mean()
        * 4
    )
    torch.testing.assert_close(found["response"], expected, rtol=1e-3, atol=1e-3)


def test_a_student_learns_from_it_what_no_label_says(tmp_path: Path) -> None:
    """Every label is void; only the teacher knows colours."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(6):
        image = np.zeros((*CROP, 3), np.uint8)
        for row in range(2):
            for column in range(3):
                image[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, rng.integers(3)] = 255
        void = np.full(CROP, 255, np.uint8)
        frames.append(LabelledFrame(image=image, labels=void, name=str(number)))
    frames[0] = replace(frames[0], labels=np.zeros(CROP, np.uint8))
    data = TrainingData(train=frames, val=(), labels=LABELS)
    config = TrainConfig(
        network="small", epochs=15, batch=3, crop_hw=CROP, response=5.0, auxiliary=0.0, aged=0.0, ema=0.8, seed=1
    )
    seen: list[float] = []
    teacher = open_teacher(write(tmp_path), LABELS, CROP)
    train(config, data, tmp_path / "run", teacher=teacher, on_step=lambda progress: seen.append(progress.loss))
    assert np.mean(seen[-5:]) < 0.5 * np.mean(seen[:5])
    with pytest.raises(OptionError, match="only reference networks have"):
        train(replace(config, feature=1.0), data, tmp_path / "other", teacher=teacher)


@pytest.mark.parametrize(
    ("module", "error", "reason"),
    [
        ({"normalization": "None"}, ModelFileError, "does not say how its images are normalized"),
        ({"labels": "['red', 'green', 'puddle']"}, OptionError, "does not know 'blue'"),
        ({"labels": "['red', 'green', 'blue', 'sky']"}, OptionError, "names 4 classes and scores 3"),
        ({"labels": "None", "forward": "image[:, :2]"}, OptionError, "has 2 classes and the data 3"),
        ({"forward": "image.argmax(1)"}, EdgeVsegError, "teacher|scores"),
        ({"forward": "image @ torch.zeros(7, 7)"}, ModelFileError, "does not run"),
    ],
)
def test_a_module_that_cannot_teach(
    module: dict[str, str], error: type[EdgeVsegError], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        open_teacher(write(tmp_path, **module), LABELS, CROP)


def test_weights_are_those_of_a_reference_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        open_teacher(str(tmp_path / "none.safetensors"), LABELS, CROP)
