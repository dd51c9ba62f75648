"""Layouts of datasets of roads, on small folders built by their published descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import ids, picture

from edge_vseg.analysis.datasets import labelled_rate, open_dataset


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
