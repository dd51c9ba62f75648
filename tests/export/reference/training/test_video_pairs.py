"""Pairs of frames of unlabelled video, and what a network learns from them."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import parse_labels, read_labels
from edge_vseg.errors import OptionError, VideoError
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import train
from edge_vseg.export.reference.training.older_view import warp
from edge_vseg.export.reference.training.plan import plan_training
from edge_vseg.export.reference.training.run_sources import RunSources, merged_text, shown_source
from edge_vseg.export.reference.training.streets import neighbours, render_streets
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.video_pairs import read_video_pairs

LABELS = parse_labels(["ground", "thing"], "here")


@pytest.fixture(scope="module")
def street_frames(tmp_path_factory: pytest.TempPathFactory):
    """Frames of a rendered street, and a folder of them as images."""
    frames = list(render_street(StreetOptions(camera="driving", seed=5, size_hw=(180, 240), rate=30), 9))
    folder = tmp_path_factory.mktemp("street")
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame.image)
    return frames, folder


def test_the_motion_is_that_of_the_scene(street_frames) -> None:
    frames, folder = street_frames
    pairs = read_video_pairs(str(folder), (180, 240))
    assert len(pairs) == 8
    gaps, seen, hidden = [], [], []
    for pair, before, now in zip(pairs, frames, frames[1:], strict=False):
        np.testing.assert_array_equal(pair.present, now.image)
        np.testing.assert_array_equal(pair.previous, before.image)
        truth = cv2.resize(now.motion, (60, 45), interpolation=cv2.INTER_AREA) / 4
        far = np.hypot(*np.moveaxis(pair.motion - truth, -1, 0))
        gaps.append(far[pair.visible > 0.5])
        away = cv2.resize(now.occluded.astype(np.float32), (60, 45), interpolation=cv2.INTER_AREA)
        seen.append(pair.visible[away == 0].mean())
        hidden.append(pair.visible[away > 0.5].mean() if (away > 0.5).any() else 0)
    assert np.concatenate(gaps).mean() < 0.15  # of a cell, which is 4 pixels
    assert np.mean(hidden) < 0.6 * np.mean(seen)


def test_pairs_are_spread_over_the_video(street_frames) -> None:
    frames, folder = street_frames
    pairs = read_video_pairs(str(folder), (180, 240), most=3)
    numbers = [next(n for n, f in enumerate(frames) if np.array_equal(f.image, pair.present)) for pair in pairs]
    assert numbers == [1, 5]


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((360, 480), (360, 480)), ((90, 200), (152, 200)), ((96, 96), (96, 128))]
)
def test_frames_cover_the_size(size_hw: tuple[int, int], expected: tuple[int, int], street_frames) -> None:
    (pair,) = read_video_pairs(str(street_frames[1]), size_hw, most=1)[:1]
    assert pair.present.shape == (*expected, 3)
    assert pair.motion.shape == (expected[0] // 4, expected[1] // 4, 2)
    assert pair.visible.shape == pair.motion.shape[:2]


def test_a_video_without_two_frames(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(VideoError, match="no two frames"):
        read_video_pairs(str(tmp_path), (64, 64))


def test_crops_of_a_pair_show_the_same_place(tmp_path: Path) -> None:
    """The previous crop, warped along its motion, looks like the present one; without the motion it does not."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
    wide = cv2.resize(noise, (480, 240), interpolation=cv2.INTER_CUBIC)
    for number in range(5):  # a camera that pans by 8 pixels a frame
        cv2.imwrite(str(tmp_path / f"{number}.png"), wide[:180, 8 * number : 8 * number + 240])
    config = TrainConfig(network="small", crop_hw=(96, 128), consistency=1.0, pairs=6)
    crops = neighbours(config, (), 3, read_video_pairs(str(tmp_path), (180, 240)))
    small = [torch.nn.functional.avg_pool2d(each, 4)[..., 6:-6] for each in (crops.present, crops.previous)]
    warped = warp(torch.nn.functional.avg_pool2d(crops.previous, 4), crops.motion)[..., 6:-6]
    visible = crops.visible[..., 6:-6]
    moved, kept = (((small[0] - each).abs().mean(1) * visible).sum() / visible.sum() for each in (warped, small[1]))
    assert moved < 0.2 * kept
    assert 0.5 < crops.visible.mean() <= 1


