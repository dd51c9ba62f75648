"""Layouts of datasets of roads, on small folders built by their published descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import colors, column, ids, panoptic, picture, stray

from edge_vseg.analysis.datasets import find_dataset, follows, labelled_rate, open_dataset
from edge_vseg.errors import DatasetError


def test_cityscapes_one_by_one(tmp_path: Path) -> None:
    for city, number in (("bonn", 4), ("aachen", 9)):
        name = f"{city}_{number:06}_000019"
        picture(tmp_path / f"leftImg8bit/val/{city}/{name}_leftImg8bit.png")
        ids(tmp_path / f"gtFine/val/{city}/{name}_gtFine_labelIds.png", [7, 8, 23, 33, 0, 9])
    frames = open_dataset(f"cityscapes:{tmp_path}")
    assert [frame.clip for frame in frames] == ["aachen_000009", "bonn_000004"]
    assert frames[0].labels[:, 0].tolist() == [0, 1, 10, 18, 255, 255]
    assert [frames.labels[k].name for k in (0, 1, 10, 18)] == ["road", "sidewalk", "sky", "bicycle"]
    assert frames.entries[0].truth is not None
    assert frames.entries[0].truth.stray((6, 8)) == {}


def test_cityscapes_as_clips_with_one_labelled_frame(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path / f"leftImg8bit_sequence/train/ulm/ulm_000002_{number:06}_leftImg8bit.png", number)
    ids(tmp_path / "gtFine/train/ulm/ulm_000002_000019_gtFine_labelIds.png", [26] * 6)
    frames = open_dataset(f"cityscapes:{tmp_path}")
    assert len(frames) == 30
    assert labelled_rate(frames) == pytest.approx(17)
    assert [number for number, frame in enumerate(frames) if (frame.labels != 255).any()] == [19]
    assert set(frames[19].labels.flat) == {13}


def test_cityscapes_cities_with_a_hyphen(tmp_path: Path) -> None:
    for city in ("bad-honnef", "muhlheim-ruhr"):
        picture(tmp_path / f"leftImg8bit/train_extra/{city}/{city}_000000_000001_leftImg8bit.png")
    frames = open_dataset(f"cityscapes:{tmp_path}:train_extra")
    assert [entry.clip for entry in frames.entries] == ["bad-honnef_000000", "muhlheim-ruhr_000000"]


def test_cityscapes_splits_are_clips_where_there_are_some(tmp_path: Path) -> None:
    for split, folder in (("val", "leftImg8bit_sequence"), ("val", "leftImg8bit"), ("train", "leftImg8bit")):
        for number in range(18 if "sequence" in folder else 19, 21 if "sequence" in folder else 20):
            picture(tmp_path / f"{folder}/{split}/ulm/ulm_000002_{number:06}_leftImg8bit.png")
        ids(tmp_path / f"gtFine/{split}/ulm/ulm_000002_000019_gtFine_labelIds.png", [26] * 6)
    assert find_dataset(f"cityscapes:{tmp_path}").splits == ("train", "val")
    assert len(open_dataset(f"cityscapes:{tmp_path}:val")) == 3
    (frame,) = open_dataset(f"cityscapes:{tmp_path}:train")
    assert set(frame.labels.flat) == {13}


def test_cityscapes_vps_as_labelled_frames(tmp_path: Path) -> None:
    for name, map_name in (("newImg8bit", "final_mask"), ("leftImg8bit", "gtFine_color")):
        frame = "000294" if name == "leftImg8bit" else "000279"
        stem = f"0000_{frame[-4:]}_frankfurt_000000_{frame}"
        picture(tmp_path / f"val/img/{stem}_{name}.png")
        ids(tmp_path / f"val/labelmap/{stem}_{map_name}.png", [0, 10, 13, 18, 255, 40])
    picture(tmp_path / "val/img/0000_0300_frankfurt_000000_000299_newImg8bit.png")
    frames = open_dataset(f"cityscapes-vps:{tmp_path}")
    assert [frame.time_s for frame in frames] == [279 / 17, 294 / 17, 299 / 17]
    assert {frame.clip for frame in frames} == {"frankfurt_000000"}
    assert [column(frame) for frame in frames] == [[0, 10, 13, 18, 255, 255]] * 2 + [[255] * 6]
    assert stray(frames, 0) == {"40": 8}
    assert labelled_rate(frames) == pytest.approx(17 / 5)


def test_cityscapes_vps_as_whole_clips_with_colours(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path / f"val/img_all/ulm_000001_{number:06}_leftImg8bit.png")
    for number in range(4, 30, 5):
        name = "gtFine_color" if number == 19 else "final_mask"
        rows = [(128, 64, 128), (0, 0, 142), (111, 74, 0), (0, 0, 0), (119, 11, 32), (9, 9, 9)]
        colors(tmp_path / f"val/cls/0001_{number:04}_ulm_000001_{number:06}_{name}.png", rows)
    frames = open_dataset(f"cityscapes-vps:{tmp_path}")
    assert labelled_rate(frames) == pytest.approx(17)
    assert [number for number, entry in enumerate(frames.entries) if entry.truth] == [4, 9, 14, 19, 24, 29]
    assert column(frames[19]) == [0, 13, 255, 255, 18, 255]
    assert stray(frames, 19) == {"#090909": 8}


def test_cityscapes_vps_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "val/img/0000_0000_ulm_000001_000004_newImg8bit.png")
    picture(tmp_path / "test/img_all/ulm_000001_000004_leftImg8bit.png")
    with pytest.raises(DatasetError, match=r"no image of .* has a label map; expected one in .*labelmap or .*cls"):
        open_dataset(f"cityscapes-vps:{tmp_path}")
    assert column(open_dataset(f"cityscapes-vps:{tmp_path}:test")[0]) == [255] * 6
    picture(tmp_path / "val/img/ulm.png")
    with pytest.raises(DatasetError, match=r"ulm\.png has no name of Cityscapes-VPS"):
        open_dataset(f"cityscapes-vps:{tmp_path}")


def test_kitti_step_has_the_class_in_the_red_channel(tmp_path: Path) -> None:
    for sequence in ("0006", "0002"):
        for number in range(2):
            picture(tmp_path / f"images/val/{sequence}/{number:06}.png")
            panoptic(tmp_path / f"panoptic_maps/val/{sequence}/{number:06}.png", [0, 11, 13, 18, 255, 19])
    picture(tmp_path / "images/val/0006/000002.png")
    picture(tmp_path / "images/test/0000/000000.png")
    frames = open_dataset(f"kitti-step:{tmp_path}")
    assert [frame.clip for frame in frames] == ["0002", "0002", "0006", "0006", "0006"]
    assert column(frames[0]) == [0, 11, 13, 18, 255, 255]
    assert column(frames[4]) == [255] * 6
    assert stray(frames, 0) == {"19": 8}
    assert labelled_rate(frames) == pytest.approx(10)
    assert [frames.labels[each].name for each in (11, 13)] == ["person", "car"]
    assert len(open_dataset(f"kitti-step:{tmp_path}:test")) == 1


def test_kitti_step_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "images/train/0000/000000.png")
    ids(tmp_path / "panoptic_maps/train/0000/000000.png", [0] * 6)
    with pytest.raises(DatasetError, match="is grey; expected class ids in the red channel"):
        open_dataset(f"kitti-step:{tmp_path}")[0]
    picture(tmp_path / "images/train/0000/first.png")
    with pytest.raises(DatasetError, match="expected the number of the frame"):
        open_dataset(f"kitti-step:{tmp_path}")


@pytest.mark.parametrize("kind", ["labellevel3Ids", "labelLevel3Ids"])
def test_idd_has_the_classes_of_level_3(kind: str, tmp_path: Path) -> None:
    for drive in ("201", "119"):
        picture(tmp_path / f"leftImg8bit/val/{drive}/frame0029_leftImg8bit.jpg")
        ids(tmp_path / f"gtFine/val/{drive}/frame0029_gtFine_{kind}.png", [0, 8, 25, 255, 26, 4])
        ids(tmp_path / f"gtFine/val/{drive}/frame0029_gtFine_labelcsTrainIds.png", [0] * 6)
    picture(tmp_path / "leftImg8bit/val/201/frame0999_leftImg8bit.png")
    frames = open_dataset(f"idd:{tmp_path}")
    assert [frame.clip for frame in frames] == ["119_frame0029", "201_frame0029", "201_frame0999"]
    assert column(frames[0]) == [0, 8, 25, 255, 255, 4]
    assert column(frames[2]) == [255] * 6
    assert stray(frames, 0) == {"26": 8}
    assert len(frames.labels) == 26
    assert [frames.labels[each].name for each in (0, 8, 21, 24)] == [
        "road", "autorickshaw", "obs_str_bar_fallback", "vegetation",
    ]  # fmt: skip
    assert labelled_rate(frames) is None
    assert not follows(frames[1], frames[2])


def test_idd_has_the_classes_of_cityscapes_where_only_they_are_drawn(tmp_path: Path) -> None:
    picture(tmp_path / "leftImg8bit/val/1/a_leftImg8bit.png")
    ids(tmp_path / "gtFine/val/1/a_gtFine_labelcsTrainIds.png", [0, 18, 255, 255, 13, 19])
    frames = open_dataset(f"idd:{tmp_path}")
    assert frames.labels[18].name == "bicycle"
    assert column(frames[0]) == [0, 18, 255, 255, 13, 255]


def test_idd_says_how_label_maps_are_made(tmp_path: Path) -> None:
    for split in ("val", "test"):
        picture(tmp_path / f"leftImg8bit/{split}/1/a_leftImg8bit.png")
    (tmp_path / "gtFine/val/1").mkdir(parents=True)
    (tmp_path / "gtFine/val/1/a_gtFine_polygons.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"createLabels\.py --id-type level3Id"):
        open_dataset(f"idd:{tmp_path}")
    assert len(open_dataset(f"idd:{tmp_path}:test")) == 1
