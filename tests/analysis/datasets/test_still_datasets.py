"""Layouts of datasets of single images, on small folders built by their published descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import colors, column, ids, picture, stray

from edge_vseg.analysis.datasets import follows, open_dataset
from edge_vseg.errors import DatasetError


def test_freiburg_forest_has_trees_among_the_vegetation(tmp_path: Path) -> None:
    rows = [(170, 170, 170), (0, 60, 0), (102, 102, 51), (0, 0, 0), (255, 255, 255), (1, 2, 3)]
    for split in ("train", "test"):
        picture(tmp_path / f"{split}/rgb/b1-09517_Clipped.jpg")
        picture(tmp_path / f"{split}/rgb/b1-09520_Clipped.jpg")
        picture(tmp_path / f"{split}/depth_gray/b1-09517_Clipped.png")
        colors(tmp_path / f"{split}/GT_color/b1-09517_mask.png", rows)
    frames = open_dataset(f"freiburg-forest:{tmp_path}")
    assert (frames.split, len(frames)) == ("test", 2)
    assert column(frames[0]) == [0, 2, 2, 4, 255, 255]
    assert column(frames[1]) == [255] * 6
    assert stray(frames, 0) == {"#010203": 8}
    assert [label.name for label in frames.labels] == ["road", "grass", "vegetation", "sky", "obstacle"]
    assert not follows(frames[0], frames[1])


def test_freiburg_forest_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "test/rgb/b1-1_Clipped.jpg")
    colors(tmp_path / "test/GT_color/b1-2_mask.png", [(0, 0, 0)] * 6)
    with pytest.raises(DatasetError, match=r"expected one in .*GT_color, as b1-09517_mask\.png"):
        open_dataset(f"freiburg-forest:{tmp_path}")


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        ("nyu_{}_rgb", "{}_labels_13"),
        ("nyu_{}_rgb", "nyuv2_{}_class13"),
        ("{}", "{}_annot"),
    ],
    ids=["as unpacked", "by archive", "as other programs want it"],
)
def test_nyu_depth_begins_at_1(images: str, maps: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in (17, 20):
            picture(tmp_path / images.format(split) / f"nyu_rgb_{number:04}.png")
        ids(tmp_path / maps.format(split) / "new_nyu_class13_0017.png", [0, 1, 13, 5, 14, 255])
    frames = open_dataset(f"nyu-depth:{tmp_path}")
    assert (frames.split, len(frames)) == ("test", 2)
    assert column(frames[0]) == [255, 0, 12, 4, 255, 255]
    assert column(frames[1]) == [255] * 6
    assert stray(frames, 0) == {"14": 8}
    assert [frames.labels[each].name for each in (0, 4, 12)] == ["bed", "floor", "window"]
    assert not follows(frames[0], frames[1])


def test_nyu_depth_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "nyu_train_rgb/nyu_rgb_0001.png")
    ids(tmp_path / "train_labels_13/new_nyu_class13_0002.png", [1] * 6)
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"nyu-depth:{tmp_path}")
    picture(tmp_path / "nyu_train_rgb/cover.png")
    with pytest.raises(DatasetError, match=r"cover\.png has no name of NYU Depth"):
        open_dataset(f"nyu-depth:{tmp_path}")
