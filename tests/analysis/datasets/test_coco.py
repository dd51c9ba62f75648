"""COCO's annotations, and its run lengths and polygons against pycocotools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_datasets import SIZE_HW, document, picture

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.datasets.coco_rle import rle_mask
from edge_vseg.analysis.datasets.drawn_masks import polygon_shape, run_mask
from edge_vseg.analysis.datasets.label_sources import Shapes
from edge_vseg.errors import DatasetError

coder = pytest.importorskip("pycocotools.mask")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

CATEGORIES = [
    {"id": 7, "name": "road", "color": [128, 64, 128]},
    {"id": 3, "name": "car"},
    {"id": 90, "name": "sky"},
]
SQUARE = [1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]


def random_mask(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    return np.random.default_rng(seed).random(size_hw) < 0.5


def packed(mask: np.ndarray) -> dict[str, Any]:
    rle = coder.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def tree(drawings: list[Any], files: tuple[str, ...] = ("a.jpg",), **more: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 5 + number, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]}
            for number, name in enumerate(files)
        ],
        "categories": CATEGORIES,
        "annotations": drawings,
    } | more


def drawn(segmentation: object, category: int = 3, image: int = 5, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": segmentation} | more


def labels_of(tmp_path: Path, *annotations: dict[str, Any], **more: Any) -> np.ndarray:
    picture(tmp_path / "val2017/a.jpg")
    document(tmp_path / "annotations/instances_val2017.json", tree(list(annotations), **more))
    return open_dataset(f"coco:{tmp_path}")[0].labels


def test_panoptic_segments(tmp_path: Path) -> None:
    segments = np.array([1, 256, 65536 * 200 + 256 * 100 + 50, 0, 77, 4711])
    ids = np.repeat(segments[:, None], SIZE_HW[1], axis=1)
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=2).astype(np.uint8)
    for number in (1, 2):
        picture(tmp_path / f"val2017/{number}.jpg")
    (tmp_path / "annotations/panoptic_val2017").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / "annotations/panoptic_val2017/1.png"), np.ascontiguousarray(rgb[..., ::-1]))
    known = zip(segments.tolist(), (7, 3, 90, None, 55), strict=False)
    annotation = {
        "image_id": 5,
        "file_name": "1.png",
        "segments_info": [{"id": number, "category_id": category} for number, category in known if category],
    }
    document(tmp_path / "annotations/panoptic_val2017.json", tree([annotation], ("1.jpg", "2.jpg")))
    # Panoptic annotations come before others.
    document(tmp_path / "annotations/instances_val2017.json", tree([]))
    frames = open_dataset(f"coco:{tmp_path}")
    assert [(each.name, each.color) for each in frames.labels][:2] == [("road", (128, 64, 128)), ("car", (178, 45, 45))]
    assert frames[0].labels[:, 0].tolist() == [0, 1, 2, 255, 255, 255]
    assert frames.entries[0].truth is not None
    assert set(frames.entries[0].truth.stray(SIZE_HW)) == {"#4d0000", "#671200"}
    assert frames.entries[1].truth is None
    assert (frames[1].labels == 255).all()


def test_pictures_beside_the_annotations_and_a_segment_that_cannot_be(tmp_path: Path) -> None:
    picture(tmp_path / "images/x/1.jpg")
    picture(tmp_path / "panoptic_x/1.png", 0)
    document(
        tmp_path / "annotations/panoptic_x.json",
        tree([{"image_id": 5, "file_name": "1.png", "segments_info": []}], ("1.jpg",)),
    )
    assert (open_dataset(f"coco:{tmp_path}:x")[0].labels == 255).all()
    segment = {"id": 1 << 24, "category_id": 3}
    document(
        tmp_path / "annotations/panoptic_x.json",
        tree([{"image_id": 5, "file_name": "1.png", "segments_info": [segment]}], ("1.jpg",)),
    )
    with pytest.raises(DatasetError, match=r"panoptic_x\.json, image 1\.jpg: segment 16777216; expected an id"):
        open_dataset(f"coco:{tmp_path}:x")


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_survives(seed: int, tmp_path: Path) -> None:
    mask = random_mask(seed)
    labels = labels_of(tmp_path, drawn(packed(mask)))
    np.testing.assert_array_equal(labels, np.where(mask, 1, 255))


@given(
    seed=st.integers(0, 1000),
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
)
def test_run_lengths_as_pycocotools_has_them(seed: int, size_hw: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(size_hw) < share
    np.testing.assert_array_equal(rle_mask(packed(mask), size_hw, "x"), mask)
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    runs = [0, *runs] if flat[0] else runs
    expected = coder.decode(coder.frPyObjects({"size": list(size_hw), "counts": runs}, *size_hw))
    np.testing.assert_array_equal(rle_mask({"size": list(size_hw), "counts": runs}, size_hw, "x"), expected)
    np.testing.assert_array_equal(run_mask(runs, size_hw[::-1], "rows", "x"), mask.T)


def test_runs_of_polygons_that_end_in_the_corner() -> None:
    rle = coder.frPyObjects([[0, 0, 8, 0, 8, 6, 0, 6]], *SIZE_HW)[0]
    assert rle_mask({"size": list(SIZE_HW), "counts": rle["counts"].decode()}, SIZE_HW, "x").all()


@pytest.mark.parametrize(
    "counts",
    [
        "",
        "0",
        "oooooooo",
        "PPPPPPPP",
        "zzzz0",
        "é",
        None,
        [],
        [48, 1],
        [47],
        [-1, 49],
        [48.0],
        [True, 47],
        [1 << 62, 1],
    ],
    ids=repr,
)
def test_runs_that_make_no_mask(counts: object) -> None:
    with pytest.raises(DatasetError, match=r"a\.json.*export the dataset again"):
        rle_mask({"size": list(SIZE_HW), "counts": counts}, SIZE_HW, "a.json")


def test_a_mask_of_another_size() -> None:
    with pytest.raises(DatasetError, match="sizes must agree"):
        rle_mask(packed(np.zeros((4, 4), bool)), SIZE_HW, "a.json")


def test_without_pycocotools_only_packed_runs_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    crowd = drawn({"size": list(SIZE_HW), "counts": [0, 6, 42]}, 7, iscrowd=1)
    labels = labels_of(tmp_path, crowd, drawn([SQUARE]))
    assert labels[:, 0].tolist() == [0] * 6
    assert labels[1:4, 1:5].tolist() == [[1] * 4] * 3
    with pytest.raises(DatasetError, match=r"image a\.jpg.*pip install 'edge-vseg\[datasets\]'"):
        labels_of(tmp_path, drawn({"size": list(SIZE_HW), "counts": "0"}))


def raster(outlines: list[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    shape = polygon_shape(outlines, 1, size_hw)
    return Shapes(shapes=(shape,), size_hw=size_hw, name="x", background=0).read(size_hw) == 1


def distances(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """From points ``(M, 2)`` to the nearest edge of an outline."""
    begins, edges = outline[None], (np.roll(outline, -1, axis=0) - outline)[None]
    along = ((points[:, None] - begins) * edges).sum(-1) / (edges**2).sum(-1)
    nearest = begins + np.clip(along, 0, 1)[..., None] * edges
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)


@pytest.mark.parametrize("seed", range(40))
def test_polygons_as_pycocotools_has_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(each) for each in rng.integers(20, 90, 2))
    corners = int(rng.integers(3, 12))
    angles, radii = np.sort(rng.random(corners)) * 2 * np.pi, rng.uniform(0.2, 0.7, corners) * min(height, width)
    outline = np.stack([width / 2 + radii * np.cos(angles), height / 2 + radii * np.sin(angles)], axis=1)
    runs = coder.frPyObjects([outline.ravel().tolist()], height, width)
    expected = coder.decode(runs)[..., 0] == 1
    rows, columns = np.nonzero(raster([outline], (height, width)) != expected)
    # pycocotools follows outlines in steps of a fifth of a pixel; only pixels that one cuts in half may differ.
    if len(rows):
        assert distances(np.stack([columns + 0.5, rows + 0.5], axis=1), outline).max() < 0.3
    assert len(rows) <= 0.05 * expected.sum() + 5


def test_rectangles_are_as_pycocotools_has_them_and_neighbours_share_no_pixel() -> None:
    for x0, y0, x1, y1 in ((1, 1, 5, 4), (0, 0, 8, 6), (2, 3, 3, 4), (-3, -2, 4, 20)):
        outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)
        clipped = np.clip(outline, 0, SIZE_HW[::-1])
        expected = coder.decode(coder.frPyObjects([clipped.ravel().tolist()], *SIZE_HW))[..., 0]
        np.testing.assert_array_equal(raster([outline], SIZE_HW), expected == 1)
    left = np.array([[0, 0], [3.3, 0], [4.7, 6], [0, 6]])
    right = np.array([[3.3, 0], [8, 0], [8, 6], [4.7, 6]])
    assert (raster([left], SIZE_HW) ^ raster([right], SIZE_HW)).all()
    assert not raster([left, left], SIZE_HW).any()
    assert not raster([np.array([[20, 20], [30, 20], [30, 30]], float)], SIZE_HW).any()


def test_instances_lie_over_stuff_and_the_later_over_the_earlier_also_a_crowd(tmp_path: Path) -> None:
    """CVAT exports every mask as a crowd: one that was painted over a polygon lies over it."""
    whole = [0, 0, 8, 0, 8, 6, 0, 6]
    stuff = tree([drawn([whole], 1)]) | {"categories": [{"id": 1, "name": "grass"}, {"id": 2, "name": "sky"}]}
    document(tmp_path / "annotations/stuff_val2017.json", stuff)
    crowd = drawn({"size": list(SIZE_HW), "counts": [0, 12, 36]}, 7, iscrowd=1)
    labels = labels_of(tmp_path, drawn([SQUARE, [6, 0, 7, 0, 7, 1, 6, 1]]), crowd, drawn([SQUARE[:6]], 55), drawn([]))
    frames = open_dataset(f"coco:{tmp_path}")
    assert [each.name for each in frames.labels] == ["road", "car", "sky", "grass"]
    assert labels[5].tolist() == [0, 0, 3, 3, 3, 3, 3, 3]
    assert labels[0].tolist() == [0, 0, 3, 3, 3, 3, 1, 3]
    assert labels[3].tolist() == [0, 0, 1, 1, 255, 3, 3, 3]
    assert frames.entries[0].truth is not None
    assert frames.entries[0].truth.stray(SIZE_HW) == {"category 55": 1, "box of car": 1}


def test_roboflow_has_the_file_beside_the_images_and_a_background(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "car"}]
    picture(tmp_path / "valid/a.jpg")
    picture(tmp_path / "valid/b.jpg")
    picture(tmp_path / "valid/c.jpg")
    document(
        tmp_path / "valid/_annotations.coco.json",
        tree([drawn([SQUARE], 1), drawn([], 1, 7)], ("a.jpg", "b.jpg", "c.jpg"), categories=categories),
    )
    frames = open_dataset(f"coco:{tmp_path}")
    assert frames.split == "valid"
    assert (frames[0].labels == 1).sum() == 12
    assert (frames[0].labels == 0).sum() == 36
    assert frames.entries[1].truth is None, "nobody annotated it"
    assert (frames[2].labels == 255).all(), "a box does not say that all of the image is background"
    assert frames[0].clip != frames[1].clip


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/hostname", "C:\\a.jpg", "..\\a.jpg", "x/../../a.jpg", "", "a\0", "out.jpg"]
)
def test_names_that_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "set/val2017/here.jpg")
    (tmp_path / "set/val2017/out.jpg").symlink_to(tmp_path / "a.jpg")
    document(tmp_path / "set/annotations/instances_val2017.json", tree([], (name,)))
    with pytest.raises(DatasetError) as caught:
        open_dataset(f"coco:{tmp_path}/set")
    assert f"names the file {name!r}" in str(caught.value)
    document(tmp_path / "set/annotations/instances_val2017.json", tree([], ("a" * 5000,)))
    with pytest.raises(DatasetError, match=r"cannot be looked up|is in none of"):
        open_dataset(f"coco:{tmp_path}/set")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"categories": [{"id": 1, "name": "car"}]}, r"has 1 classes, car; expected 2 to 255.*`background`"),
        ({"categories": [{"id": n, "name": f"c{n}"} for n in range(256)]}, "has 256 classes"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "category 1 is 'a' and 'b'"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b", "color": [1, 2]}]}, "entry 1: expected a name"),
        ({"categories": [{"id": "1", "name": "a"}]}, r"categories: `id` is missing or not of type int"),
        ({"annotations": [{"image_id": True}]}, "`image_id` is missing or not of type int"),
        ({"annotations": None}, "`annotations` is missing or not of type list"),
        ({"images": [{"id": 1, "file_name": "b.jpg"}]}, r"names the image 'b\.jpg', which is in none of"),
        (
            {"images": [{"id": 5, "file_name": "a.jpg", "height": 0, "width": 8}], "annotations": [drawn([SQUARE])]},
            r"height and width \(0, 8\)",
        ),
        (
            {"images": [{"id": 5, "file_name": "a.jpg", "height": 7, "width": 8}], "annotations": [drawn([SQUARE])]},
            r"\(7, 8\), its image is \(6, 8\)",
        ),
        ({"annotations": [drawn(None)]}, "no `segmentation`; boxes alone"),
        ({"annotations": [drawn([[1, 2, 3, 4]])]}, "at least 3 points"),
        ({"annotations": [drawn([[1, 2, 3, 4, 5, 6, 7]])]}, "at least 3 points"),
        ({"annotations": [drawn([[1, 2, 3, 4, 5, 1e300]])]}, "at least 3 points"),
        ({"annotations": [drawn([[1, 2, 3, None, 5, 6]])]}, "at least 3 points"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=why) as caught:
        labels_of(tmp_path, **change)
    assert "instances_val2017.json" in str(caught.value)


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for text in (b"{", b'{"a": 1, "a": 2}', b"\xff\xfe{"):
        (tmp_path / "annotations/stuff_x.json").write_bytes(text)
        with pytest.raises(DatasetError, match=r"stuff_x\.json is not (JSON|in UTF-8)"):
            open_dataset(f"coco:{tmp_path}")
