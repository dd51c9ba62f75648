"""Classes of a dataset and of a bundle, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import document, ids, picture

from edge_vseg.analysis.datasets import IndexedFrames, match_labels, open_dataset
from edge_vseg.bundle.labels import named_labels, numbered_labels, parse_labels
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
