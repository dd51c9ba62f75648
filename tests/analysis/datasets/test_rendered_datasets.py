"""Layouts of rendered datasets, on small folders built by their published descriptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_datasets import colors, column, ids, paletted, panoptic, picture, stray

from edge_vseg.analysis.datasets import follows, labelled_rate, open_dataset
from edge_vseg.errors import DatasetError

GTA_PALETTE = {0: (0, 0, 0), 4: (20, 20, 20), 7: (128, 64, 128), 26: (0, 0, 142), 33: (119, 11, 32)}
SEQUENCE = "SYNTHIA-SEQS-04-DAWN"


def test_gta5_with_a_palette_and_in_colours(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        picture(tmp_path / f"images/{number:05}.png")
    paletted(tmp_path / "labels/00001.png", [0, 7, 26, 33, 4, 99], GTA_PALETTE)
    colors(tmp_path / "labels/00002.png", [GTA_PALETTE[each] for each in (0, 7, 26, 33, 4, 7)])
    frames = open_dataset(f"gta5:{tmp_path}")
    assert frames.split == "all"
    assert [column(frame) for frame in frames] == [[255, 0, 13, 18, 255, 255], [255, 0, 13, 18, 255, 0], [255] * 6]
    assert [stray(frames, each) for each in (0, 1)] == [{"#010203": 8}, {}]
    assert not follows(frames[0], frames[1])


def test_gta5_with_splits_and_train_ids(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}/00007.png")
        colors(tmp_path / f"labels/{split}/00007.png", [(0, 0, 0)] * 6)
        ids(tmp_path / f"labels/{split}/00007_labelTrainIds.png", [0, 18, 255, 1, 2, 19])
    frames = open_dataset(f"gta5:{tmp_path}")
    assert frames.split == "val"
    assert column(frames[0]) == [0, 18, 255, 1, 2, 255]


def test_gta5_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "images/00001.png")
    picture(tmp_path / "labels/1.png")
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"gta5:{tmp_path}")
    (tmp_path / "labels/00001.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"labels/00001\.png is not a readable image"):
        open_dataset(f"gta5:{tmp_path}")[0]


def test_synthia_of_single_images(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / f"RGB/{number:07}.png")
        panoptic(tmp_path / f"GT/LABELS/{number:07}.png", [0, 1, 3, 22, 21, 300], np.uint16)
    frames = open_dataset(f"synthia:{tmp_path}")
    assert column(frames[0]) == [255, 0, 2, 21, 20, 255]
    assert [frames.labels[each].name for each in (0, 2, 20, 21)] == ["sky", "road", "wall", "lanemarking"]
    assert stray(frames, 0) == {"300": 8}
    assert labelled_rate(frames) is None
    assert not follows(frames[0], frames[1])


def test_synthia_of_video(tmp_path: Path) -> None:
    for number in range(3):
        for camera in ("Stereo_Left/Omni_F", "Stereo_Right/Omni_B"):
            picture(tmp_path / f"{SEQUENCE}/RGB/{camera}/{number:06}.png")
            if number != 1:
                rows = [0, 1, 12, 15, 13, 16]
                panoptic(tmp_path / f"{SEQUENCE}/GT/LABELS/{camera}/{number:06}.png", rows, np.uint16)
    (tmp_path / "others").mkdir()
    frames = open_dataset(f"synthia:{tmp_path}")
    assert frames.split == SEQUENCE
    assert [frame.clip for frame in frames] == ["Stereo_Left_Omni_F"] * 3 + ["Stereo_Right_Omni_B"] * 3
    assert column(frames[0]) == [255, 0, 11, 12, 255, 255]
    assert column(frames[1]) == [255] * 6
    assert stray(frames, 0) == {"16": 8}
    assert [frames.labels[each].name for each in (11, 12)] == ["lanemarking", "traffic_light"]
    assert labelled_rate(frames) == pytest.approx(5)
    assert len(open_dataset(f"synthia:{tmp_path / SEQUENCE}")) == 6


def test_synthia_names_what_it_cannot_read(tmp_path: Path) -> None:
    picture(tmp_path / "RGB/0000000.png")
    (tmp_path / "GT/LABELS").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no image of .* has a label map"):
        open_dataset(f"synthia:{tmp_path}")
    ids(tmp_path / "GT/LABELS/0000000.png", [1] * 6)
    with pytest.raises(DatasetError, match="is grey; expected class ids in the red channel"):
        open_dataset(f"synthia:{tmp_path}")[0]
