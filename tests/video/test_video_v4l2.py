"""A V4L2 camera without a camera: FFmpeg's own V4L2 code, on a device that a preloaded library plays.

A kernel module (v4l2loopback) would be nearer to the truth, and is seldom at hand where tests run.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the story of a camera printed."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler with the kernel's headers")
    folder = tmp_path_factory.mktemp("v4l2")
    library = folder / "device.so"
    build = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(HERE / "v4l2_device.c"), "-ldl"]
    subprocess.run(build, check=True)
    shown = subprocess.run(
        [sys.executable, str(HERE / "v4l2_story.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"LD_PRELOAD": str(library)},
    )
    assert shown.returncode == 0, shown.stderr
    tree = json.loads(shown.stdout)
    assert isinstance(tree, dict)
    return tree


def test_the_stamps_of_the_driver_are_the_capture_times(seen: dict[str, Any]) -> None:
    assert seen["fps"] == 30
    assert min(seen["ages_s"]) > 0.5
    assert seen["ages_s"] == sorted(seen["ages_s"], reverse=True)


def test_a_camera_that_stalls_is_opened_again(seen: dict[str, Any]) -> None:
    assert "no frame for 0.3 s" in seen["frozen"]


def test_a_camera_comes_back_under_another_number_and_size(seen: dict[str, Any]) -> None:
    assert "No such device" in seen["unplugged"]
    assert seen["shapes"] == [[48, 64, 3]] * 6 + [[24, 32, 3]] * 2
    assert min(seen["greys"]) > 30


def test_numbers_and_times_grow_over_all_of_it(seen: dict[str, Any]) -> None:
    for values in (seen["seqs"], seen["pts_ns"]):
        assert all(before < after for before, after in itertools.pairwise(values))
    # A gap where the camera was away, and none where it was not.
    assert seen["seqs"][5] > seen["seqs"][4] + 1
    assert seen["seqs"][6] > seen["seqs"][5] + 1


def test_closing_ends_a_read_that_waits(seen: dict[str, Any]) -> None:
    assert seen["threads"] == []
    assert seen["descriptors"] == 1, "the one that the story itself holds"


def test_a_camera_that_stays_away_is_not_found(seen: dict[str, Any]) -> None:
    assert "there is no camera" in seen["missing"]
