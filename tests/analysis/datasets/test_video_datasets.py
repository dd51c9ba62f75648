"""Layouts of datasets of video, on small folders built by their published descriptions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from small_datasets import colors, column, ids, lines, paletted, picture, stray

from edge_vseg.analysis.datasets import follows, labelled_rate, open_dataset
from edge_vseg.bundle.labels import voc_color
from edge_vseg.errors import DatasetError


@pytest.fixture
def vspw(tmp_path: Path) -> Path:
    for video in ("2_b", "10_a"):
        for number in (41, 42, 43):
            picture(tmp_path / f"data/{video}/origin/{number:08}.jpg")
            if number != 42:
                ids(tmp_path / f"data/{video}/mask/{number:08}.png", [0, 1, 61, 124, 255, 125])
    lines(tmp_path / "val.txt", "2_b", "10_a", "")
    lines(tmp_path / "train.txt", "2_b", "7_c")
    return tmp_path


def test_vspw_has_the_videos_of_a_list(vspw: Path) -> None:
    frames = open_dataset(f"vspw:{vspw}")
    assert [frame.clip for frame in frames] == ["2_b"] * 3 + ["10_a"] * 3
    assert [frame.time_s for frame in frames[:3]] == [41 / 15, 42 / 15, 43 / 15]
    assert column(frames[0]) == [255, 0, 60, 123, 255, 255]
    assert column(frames[1]) == [255] * 6
    assert stray(frames, 0) == {"125": 8}
    assert len(frames.labels) == 124
    assert [frames.labels[each].name for each in (0, 18, 60, 66, 123)] == ["wall", "road", "person", "tree", "train"]
    assert labelled_rate(frames) == pytest.approx(15)


def test_vspw_names_what_it_cannot_read(vspw: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 videos of .*train\.txt are not in .*data, for example 7_c"):
        open_dataset(f"vspw:{vspw}:train")
    with pytest.raises(DatasetError, match="no split 'test'; it has train, val"):
        open_dataset(f"vspw:{vspw}:test")
    picture(vspw / "data/2_b/origin/first.jpg")
    with pytest.raises(DatasetError, match="expected the number of the frame"):
        open_dataset(f"vspw:{vspw}")
    (vspw / "val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"val\.txt is not text"):
        open_dataset(f"vspw:{vspw}")


def test_gatech_has_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 100):
        picture(tmp_path / f"Images_test/Original/71_frame{number}.png", number)
        if number != 10:
            ids(tmp_path / f"Images_test/Ground_Truth/71_frame{number}.png", [0, 1, 2, 8, 255, 9])
    picture(tmp_path / "Images/Original/3_1.png")
    frames = open_dataset(f"gatech:{tmp_path}")
    assert frames.split == "test"
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [9, 10, 100]
    assert column(frames[0]) == [255, 0, 1, 7, 255, 255]
    assert column(frames[1]) == [255] * 6
    assert stray(frames, 0) == {"9": 8}
    assert [label.name for label in frames.labels[:3]] == ["sky", "ground", "solid"]
    assert follows(frames[0], frames[1])
    assert labelled_rate(frames) is None


def test_gatech_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "Images/Original/3_1.png")
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"gatech:{tmp_path}")
    picture(tmp_path / "Images/Original/cover.png")
    with pytest.raises(DatasetError, match=r"cover\.png has no name of this dataset; expected VIDEO_FRAME"):
        open_dataset(f"gatech:{tmp_path}")


def test_davis_of_2017_has_several_objects_as_one_class(tmp_path: Path) -> None:
    palette = {number: voc_color(number) for number in range(3)} | {255: (255, 255, 255)}
    for clip in ("bear", "dogs"):
        for number in range(2):
            picture(tmp_path / f"JPEGImages/480p/{clip}/{number:05}.jpg")
        paletted(tmp_path / f"Annotations/480p/{clip}/00000.png", [0, 1, 2, 255, 0, 1], palette)
    picture(tmp_path / "JPEGImages/Full-Resolution/bear/00000.jpg")
    lines(tmp_path / "ImageSets/2017/val.txt", "dogs")
    lines(tmp_path / "ImageSets/2017/train.txt", "bear")
    lines(tmp_path / "ImageSets/2016/val.txt", "bear")
    frames = open_dataset(f"davis:{tmp_path}")
    assert [frame.clip for frame in frames] == ["dogs"] * 2
    assert column(frames[0]) == [0, 1, 1, 255, 0, 1]
    assert column(frames[1]) == [255] * 6
    assert labelled_rate(frames) == pytest.approx(24)
    assert [label.name for label in frames.labels] == ["background", "object"]
    assert stray(frames, 0) == {}
    assert open_dataset(f"davis:{tmp_path}:2016-val")[0].clip == "bear"


def test_davis_of_2016_lists_frames(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"JPEGImages/480p/bear/{number:05}.jpg")
        ids(tmp_path / f"Annotations/480p/bear/{number:05}.png", [0, 255, 255, 0, 0, 0])
    files = [f"/{kind}/480p/bear/00000.{suffix}" for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png"))]
    for size in ("1080p", "480p"):
        lines(tmp_path / f"ImageSets/{size}/train.txt", " ".join(files), " ".join(files).replace("00000", "00001"))
    frames = open_dataset(f"davis:{tmp_path}")
    assert (frames.split, len(frames)) == ("train", 3)
    assert column(frames[0]) == [0, 1, 1, 0, 0, 0]


def test_a_mask_in_black_and_white_has_no_void(tmp_path: Path) -> None:
    picture(tmp_path / "swan/images/0.jpg")
    colors(tmp_path / "swan/masks/0.png", [(0, 0, 0)] * 3 + [(255, 255, 255)] * 3)
    frames = open_dataset(f"davis:{tmp_path}")
    assert frames.split == "all"
    assert column(frames[0]) == [0, 0, 0, 1, 1, 1]


def test_davis_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "swan/images/0.jpg")
    (tmp_path / "swan/masks").mkdir()
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"davis:{tmp_path}")
    assert cv2.imwrite(str(tmp_path / "swan/masks/0.png"), np.zeros((3, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"\(3, 3\), its image \(6, 8\)"):
        open_dataset(f"davis:{tmp_path}")[0]
    picture(tmp_path / "voc/JPEGImages/2007_000001.jpg")
    lines(tmp_path / "voc/ImageSets/Segmentation/val.txt", "2007_000001")
    with pytest.raises(DatasetError, match="does not hold DAVIS"):
        open_dataset(f"davis:{tmp_path / 'voc'}")
    picture(tmp_path / "some/JPEGImages/480p/bear/00000.jpg")
    lines(tmp_path / "some/ImageSets/2017/val.txt", "dogs")
    with pytest.raises(DatasetError, match=r"no folder .*dogs"):
        open_dataset(f"davis:{tmp_path / 'some'}")


@pytest.mark.data
def test_the_real_one_in_plain_folders(data_dir: Path) -> None:
    frames = open_dataset(f"davis:{data_dir}/davis")
    assert {frame.clip: frame.image.shape for frame in frames[::30]} == dict.fromkeys(
        ("blackswan", "car-shadow"), (480, 854, 3)
    )
    assert all(entry.truth is not None for entry in frames.entries)
    assert set(np.unique(frames[0].labels)) == {0, 1}
    assert 0.01 < (frames[0].labels == 1).mean() < 0.5
    assert labelled_rate(frames) == pytest.approx(24)
