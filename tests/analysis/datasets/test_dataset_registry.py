"""Datasets by name, and what the readers share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from small_datasets import SIZE_HW, colors, column, document, few_bits, ids, lines, paletted, picture, stray

from edge_vseg.analysis.datasets import LAYOUTS, open_dataset
from edge_vseg.analysis.datasets.label_sources import ColorFile, IdFile, IdTable, Shape, Shapes, consecutive
from edge_vseg.analysis.datasets.registry import layout
from edge_vseg.errors import DatasetError, OptionError


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_refuses_a_folder_of_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    picture(tmp_path / "holiday/beach.jpg")
    assert layout(name).name == name
    with pytest.raises(DatasetError, match="does not hold"):
        open_dataset(f"{name}:{tmp_path}")
    with pytest.raises(DatasetError, match="there is no such folder"):
        open_dataset(f"{name}:{tmp_path}/missing")


@pytest.mark.parametrize("address", ["", "camvid", "camvid:", ":x", "imagenet:x", "CamVid:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OptionError, match="LAYOUT:DIR|unknown dataset layout"):
        open_dataset(address)


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "drive:val"
    picture(folder / "images/1.png")
    ids(folder / "labels/1.png", [0, 1, 1, 1, 255, 9])
    document(folder / "classes.json", ["road", "car"])
    frames = open_dataset(f"folder:{folder}")
    assert frames.split == "all"
    assert frames[0].labels[:, 0].tolist() == [0, 1, 1, 1, 255, 255]
    assert frames.entries[0].truth is not None
    assert frames.entries[0].truth.stray(SIZE_HW) == {"9": SIZE_HW[1]}


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("layout", ["folder", "voc"])
def test_grey_label_maps_of_few_bits(layout: str, bits: int, tmp_path: Path) -> None:
    """The numbers in the file are ids, whatever range a viewer stretches them to."""
    rows = [number % (1 << bits) for number in range(6)]
    place = {"folder": "labels", "voc": "SegmentationClass"}[layout] + "/1.png"
    few_bits(tmp_path / place, rows, bits)
    picture(tmp_path / {"folder": "images", "voc": "JPEGImages"}[layout] / "1.png")
    document(tmp_path / "classes.json", [f"class {number}" for number in range(6)])
    lines(tmp_path / "ImageSets/Segmentation/val.txt", "1")
    frames = open_dataset(f"{layout}:{tmp_path}")
    assert column(frames[0]) == rows
    assert frames.entries[0].truth is not None
    assert frames.entries[0].truth.stray(SIZE_HW) == {}


@pytest.mark.parametrize("writer", ["no two numbers of one colour", "all of one colour", "Pillow"])
def test_label_maps_with_a_palette_are_read_by_their_numbers(writer: str, tmp_path: Path) -> None:
    """As Pillow, labelme2voc and mmseg write them; OpenCV gives their colours."""
    rows, path = [0, 1, 2, 1, 255, 9], tmp_path / "labels/1.png"
    if writer == "Pillow":  # with fewer bits than 8, a short palette and transparency
        rows = [0, 1, 2, 1, 3, 3]
        made = pytest.importorskip("PIL.Image").fromarray(np.repeat(np.array(rows, np.uint8)[:, None], SIZE_HW[1], 1))
        made.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 9, 9, 9])
        path.parent.mkdir(parents=True)
        made.save(path, bits=2, transparency=0)
    else:
        alike = {number: (7, 7, 7) for number in range(256)}
        paletted(path, rows, alike if writer == "all of one colour" else {n: (n, 0, 255 - n) for n in range(256)})
    assert np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).ndim == 3
    picture(tmp_path / "images/1.png")
    document(tmp_path / "classes.json", ["road", "car", "tree"])
    frames = open_dataset(f"folder:{tmp_path}")
    assert column(frames[0]) == [each if each < 3 else 255 for each in rows]
    assert frames.entries[0].truth is not None
    assert frames.entries[0].truth.stray(SIZE_HW) == ({"3": 16} if writer == "Pillow" else {"9": 8})


def test_a_plain_folder_with_splits_clips_and_sparse_labels(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"train/images/drive/{number}.jpg", number)
    picture(tmp_path / "train/images/alone.PNG")
    ids(tmp_path / "train/labels/drive/2.png", [4, 4, 9, 9, 0, 7], np.uint16)
    picture(tmp_path / "val/images/v.png")
    document(tmp_path / "classes.json", {"classes": ["road", "car"], "ids": [4, 9], "ignore": [0], "rate": 10})
    frames = open_dataset(f"folder:{tmp_path}:train")
    assert [frame.clip for frame in frames] == ["alone", *["drive"] * 4]
    assert [frame.time_s for frame in frames] == [None, 0.0, 0.1, 0.2, pytest.approx(0.3)]
    assert frames[3].labels[:, 0].tolist() == [0, 0, 1, 1, 255, 255]
    assert all((frames[each].labels == 255).all() for each in (0, 1, 2, 4))
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"folder:{tmp_path}")
    ids(tmp_path / "val/labels/v.jpg", [0, 4, 4, 9, 9, 0])
    with pytest.raises(DatasetError, match=r"v\.jpg may have other numbers .* as PNG"):
        open_dataset(f"folder:{tmp_path}:val")


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (["road"], "2 to 255 classes"),
        ({"classes": ["road", "car"], "colours": []}, "unknown key 'colours'"),
        ({"classes": ["road", "car"], "ids": [1]}, "one id from 0 to 65535 for each class"),
        ({"classes": ["road", "car"], "ids": [1, 1]}, "one id from 0 to 65535 for each class"),
        ({"classes": ["road", "car"], "ids": [1, [2, 1]]}, "one id from 0 to 65535 for each class, or a list of them"),
        ({"classes": ["road", "car"], "ids": [1, []]}, "one id from 0 to 65535 for each class"),
        ({"classes": ["road", "car"], "ids": [[], 1, 2]}, "one id from 0 to 65535 for each class"),
        ({"classes": ["road", "car"], "ids": [1, [[2]]]}, "one id from 0 to 65535 for each class"),
        ({"classes": ["road", "car"], "ids": [7, [8, 9]], "ignore": [9]}, "id 9 is in `ignore` .* class 'car'"),
        (["road", {"name": "vehicle", "of": ["car", "bus"]}], "class 'vehicle' has `of`, .* a list of ids"),
        ({"classes": ["road", "car"], "ignore": [-1]}, "one id from 0 to 65535"),
        ({"classes": ["road", "car"], "ignore": [0]}, "id 0 is in `ignore` and is that of class 'road'; take it out"),
        (
            {"classes": ["road", "car"], "ids": [7, 9], "ignore": [0, 9]},
            "id 9 is in `ignore` and is that of class 'car'",
        ),
        ({"classes": ["road", "car"], "rate": 0}, "frames per second"),
        (None, "cannot be read"),
    ],
)
def test_classes_that_cannot_be(classes: object, why: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/1.png")
    ids(tmp_path / "labels/1.png", [0] * 6)
    if classes is not None:
        document(tmp_path / "classes.json", classes)
    with pytest.raises((DatasetError, OptionError), match=why):
        open_dataset(f"folder:{tmp_path}")


def test_several_ids_of_one_class(tmp_path: Path) -> None:
    picture(tmp_path / "images/1.png")
    ids(tmp_path / "labels/1.png", [7, 26, 300, 28, 0, 8], np.uint16)
    document(tmp_path / "classes.json", {"classes": ["road", "vehicle"], "ids": [7, [26, 28, 300]], "ignore": [0]})
    frames = open_dataset(f"folder:{tmp_path}")
    assert column(frames[0]) == [0, 1, 1, 1, 255, 255]
    assert stray(frames, 0) == {"8": SIZE_HW[1]}


def test_an_id_of_255_overrules_what_is_ignored_by_itself(tmp_path: Path) -> None:
    """Nobody asked for 255 to be ignored."""
    picture(tmp_path / "images/1.png")
    ids(tmp_path / "labels/1.png", [0, 255, 0, 255, 9, 9])
    document(tmp_path / "classes.json", {"classes": ["road", "car"], "ids": [0, 255]})
    assert column(open_dataset(f"folder:{tmp_path}")[0]) == [0, 1, 0, 1, 255, 255]


def test_ids_of_more_than_sixteen_bits() -> None:
    table = IdTable({70_000: 3, 5: 1}, (0,))
    found = np.array([[70_000, 5], [0, 70_001]])
    assert table(found).tolist() == [[3, 1], [255, 255]]
    assert table.stray(found) == {"70001": 1}


def test_colours_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "c.png"
    colors(path, [(10, 20, 30), (0, 0, 0), (10, 20, 31), (10, 20, 30), (1, 1, 1), (0, 0, 0)])
    source = ColorFile(path=path, colors={(10, 20, 30): 2, (0, 0, 0): 255})
    assert source.read(SIZE_HW)[:, 0].tolist() == [2, 255, 255, 2, 255, 255]
    assert source.stray(SIZE_HW) == {"#010101": SIZE_HW[1], "#0a141f": SIZE_HW[1]}
    assert IdFile(path=path, table=consecutive(40), channel="blue").read(SIZE_HW)[2, 0] == 31
    with pytest.raises(DatasetError, match="is in colours"):
        IdFile(path=path, table=consecutive(3)).read(SIZE_HW)
    with pytest.raises(DatasetError, match=r"\(6, 8\), its image \(7, 8\)"):
        source.read((7, 8))


def test_shapes_are_painted_in_their_order() -> None:
    square = np.array([[1, 1], [5, 1], [5, 4], [1, 4]], np.float64)
    hole = np.array([[2, 2], [3, 2], [3, 3], [2, 3]], np.float64)
    mask = np.ones((3, 3), bool)
    source = Shapes(
        shapes=(
            Shape(class_id=1, polygons=(square, hole)),
            Shape(class_id=2, mask=mask, at=(-1, 4)),
            Shape(class_id=3, mask=mask, at=(6, -2)),
        ),
        size_hw=SIZE_HW,
        name="one.json",
        unknown=("tree", "tree"),
        background=0,
    )
    expected = np.zeros(SIZE_HW, np.uint8)
    cv2.fillPoly(expected, [square.astype(np.int32), hole.astype(np.int32)], 1)
    expected[4:6, 0:2] = 2
    expected[0, 6:8] = 3
    np.testing.assert_array_equal(source.read(SIZE_HW), expected)
    assert source.stray(SIZE_HW) == {"tree": 2}
    with pytest.raises(DatasetError, match="sizes must agree"):
        source.read((5, 8))
