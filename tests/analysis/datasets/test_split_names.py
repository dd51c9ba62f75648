"""Which split is learnt and which one judges, by their names, and who asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import picture
from tool_writers import SQUARE, cvat, cvat_image, polygon

from edge_vseg.analysis.datasets import find_dataset, open_dataset
from edge_vseg.analysis.datasets.split_names import judging_split, learning_split
from edge_vseg.analysis.label_propagation.from_dataset import open_training_split
from edge_vseg.cli.labelled import frames_to_learn, frames_to_learn_and_score
from edge_vseg.errors import DatasetError


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("test", "train", "val"), "train"),
        (("Test", "Train", "Validation"), "Train"),
        (("Train", "train"), "train"),
        (("training", "validation"), "training"),
        (("test2017", "train2014", "train2017", "val2017"), "train2017"),
        (("train", "train_extra", "trainval"), "train"),
        (("all",), "all"),
        (("default",), "default"),
        (("val",), "val"),
        (("default", "Validation", "test-dev2017"), "default"),
        (("Test",), None),
        (("Test", "Validation"), None),
        (("drive 1", "drive 2"), None),
        (("train1", "train2"), None),
        (("testimony",), "testimony"),
    ],
)
def test_the_split_to_learn_from(splits: tuple[str, ...], expected: str | None) -> None:
    assert learning_split(splits) == expected


@pytest.mark.parametrize(
    ("splits", "usual", "learnt", "expected"),
    [
        (("train", "val"), "val", "train", "val"),
        (("Test", "Train", "Validation"), "val", "Train", "Validation"),
        (("test", "train", "valid"), "valid", "train", "valid"),
        (("test", "train"), "test", "train", "test"),
        (("Test", "Train"), "val", "Train", None),
        (("train2014", "train2017", "val2014", "val2017"), "val2017", "train2017", "val2017"),
        (("train2017", "val2014"), "val2017", "train2017", None),
        (("train2014", "val2014"), "val2017", "train2014", "val2014"),
        (("VAL", "train", "val"), "val", "train", "val"),
        (("train", "val"), "val", "val", None),
        (("trainval", "val"), "val", "trainval", None),
        (("all",), "val", "all", None),
    ],
)
def test_the_split_to_judge_by(splits: tuple[str, ...], usual: str, learnt: str, expected: str | None) -> None:
    assert judging_split(splits, usual, learnt) == expected


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """CVAT's usual subsets, of one image each."""
    for name in ("Test", "Train", "Validation"):
        picture(tmp_path / f"images/{name}/{name}.png")
    subsets = (
        cvat_image(polygon(SQUARE), f"{each}.png", more=f'subset="{each}"') for each in ("Test", "Train", "Validation")
    )
    return cvat(tmp_path, "".join(subsets))


def test_every_command_finds_the_subsets_of_cvat(task: Path) -> None:
    address = f"cvat:{task}"
    assert find_dataset(address).splits == ("Test", "Train", "Validation")
    assert open_training_split(address).split == "Train"
    assert frames_to_learn(address, None).split == "Train"
    assert [each.split for each in frames_to_learn_and_score(address)] == ["Train", "Validation"]
    assert open_dataset(address).split == "Validation"
    assert open_training_split(f"{address}:Test").split == "Test", "the address names it"


def test_a_test_split_is_not_learnt_unless_it_is_named(task: Path) -> None:
    path = task / "annotations.xml"
    path.write_text(path.read_text().replace('subset="Train"', 'subset="Test"'))
    (task / "images/Train/Train.png").rename(task / "images/Test/Train.png")
    for find in (open_training_split, frames_to_learn_and_score):
        with pytest.raises(DatasetError, match=r"called train, only Test, Validation; name the one .*cvat:.*:SPLIT"):
            find(f"cvat:{task}")
    assert len(open_training_split(f"cvat:{task}:Test")) == 2
