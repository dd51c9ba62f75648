"""labelme, Supervisely, Roboflow and VOC; what holds for the exports of all tools."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_datasets import SIZE_HW, colors, document, ids, picture
from tool_writers import (
    CLASSES,
    SQUARE,
    WIDTH,
    bitmap,
    labelme,
    outlined,
    png,
    roboflow,
    shape,
    stray,
    supervisely,
    text,
    transparent,
    voc,
    write_coco,
    write_cvat,
    write_labelme,
    write_roboflow,
    write_supervisely,
    write_supervisely_polygon,
    write_voc,
)

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.errors import DatasetError


def test_labelme_shapes(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    labelme(
        tmp_path / "a.json",
        shape("road", [[0, 0], [7, 0], [7, 5], [0, 5]], "oriented_rectangle"),
        shape("car", [[5.0, 4.0], [1.0, 2.0]], "rectangle"),
        shape("tree", [[6, 1], [7, 1]], "circle"),
        shape("__ignore__", [[0, 0], [1, 0], [0, 1]]),
        shape("car", [[3, 3]], "point"),
    )
    labelme(tmp_path / "b.json", imageHeight=None, imageWidth=None)
    frames = open_dataset(f"labelme:{tmp_path}")
    assert [each.name for each in frames.labels] == ["car", "road", "tree"]
    expected = np.ones(SIZE_HW, np.uint8)
    expected[2:5, 1:6] = 0
    expected[1, 5:8] = expected[0, 6] = expected[2, 6] = 2
    expected[0, :2] = expected[1, 0] = 255
    np.testing.assert_array_equal(frames[0].labels, expected)
    assert stray(frames) == {"point of car": 1}
    assert frames.entries[1].truth is None
    assert frames.entries[2].truth is None


def test_labelme_splits_have_the_same_classes_and_a_background(tmp_path: Path) -> None:
    for split, label in (("train", "car"), ("val", "tree")):
        picture(tmp_path / split / "a.png")
        labelme(tmp_path / split / "a.json", shape(label, [[1, 1], [3, 1], [3, 3], [1, 3]]))
    picture(tmp_path / "val/other.png", 9)
    labelme(tmp_path / "val/b.json", shape("_background_", SQUARE), imagePath="other.png")
    frames = open_dataset(f"labelme:{tmp_path}")
    assert frames.split == "val"
    assert [each.name for each in frames.labels] == ["_background_", "car", "tree"]
    assert frames[0].labels[:2].tolist() == [[0] * 8, [0, 2, 2, 2, 0, 0, 0, 0]]
    assert frames[1].image[0, 0, 0] == 9
    assert (frames[1].labels == 0).all()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle"])
def test_labelme_shapes_as_pillow_draws_them(kind: str, seed: int, tmp_path: Path) -> None:
    draw = pytest.importorskip("PIL.ImageDraw")
    image = pytest.importorskip("PIL.Image").new("L", (60, 50))
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.random(7)) * 2 * np.pi
    points = np.stack([30 + 25 * np.cos(angles), 25 + 20 * np.sin(angles)], axis=1)
    match kind:
        case "polygon":
            draw.Draw(image).polygon([tuple(each) for each in points], fill=1, outline=1)
        case "rectangle":
            points = np.array([points[[0, 3]].max(axis=0), points[[0, 3]].min(axis=0)])
            draw.Draw(image).rectangle((*points[1], *points[0]), fill=1, outline=1)
        case "circle":
            points = points[:2]
            radius = np.hypot(*(points[1] - points[0]))
            draw.Draw(image).ellipse((*(points[0] - radius), *(points[0] + radius)), fill=1, outline=1)
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60, 3), np.uint8))
    (tmp_path / "labels.txt").write_text("a\nb\n")
    labelme(tmp_path / "a.json", shape("a", points.tolist(), kind), imageHeight=50, imageWidth=60)
    found = open_dataset(f"labelme:{tmp_path}")[0].labels == 0
    expected = np.asarray(image) == 1
    # labelme draws with Pillow; they differ by pixels of the outline only.
    inner, outer = (change(expected.astype(np.uint8), np.ones((3, 3))) for change in (cv2.erode, cv2.dilate))
    assert (found >= (inner == 1)).all()
    assert (found <= (outer == 1)).all()
    if kind == "rectangle":
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (shape("car", [[0, 0], [1, 1]]), "at least 3 points"),
        (shape("car", [[0, 0]], "rectangle"), "at least 2 points"),
        (shape("car", [[0, 0]], "circle"), "at least 2 points"),
        (shape("car", [], "mask", mask=""), "at least 1 points"),
        (shape("car", [[0, 0]], "mask"), "`mask` is missing"),
        (shape("car", [[0, 0]], "mask", mask="*"), "is not base64"),
        (shape("car", [[0, 0]], "mask", mask=text(b"GIF89a" * 9)), "is not a PNG"),
        (shape("car", [[0, 0]], "mask", mask=text(png(np.ones(SIZE_HW))[:-30])), "damaged"),
        (shape("car", [[0, 0]], "mask", mask=text(png(np.ones((7, 8))))), r"a mask of \(7, 8\) in an image"),
        ({"label": "car"}, "`points` is missing"),
        (shape("car", [[0, 0], [1, 1], [2, "x"]]), "at least 3 points"),
    ],
)
def test_labelme_shapes_that_cannot_be(found: dict[str, Any], why: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "labels.txt").write_text("road\ncar\n")
    labelme(tmp_path / "a.json", found)
    frames = open_dataset(f"labelme:{tmp_path}")
    with pytest.raises(DatasetError, match=why) as caught:
        frames[0]
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../a.jpg", "expected a name inside"),
        ("..\\a.jpg", "expected a name inside"),
        ("/a.jpg", "expected a name inside"),
        ("b.jpg", "which is missing"),
        (None, "`imagePath` is missing"),
    ],
)
def test_labelme_images_that_cannot_be(path: str | None, why: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "set/a.jpg")
    labelme(tmp_path / "set/a.json", shape("x", SQUARE), shape("y", SQUARE))
    labelme(tmp_path / "set/z.json", imagePath=path)
    with pytest.raises(DatasetError, match=why):
        open_dataset(f"labelme:{tmp_path}/set")


def test_supervisely_objects(tmp_path: Path) -> None:
    hole = [[2, 2], [5, 2], [5, 4], [2, 4]]
    address = supervisely(
        tmp_path,
        outlined([[0.4, 0.9], [7, 0], [7.9, 5.5], [0, 5]], [hole]),
        bitmap(transparent(np.array([[1, 0], [1, 1]])), [6, 4]),
        bitmap(text(zlib.compress(png(np.ones((1, 2))))), [-1, 0]),
        {"classTitle": "car", "geometryType": "rectangle", "points": {"exterior": [[0, 0], [1, 1]], "interior": []}},
        outlined([[3, 3], [3, 3], [3, 3]], [], "tree"),
    )
    picture(tmp_path / "drive/img/b.png")
    picture(tmp_path / "drive/img/c.png")
    document(tmp_path / "drive/ann/c.png.json", {"size": {"height": 6, "width": 8}, "objects": []})
    frames = open_dataset(address)
    assert [(each.name, each.color) for each in frames.labels][:1] == [("road", (128, 64, 128))]
    expected = np.zeros(SIZE_HW, np.uint8)
    expected[2:5, 2:6] = 255
    expected[4, 6] = expected[5, 6:] = expected[0, 0] = 1
    np.testing.assert_array_equal(frames[0].labels, expected)
    assert stray(frames) == {"rectangle of car": 1, "tree": 1}
    assert frames.split == "drive"
    assert [each.truth is None for each in frames.entries] == [False, True, True]


BIG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (30000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0" + b"\0" * 99


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (bitmap("AAAA", [0, 0]), "a bitmap is damaged"),
        (bitmap("ä", [0, 0]), "is not base64"),
        (bitmap(text(zlib.compress(b"")), [0, 0]), "is not a PNG"),
        (bitmap(text(zlib.compress(BIG)), [0, 0]), r"a mask of \(30000, 30000\) in an image of \(6, 8\)"),
        (bitmap(text(zlib.compress(bytes(1 << 26), 9)), [0, 0]), "is not a PNG"),
        (bitmap(transparent(np.ones((1, 1))), [0]), "at least 1 points"),
        (outlined(SQUARE[:2], []), "at least 3 points"),
        (outlined(SQUARE, [[1, 1]]), "at least 3 points"),
        ({"classTitle": "car", "geometryType": "polygon"}, "`interior` is missing"),
        ({"classTitle": 7, "geometryType": "polygon"}, "`classTitle` is missing or not of type str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_supervisely_objects_that_cannot_be(found: dict[str, Any], why: str, tmp_path: Path) -> None:
    frames = open_dataset(supervisely(tmp_path, found))
    with pytest.raises(DatasetError, match=why) as caught:
        frames[0]
    assert "a.jpg.json" in str(caught.value)


def test_supervisely_projects_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"meta\.json has 1 classes, car"):
        open_dataset(supervisely(tmp_path, classes=[{"title": "car"}]))
    with pytest.raises(DatasetError, match="entry 0: expected a name"):
        open_dataset(supervisely(tmp_path, classes=[{"title": "a", "color": "red"}, {"title": "b"}]))
    frames = open_dataset(supervisely(tmp_path, outlined(SQUARE, []), size={"height": 5, "width": 8}))
    with pytest.raises(DatasetError, match="sizes must agree"):
        frames[0]
    (tmp_path / "drive/ann/a.jpg.json").rename(tmp_path / "drive/ann/b.jpg.json")
    with pytest.raises(DatasetError, match="no image of .* has annotations"):
        open_dataset(f"supervisely:{tmp_path}")


def test_roboflow(tmp_path: Path) -> None:
    address = roboflow(tmp_path)
    ids(tmp_path / "valid/a_jpg.rf.1_mask.png", [0, 1, 2, 3, 255, 0])
    picture(tmp_path / "valid/b.jpg")
    frames = open_dataset(address)
    assert [each.name for each in frames.labels] == ["background", "car", "road"]
    assert frames[0].labels[:, 0].tolist() == [0, 2, 1, 255, 255, 0]
    assert stray(frames) == {"3": WIDTH, "255": WIDTH}
    assert [each.name for each in frames.entries] == ["a_jpg.rf.1", "b"]
    assert frames.entries[1].truth is None


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        ("filename, car, road\n", "does not begin with `Pixel Value, Class`"),
        ("", "does not begin with"),
        ("Pixel Value, Class\n0, a\n0, b\n", "each once"),
        ("Pixel Value, Class\n256, a\n", "from 0 to 255"),
        ("Pixel Value, Class\n-1, a\n", "from 0 to 255"),
        ("Pixel Value, Class\n" + "1" * 5000 + ", a\n", "from 0 to 255"),
        ("Pixel Value, Class\n1\n", "from 0 to 255"),
        ("Pixel Value, Class\n1, a\n", "has 1 classes"),
        ("Pixel Value, Class\n1, a\n2, \n", "entry 1: expected a name"),
        ("Pixel Value, Class\n0, a\n1, b\n", "no image of .* has a mask"),
        ('Pixel Value, Class\n1, "' + "a" * 200_000, "is not CSV"),
    ],
    ids=range(11),
)
def test_roboflow_that_cannot_be(classes: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=why):
        open_dataset(roboflow(tmp_path, classes))


def test_voc_of_cvat(tmp_path: Path) -> None:
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\n\nroad:128,64,128::\ncar:0,0,142:wheel:\n"
    address = voc(tmp_path, 'a\n"b c"\nsub/d\n', labelmap)
    for name in ("b c.png", "sub/d.jpg"):
        picture(tmp_path / "JPEGImages" / name)
    rows = [(0, 0, 0), (128, 64, 128), (0, 0, 142), (224, 224, 192), (1, 1, 1), (0, 0, 0)]
    colors(tmp_path / "SegmentationClass/a.png", rows)
    ids(tmp_path / "SegmentationClass/sub/d.png", [0, 1, 2, 3, 255, 0])
    frames = open_dataset(address)
    assert [each.name for each in frames.labels] == ["background", "road", "car"]
    assert frames[0].labels[:, 0].tolist() == [0, 1, 2, 255, 255, 0]
    assert stray(frames) == {"#010101": WIDTH}
    assert frames.entries[1].truth is None
    assert frames[2].labels[:, 0].tolist() == [0, 1, 2, 255, 255, 0]
    assert stray(frames, 2) == {"3": WIDTH}
    assert [each.name for each in frames] == ["a", "b c", "d"]


def test_voc_with_its_palette(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    address = voc(tmp_path)
    numbers = np.repeat(np.array([0, 1, 15, 20, 255, 0], np.uint8)[:, None], WIDTH, axis=1)
    mask = image.fromarray(numbers)
    # The palette of the challenge: bit 3 k + c of the number is bit 7 - k of channel c.
    mask.putpalette(
        [sum((n >> (3 * k + c) & 1) << (7 - k) for k in range(8)) & 255 for n in range(256) for c in range(3)]
    )
    mask.save(tmp_path / "SegmentationClass/a.png")
    (frame,) = open_dataset(address)
    assert frame.labels[:, 0].tolist() == [0, 1, 15, 20, 255, 0]


@pytest.mark.parametrize(
    ("names", "labelmap", "why"),
    [
        ("../a\n", "", "expected a name inside"),
        ("/a\n", "", "expected a name inside"),
        ("none\n", "", "names 'none', which is not in"),
        ("out\n", "", "a link that leaves"),
        ("a\n", "", "no image in .* has a label map"),
        ("\n", "", "no frames of split"),
        ("a\n", "road:1,2::\n", "line 1: expected name:r,g,b"),
        ("a\n", "road:::\n", "line 1: expected name:r,g,b"),
        ("a\n", "road:1,2,3::\ncar:1,2,3::\n", "two classes have one colour"),
        ("a\n", "road:1,2,3::\ncar:1,2,300::\n", "entry 1: expected a name"),
        ("a\n", "road:1,2,3::\n", "has 1 classes"),
    ],
    ids=range(11),
)
def test_voc_that_cannot_be(names: str, labelmap: str, why: str, tmp_path: Path) -> None:
    address = voc(tmp_path / "set", names, labelmap)
    picture(tmp_path / "a.jpg")
    (tmp_path / "set/JPEGImages/out.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=why):
        open_dataset(address)


@pytest.mark.parametrize("write", [write_cvat, write_labelme, write_supervisely, write_roboflow, write_voc])
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_survives(write: Callable[[Path, np.ndarray], str], seed: int, tmp_path: Path) -> None:
    mask = np.random.default_rng(seed).random(SIZE_HW) < 0.5
    frames = open_dataset(write(tmp_path, mask))
    assert frames.labels[1].name == "car"
    np.testing.assert_array_equal(frames[0].labels, np.where(mask, 1, 255))


def test_opening_reads_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.eye(*SIZE_HW) > 0
    addresses = []
    for write in (write_coco, write_cvat, write_labelme, write_supervisely, write_roboflow, write_voc):
        (tmp_path / write.__name__).mkdir()
        addresses.append(write(tmp_path / write.__name__, mask))
    monkeypatch.setattr(cv2, "imread", lambda *_: pytest.fail("a picture is read"))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("a picture is read"))
    assert all(len(open_dataset(address)) == 1 for address in addresses)


def test_json_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = supervisely(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({"classes": CLASSES, "more": " " * 1000}))
    monkeypatch.setattr("edge_vseg.analysis.datasets.annotation_files.MAX_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"meta\.json cannot be read: more than 1000 bytes"):
        open_dataset(address)


ODD = (None, True, -1, 0, 1 << 40, 0.5, "", "x", [], [[]], [1, 2], {}, {"a": 1})


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Each list or object of a document, with each of its keys."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [(tree, key) for key in keys] + [place for key in keys for place in places(tree[key])]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_labelme, "a.json"),
        (write_supervisely, "meta.json"),
        (write_supervisely, "drive/ann/a.jpg.json"),
        (write_supervisely_polygon, "drive/ann/a.jpg.json"),
        (write_coco, "annotations/instances_x.json"),
        (write_coco, "annotations/panoptic_x.json"),
    ],
)
def test_a_wrong_value_anywhere_is_read_or_refused(
    write: Callable[[Path, np.ndarray], str], name: str, tmp_path: Path
) -> None:
    address = write(tmp_path, np.eye(*SIZE_HW) > 0)
    path = tmp_path / name
    if write is write_coco and "instances" in name:
        (tmp_path / "annotations/panoptic_x.json").unlink()
    tree = json.loads(path.read_text())
    refused = 0
    for parent, key in places(tree):
        before = parent[key]
        for odd in ODD:
            parent[key] = odd
            document(path, tree)
            try:
                frames = open_dataset(address)
                assert frames[0].labels.shape == SIZE_HW
                assert frames.entries[0].truth is None or stray(frames) is not None
            except DatasetError:
                refused += 1
        parent[key] = before
    assert refused > 20