def test_crops_may_be_larger_than_streets_are_by_default() -> None:
    config = TrainConfig(crop_hw=(64, 512), streets=2, consistency=1.0, pairs=1)
    assert neighbours(config, render_streets(config), 0).present.shape == (1, 3, 64, 512)


def test_a_network_becomes_consistent_on_a_video(street_frames, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [
        LabelledFrame(
            image=rng.integers(0, 255, (96, 128, 3), np.uint8),
            labels=rng.integers(0, 2, (96, 128), np.uint8),
            name=str(n),
        )
        for n in range(3)
    ]
    pairs = read_video_pairs(str(street_frames[1]), (96, 128))
    config = TrainConfig(
        network="small", epochs=8, batch=3, crop_hw=(96, 128), aged=0.0, consistency=2.0, auxiliary=0.0, seed=1
    )
    train(config, TrainingData(train=frames, val=(), labels=LABELS, pairs=pairs), tmp_path / "run")
    assert "consistency" in (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    with pytest.raises(OptionError, match="give --video"):
        train(config, TrainingData(train=frames, val=(), labels=LABELS), tmp_path / "other")


def test_the_command_takes_a_video(street_frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = tmp_path / "data"
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(folder / f"train/images/{name}.png"), np.full((64, 96, 3), 90, np.uint8))
        cv2.imwrite(str(folder / f"train/labels/{name}.png"), np.zeros((64, 96), np.uint8))
    (folder / "classes.json").write_text(json.dumps(["ground", "thing"]))
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.height, stream.width = 180, 240
        for frame in street_frames[0][:3]:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame.image, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)

    def run(*more: str) -> int:
        words = [
            "edge-vseg-train",
            f"folder:{folder}",
            "-o",
            str(tmp_path / "run"),
            "--network",
            "small",
            "--epochs",
            "1",
        ]
        words += ["--set", "batch=2", "--set", "crop_hw=[64,96]", "--video", str(clip), *more]
        monkeypatch.setattr(sys, "argv", words)
        try:
            command.main()
        except SystemExit as exc:
            return int(exc.code or 0)
        return 0

    assert run() == 1
    assert "set for example consistency=1" in capsys.readouterr().err
    assert run("--set", "consistency=1") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert f"--video {tmp_path.name}/clip.mp4" in result["commands"][0]


def test_no_password_of_an_address_is_kept() -> None:
    assert shown_source("https://user:hunter2@nas/drive.mp4?token=x") == "https://nas/drive.mp4"
    assert shown_source("/home/me/videos/drive.mp4") == "videos/drive.mp4"


def test_a_command_says_all_that_a_run_is_made_from() -> None:
    sources = RunSources(
        split="odd days",
        val="valid",
        classes="/home/me/my data/classes.json",
        start="none",
        teacher="/home/me/nets/big one.py:network",
        videos=("/home/me/videos/drive 1.mp4",),
    )
    words = shlex.split(sources.command(TrainConfig(network="small", crop_hw=(64, 96))))
    assert words == [
        *("edge-vseg-train", "LAYOUT:DIR:odd days", "-o", "RUN", "--set", "network=small", "--set", "crop_hw=[64,96]"),
        *("--classes", "my data/classes.json", "--val", "valid", "--start", "none"),
        *("--teacher", "nets/big one.py:network", "--video", "videos/drive 1.mp4"),
    ]


def test_what_a_class_is_made_of_is_known_of_a_run(tmp_path: Path) -> None:
    """Frames that are read again and again tell it by no label map."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(["road", {"name": "vehicle", "of": ["car", "truck"]}]))
    assert merged_text(read_labels(path)) == "vehicle=car+truck"
    sources = RunSources(split="train", val=None, classes="mine.json", start="none", teacher=None, videos=())
    assert sources.named()["--classes"] == merged_text(LABELS) == "none"
    assert replace(sources, merged=merged_text(read_labels(path))).named()["--classes"] == "vehicle=car+truck"


def test_a_plan_refuses_what_a_run_would() -> None:
    frames = [LabelledFrame(image=np.zeros((96, 128, 3), np.uint8), labels=np.zeros((96, 128), np.uint8))] * 2
    config = TrainConfig(network="small", batch=2, crop_hw=(96, 128), consistency=1.0)
    with pytest.raises(OptionError, match="give --video"):
        plan_training(config, TrainingData(train=frames, val=(), labels=LABELS))
