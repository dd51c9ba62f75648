"""Costs of guided borders and companions: timed by calibrate, found again by replays and by tune."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest
from board_profile import write_board_profile

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.calibration.device.option_timing import WARM_UP_FRAMES, time_options
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile, read_device_profile, write_device_profile
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.steps import companion_step
from edge_vseg.types import Frame, Image


@pytest.fixture(scope="module")
def companion(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as another bundle."""
    path = tmp_path_factory.mktemp("companion") / "fast.evseg"
    shutil.copytree(sliced_bundle, path)
    tree = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(tree, indent=3))
    assert open_bundle(path).sha256 != open_bundle(sliced_bundle).sha256
    return path


@pytest.fixture(scope="module")
def profile(sliced_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> DeviceProfile:
    return write_board_profile(tmp_path_factory.mktemp("board") / "board.json", sliced_bundle, 60.0)


def test_both_are_timed(profile: DeviceProfile, sliced_bundle: Path, companion: Path, drive: list[Image]) -> None:
    frames = [Frame(image=image, seq=number, capture_ns=number * 33_000_000) for number, image in enumerate(drive)]
    opened = open_bundle(companion)
    found = time_options(sliced_bundle, OpenOptions(variant=profile.variant), 1, frames, [opened])
    assert set(found) == {"labels guided", f"companion {opened.sha256[:12]}"}
    # The first sample, which allocates, does not count.
    assert all(len(samples) == len(frames) - WARM_UP_FRAMES - 1 for samples in found.values())
    assert all(ms > 0 for samples in found.values() for ms in samples)


def test_scores_as_fine_as_the_frames_have_no_borders_to_guide(
    profile: DeviceProfile, sliced_bundle: Path, drive: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    small = [cv2.resize(image, open_bundle(sliced_bundle).manifest.head.size_hw[::-1]) for image in drive]
    frames = [Frame(image=image, seq=number, capture_ns=number * 33_000_000) for number, image in enumerate(small)]
    assert time_options(sliced_bundle, OpenOptions(variant=profile.variant), 1, frames, []) == {}
    assert "guided" not in caplog.text


def test_a_replay_takes_them(
    profile: DeviceProfile, sliced_bundle: Path, companion: Path, drive: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    step = companion_step(open_bundle(companion).sha256)
    costs = {step: Cost(runs=9, p50=7.0, p90=7.0, p99=7.0), "labels guided": Cost(runs=9, p50=3.0, p90=3.0, p99=3.0)}
    made = msgspec.structs.replace(profile, costs=profile.costs | costs)

    def replayed(profile: DeviceProfile, **options: Any) -> list[dict[str, float]]:
        given = OpenOptions(variant=profile.variant, replay=profile, **options)
        with Segmenter.open(sliced_bundle, policy=Async(lag_frames=2), threads=1, options=given) as segmenter:
            return [dict(segmenter(image).latency_ms) for image in drive[:6]]

    with caplog.at_level(logging.WARNING):
        found = replayed(made, companion=companion, borders="guided")
    assert [each["companion"] for each in found[1:]] == pytest.approx([7.0] * 5)
    assert found[1]["labels"] == pytest.approx(3.0)
    assert replayed(made)[0]["labels"] == pytest.approx(1.0)
    assert "guided" not in caplog.text
    bare = msgspec.structs.replace(
        made, costs={name: cost for name, cost in made.costs.items() if name not in ("labels guided", step)}
    )
    with pytest.raises(OptionError, match=r"no costs of it; calibrate with --companion"):
        replayed(bare, companion=companion)
    replayed(bare, borders="guided")
    assert "no costs of guided borders" in caplog.text


def test_the_profile_is_read_as_it_was_written(profile: DeviceProfile, tmp_path: Path) -> None:
    write_device_profile(tmp_path / "profile.json", profile)
    assert read_device_profile(tmp_path / "profile.json") == profile
    tree = msgspec.to_builtins(profile)
    tree["costs"]["chaperon 12"] = tree["costs"]["infer"]
    (tmp_path / "other.json").write_text(json.dumps(tree))
    with pytest.raises(CalibrationError, match="no device profile"):
        read_device_profile(tmp_path / "other.json")
