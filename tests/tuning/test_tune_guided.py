"""Guided borders in a study: tried where frames are larger than scores, and missed only there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from board_profile import write_board_profile
from reference_bundle import Recipe, write_bundle

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.imaging.letterbox import borders_can_be_guided
from edge_vseg.tuning import TuneOptions, Wish, make_job, open_networks, reference_clip, run_trial, tune
from edge_vseg.tuning.clip import Clip


@pytest.fixture
def network(sliced_bundle: Path) -> Bundle:
    return open_bundle(sliced_bundle)


@pytest.fixture
def clip(network: Bundle, drive_video: Path, tmp_path: Path) -> Clip:
    video = shutil.copy(drive_video, tmp_path / "drive.mp4")
    return reference_clip(video, 8, network, tmp_path / "reference", threads=1)


@pytest.fixture
def options(network: Bundle, tmp_path: Path) -> TuneOptions:
    """The profile has no costs of guided borders."""
    path = tmp_path / "board.json"
    write_board_profile(path, network.root, 60.0)
    tree = json.loads(path.read_text())
    del tree["costs"]["labels guided"]
    path.write_text(json.dumps(tree))
    return TuneOptions(wish=Wish(rate=10.0, deadline_ms=30.0), trials=1, profiles=(path,))


@pytest.mark.parametrize(("align", "guided"), [("half_pixel", True), ("nearest", False)])
def test_frames_are_twice_as_large_as_the_scores(align: str, guided: bool, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.evseg", Recipe(align=align))
    network = open_bundle(tmp_path / "a.evseg")
    assert network.manifest.head.size_hw == (6, 8)
    sizes = {(12, 16): guided, (48, 64): guided, (11, 64): False, (48, 15): False, (6, 8): False}
    assert {size: borders_can_be_guided(network.manifest.head, network.manifest.frame, size) for size in sizes} == sizes


def test_costs_are_missed_where_borders_can_be_guided(
    network: Bundle, clip: Clip, options: TuneOptions, tmp_path: Path
) -> None:
    networks = open_networks([network.root])
    coarse = tune(networks, clip, tmp_path / "coarse", options).left_out["guided borders"]
    assert coarse == f"{options.profiles[0]} lacks their cost; calibrate {next(iter(networks))} again"
    # The clip says how large its frames are: no frame is read for that.
    fine = replace(clip, size_hw=network.manifest.head.size_hw)
    assert "guided borders" not in tune(networks, fine, tmp_path / "fine", options).left_out


def test_a_job_is_made_without_reading_the_clip(
    network: Bundle, clip: Clip, options: TuneOptions, tmp_path: Path
) -> None:
    networks = open_networks([network.root])
    tuned = tune(networks, clip, tmp_path / "study", options)
    away = clip.frames.rename(tmp_path / "away.mp4")
    job = make_job(tuned.trials[0].setting, networks, tuned, options)
    away.rename(clip.frames)
    assert run_trial(job, lambda path: path) == tuned.trials[0].figures
