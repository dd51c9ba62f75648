"""Reading CamVid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
    for number in (2, 10, 1):
        image = np.full((6, 8, 3), number, np.uint8)
        cv2.imwrite(str(tmp_path / f"train/{number:02d}.png"), image)
        labels = np.arange(48, dtype=np.uint8).reshape(6, 8) % 14
        cv2.imwrite(str(tmp_path / f"trainannot/{number:02d}.png"), labels)
    return tmp_path


def test_frames_in_order_with_void_ids(folder: Path) -> None:
    frames = open_dataset(f"camvid:{folder}:train")
    assert [frame.name for frame in frames] == ["01", "02", "10"]
    assert [int(frame.image[0, 0, 0]) for frame in frames[1:]] == [2, 10]
    labels = frames[-1].labels
    assert set(np.unique(labels)) == {*range(11), 255}
    assert (labels == 255).sum() == 3 * 3
    with pytest.raises(IndexError):
        frames[3]


@pytest.mark.parametrize(
    ("stem", "clip", "time_s"),
    [("0016E5_07959", "0016E5", 7959 / 30), ("0006R0_f03540", "0006R0", 118.0), ("seq_1_12", "seq_1", 0.4)],
)
def test_places_of_frames(stem: str, clip: str, time_s: float, folder: Path) -> None:
    (folder / "train/10.png").rename(folder / f"train/{stem}.png")
    (folder / "trainannot/10.png").rename(folder / f"trainannot/{stem}.png")
    (frame,) = [frame for frame in open_dataset(f"camvid:{folder}:train") if frame.name == stem]
    assert (frame.clip, frame.time_s) == (clip, pytest.approx(time_s))


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"no split 'val'; it has train"):
        open_dataset(f"camvid:{folder}:val")
    (folder / "trainannot/02.png").unlink()
    with pytest.raises(DatasetError, match=r"1 images .* 02\.png"):
        open_dataset(f"camvid:{folder}")
    for path in (folder / "train").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no frames of split 'train'"):
        open_dataset(f"camvid:{folder}")


def test_what_does_not_fit_is_named(folder: Path) -> None:
    cv2.imwrite(str(folder / "trainannot/01.png"), np.zeros((5, 8), np.uint8))
    (folder / "train/02.png").write_bytes(b"no picture")
    frames = open_dataset(f"camvid:{folder}:train")
    with pytest.raises(DatasetError, match=r"\(5, 8\), its image \(6, 8\)"):
        frames[0]
    with pytest.raises(DatasetError, match=r"02\.png is not a readable image"):
        frames[1]


@pytest.mark.data
def test_the_real_one(data_dir: Path) -> None:
    train, val = (open_dataset(f"camvid:{data_dir}/camvid", split) for split in ("train", None))
    assert (len(train), len(val)) == (367, 101)
    assert train[0].image.shape == (360, 480, 3)
    assert set(np.unique(val[50].labels)) <= {*range(11), 255}
    assert not {frame.name for frame in val} & {path.stem for path in (data_dir / "camvid/train").iterdir()}
