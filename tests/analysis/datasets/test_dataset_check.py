"""What a dataset check finds, on folders with planted faults."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_datasets import document

from edge_vseg.analysis.datasets import IndexedFrames, open_dataset
from edge_vseg.analysis.datasets.checking import check_dataset, dataset_check
from edge_vseg.analysis.datasets.checking.check_page import write_check_page
from edge_vseg.analysis.datasets.checking.frame_prints import FramePrint, alike_pairs, equal_pairs
from edge_vseg.analysis.datasets.indexed import Layout
from edge_vseg.analysis.datasets.registry import DatasetPlace
from edge_vseg.errors import DatasetError

SIZE_HW = (48, 64)
CLASSES = ["road", "car", "<b>unicorn</b>"]


def scene(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def add(folder: Path, split: str, name: str, image: np.ndarray, labels: np.ndarray | None = None) -> None:
    for kind in ("images", "labels"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / split / "images" / name), image)
    if labels is None:
        labels = np.zeros(image.shape[:2], np.uint8)
        labels[:, : image.shape[1] // 4] = 1
    cv2.imwrite(str(folder / split / "labels" / f"{Path(name).stem}.png"), labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(4):
        add(root, "train", f"t{number}.png", scene(number))
        add(root, "val", f"v{number}.png", scene(100 + number))
    document(root / "classes.json", CLASSES[:2])
    return root


def test_nothing_to_put_right(folder: Path) -> None:
    seen: list[int] = []
    check = check_dataset(f"folder:{folder}", progress=seen.append)
    assert check.problems == ()
    assert check.leaks == ()
    assert seen == list(range(1, 9))
    train = check.splits[0]
    assert (train.split, train.frames, train.labelled, train.sizes) == ("train", 4, 4, {"48x64": 4})
    assert train.pixels == {"road": 4 * 48 * 48, "car": 4 * 48 * 16}
    assert train.seen_in == {"road": 4, "car": 4}
    assert [each.split for each in check_dataset(f"folder:{folder}:val").splits] == ["val"]
    assert [each.frames for each in check_dataset(f"folder:{folder}", max_frames=2).splits] == [2, 2]


def test_every_planted_fault_is_found(folder: Path) -> None:
    document(folder / "classes.json", CLASSES)
    (folder / "train/images/broken.png").write_bytes(b"no picture")
    (folder / "train/labels/broken.png").write_bytes(b"no picture")
    add(folder, "train", "small.png", scene(9), np.zeros((40, 64), np.uint8))
    add(folder, "train", "copy.png", scene(2))
    stray = np.full(SIZE_HW, 77, np.uint8)
    stray[:10] = 255
    add(folder, "train", "stray.png", scene(10), stray)
    add(folder, "val", "leaked.png", scene(3))
    add(folder, "val", "again.jpg", cv2.resize(scene(1), (32, 24), interpolation=cv2.INTER_AREA))
    check = check_dataset(f"folder:{folder}")
    train = check.splits[0]
    assert (train.frames, train.labelled, train.broken_count) == (6, 5, 2)
    assert any("broken.png is not a readable image" in line for line in train.broken)
    assert any("small.png is (40, 64), its image (48, 64)" in line for line in train.broken)
    assert train.stray == {"77": 38 * 64}
    assert train.equal == [("copy", "t2")]
    assert train.sizes == {"48x64": 6}
    (leak,) = check.leaks
    assert (leak.splits, leak.equal, leak.alike) == (("train", "val"), 1, 1)
    assert set(leak.pairs) == {("t3", "leaked"), ("t1", "again")}
    found = "\n".join(check.problems)
    for word in ("2 frames cannot be used", "77", "copy and t2", "no pixel of <b>unicorn</b>", "1 images are in both"):
        assert word in found


def test_copies_of_one_name_in_two_recordings(tmp_path: Path) -> None:
    """Cameras number the files of each recording from the start; a copy that looks like another image is no excuse."""
    root = tmp_path / "data"
    for split, clip, seed in (
        ("train", "a", 1),
        ("train", "b", 1),
        ("train", "c", 2),
        ("val", "c", 3),
        ("val", "d", 2),
    ):
        for kind in ("images", "labels"):
            (root / split / kind / clip).mkdir(parents=True)
        cv2.imwrite(str(root / split / "images" / clip / "000000.png"), scene(seed))
        cv2.imwrite(str(root / split / "labels" / clip / "000000.png"), np.arange(48 * 64).reshape(48, 64) % 2)
    again = cv2.resize(scene(3), (32, 24), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(root / "train/images/b/000001.png"), again)
    cv2.imwrite(str(root / "train/images/c/000001.png"), again)
    document(root / "classes.json", CLASSES[:2])
    check = check_dataset(f"folder:{root}")
    train, val = check.splits
    assert train.equal == [("a/000000", "b/000000"), ("b/000001", "c/000001")]
    assert (train.equal_count, val.equal_count) == (2, 0)
    (leak,) = check.leaks
    assert (leak.equal, leak.alike) == (1, 2)
    assert leak.pairs[0] == ("c/000000", "d/000000")
    assert set(leak.pairs[1:]) == {("b/000001", "c/000000"), ("c/000001", "c/000000")}


def test_recordings_in_two_splits_are_told(tmp_path: Path) -> None:
    for split, numbers in (("train", range(3)), ("val", range(3, 5))):
        for number in numbers:
            for kind in ("", "annot"):
                (tmp_path / f"{split}{kind}").mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / f"{split}/drive_{number}.png"), scene(number))
            cv2.imwrite(str(tmp_path / f"{split}annot/drive_{number}.png"), np.arange(48 * 64).reshape(48, 64) % 11)
    check = check_dataset(f"camvid:{tmp_path}")
    (leak,) = check.leaks
    assert (leak.clips, leak.equal, leak.alike) == (("drive",), 0, 0)
    assert check.problems == (), "neighbours in time are told, and are for the user to judge"


def test_splits_with_other_classes_and_images_of_one_name(tmp_path: Path) -> None:
    """COCO's file of each split may list its own categories only; 0.jpg of both splits is no recording."""
    for seed, (split, names) in enumerate({"train": ("road", "car"), "valid": ("tree", "road")}.items()):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "0.jpg"), scene(seed))
        shapes = [[[0, 0, 64, 0, 64, 48, 0, 48]], [[0, 0, 32, 0, 32, 48, 0, 48]]]
        tree = {
            "images": [{"id": 1, "file_name": "0.jpg", "height": 48, "width": 64}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
            "annotations": [
                {"image_id": 1, "category_id": number, "segmentation": each} for number, each in enumerate(shapes)
            ],
        }
        document(tmp_path / split / "_annotations.coco.json", tree)
    check = check_dataset(f"coco:{tmp_path}")
    assert check.classes == ("road", "car", "tree")
    assert check.problems == ("train and valid have different classes: only train has car and only valid has tree",)
    assert check.leaks == ()
    assert [[each.share(name) for name in check.classes] for each in check.splits] == [[0.5, 0.5, 0], [0.5, 0, 0.5]]
    page = tmp_path / "page.html"
    write_check_page(page, check)
    assert "only valid has tree" in page.read_text(encoding="utf-8")


class _Clip(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        _Clip.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_single_images_are_not_compared_with_all_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a clip of its own, of which COCO has 118,000."""
    (first, *_) = open_dataset(f"folder:{folder}:train").entries
    entries = [replace(first, name=f"{number}", clip=_Clip(number)) for number in range(200)]
    frames = IndexedFrames(entries, open_dataset(f"folder:{folder}:train").labels, split="all", where=folder)
    layout = Layout(name="many", about="many", splits=lambda _: ("all",), read=lambda *_: frames)
    place = DatasetPlace(layout=layout, folder=folder, splits=("all",), split="")
    monkeypatch.setattr(dataset_check, "find_dataset", lambda _: place)
    monkeypatch.setattr(_Clip, "compared", 0)
    (split,) = check_dataset("many:x").splits
    assert split.clips == [str(number) for number in range(200)]
    assert _Clip.compared < 10 * 200


def test_no_labels_at_all(folder: Path) -> None:
    for path in (folder / "val/labels").iterdir():
        cv2.imwrite(str(path), np.full(SIZE_HW, 255, np.uint8))
    assert "val: no frame has a label" in check_dataset(f"folder:{folder}").problems
    shutil.rmtree(folder / "val/images")
    (folder / "val/images").mkdir()
    with pytest.raises(DatasetError, match="no frames of split 'val'"):
        check_dataset(f"folder:{folder}")


def test_images_that_look_alike() -> None:
    drive = [np.roll(scene(1, (96, 128)), 3 * step, axis=1) for step in range(3)]
    prints = [FramePrint.of(str(number), image) for number, image in enumerate(drive)]
    _, jpeg = cv2.imencode(".jpg", drive[0], [cv2.IMWRITE_JPEG_QUALITY, 50])
    again = FramePrint.of("jpeg", cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    other = FramePrint.of("other", scene(2, (96, 128)))
    assert alike_pairs([again, other], prints) == [("jpeg", "0")]
    assert equal_pairs([*prints, FramePrint.of("twin", drive[1].copy())]) == [("1", "twin")]
    plain = [FramePrint.of(name, np.full((9, 9, 3), value, np.uint8)) for name, value in (("a", 3), ("b", 4))]
    assert alike_pairs(plain[:1], plain[1:]) == [], "pictures without contrast all look alike"
