"""Classes of a dataset and of a bundle, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_datasets import document, ids, picture

from edge_vseg.analysis.datasets import IndexedFrames, match_labels, open_dataset
from edge_vseg.bundle.labels import named_labels, numbered_labels, parse_labels, plain_labels, read_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError


@pytest.fixture
def frames(tmp_path: Path) -> IndexedFrames:
    picture(tmp_path / "images/1.png")
    picture(tmp_path / "images/2.png")
    ids(tmp_path / "labels/1.png", [0, 1, 2, 3, 255, 9])
    document(tmp_path / "classes.json", ["Road", "traffic-sign", "dog", "bicycle"])
    return open_dataset(f"folder:{tmp_path}")


def test_the_same_classes_are_left_alone(frames: IndexedFrames) -> None:
    assert match_labels(frames, parse_labels(["road", "traffic_sign", "Dog", "bicycle"], "")) is frames


def test_other_ids_and_unknown_classes(frames: IndexedFrames, caplog: pytest.LogCaptureFixture) -> None:
    matched = match_labels(frames, named_labels("cityscapes"))
    assert matched[0].labels[:, 0].tolist() == [0, 7, 255, 18, 255, 255]
    assert (matched[1].labels == 255).all()
    assert "not judged: dog" in caplog.text
    assert "not in the dataset: sidewalk" in caplog.text
    assert matched.entries[0].truth is not None
    assert matched.entries[0].truth.stray((6, 8)) == {"9": 8}


def test_classes_without_names_are_taken_by_number(frames: IndexedFrames, caplog: pytest.LogCaptureFixture) -> None:
    assert match_labels(frames, numbered_labels(4)) is frames
    assert "have no names" in caplog.text


def test_nothing_in_common(frames: IndexedFrames) -> None:
    for labels in (numbered_labels(5), parse_labels(["a", "b"], "")):
        with pytest.raises(DatasetError, match=r"no class of the dataset \(Road, traffic-sign, dog, bicycle\)"):
            match_labels(frames, labels)


def classes(folder: Path, *rows: object) -> tuple[Label, ...]:
    """A file for ``--classes``, read."""
    (folder / "mine.json").write_text(json.dumps(rows))
    return read_labels(folder / "mine.json")


def test_one_class_of_several(frames: IndexedFrames, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = classes(tmp_path, {"name": "thing", "of": ["Traffic sign", "bicycle", "van"]}, "road")
    matched = match_labels(frames, wanted)
    assert matched[0].labels[:, 0].tolist() == [1, 0, 255, 0, 255, 255]
    assert matched.labels == plain_labels(wanted)
    assert [type(each) for each in matched.labels] == [Label, Label]
    assert "not judged: dog" in caplog.text
    assert "not in the dataset: van" in caplog.text


def test_a_class_of_one_has_its_new_name(frames: IndexedFrames, tmp_path: Path) -> None:
    names = ["Road", "traffic-sign", "dog", "bicycle"]
    matched = match_labels(frames, classes(tmp_path, *({"name": name[::-1], "of": [name]} for name in names)))
    assert [each.name for each in matched.labels] == [name[::-1] for name in names]
    assert matched[0].labels[:, 0].tolist() == [0, 1, 2, 3, 255, 255]


def test_a_class_of_its_own_name_takes_only_what_it_names(frames: IndexedFrames, tmp_path: Path) -> None:
    matched = match_labels(frames, classes(tmp_path, {"name": "dog", "of": ["bicycle"]}, "road"))
    assert matched[0].labels[:, 0].tolist() == [1, 255, 255, 0, 255, 255]


def test_a_class_of_what_the_dataset_does_not_have(frames: IndexedFrames, tmp_path: Path) -> None:
    wanted = classes(tmp_path, "road", {"name": "vehicle", "of": ["car", "truck"]})
    with pytest.raises(
        DatasetError, match="'vehicle' is made of car, truck, .* `of`: Road, traffic-sign, dog, bicycle"
    ):
        match_labels(frames, wanted)
