"""``edge-vseg run`` and ``serve`` on what is no file: standard input, and a camera that is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer, encode
from synthetic_video import numbered, write_video

from edge_vseg.cli import serve_sources
from edge_vseg.cli.serve_sources import CameraOpener
from edge_vseg.errors import OptionError, VideoError
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.video import Source, open_source
from edge_vseg.video.cameras.own import IterableSource

PATIENCE_S = 20.0
SIZE_HW = (48, 64)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "edge_vseg.cli", "run", *map(str, words), "--runtime", "reference", "--json"]


def run(words: list[str], data: bytes, cache: Path) -> dict[str, Any]:
    shown = subprocess.run(
        words, input=data, capture_output=True, check=False, env=os.environ | {"XDG_CACHE_HOME": str(cache)}
    )
    assert shown.returncode == 0, shown.stderr.decode()
    tree = json.loads(shown.stdout)
    assert isinstance(tree, dict)
    return tree


def test_y4m_on_standard_input(reference_bundle: Path, tmp_path: Path) -> None:
    images = [numbered(i, SIZE_HW) for i in range(7)]
    path = write_video(tmp_path / "clip", images, codec="wrapped_avframe", container_format="yuv4mpegpipe")
    tree = run(command(reference_bundle, "-"), path.read_bytes(), tmp_path)
    assert (tree["frames"], tree["source"], tree["complete"]) == (7, "standard input", True)
    assert (tree["frames_captured"], tree["frames_skipped_by_source"]) == (None, 0)


def test_raw_frames_on_standard_input(reference_bundle: Path, tmp_path: Path) -> None:
    data = b"".join(numbered(i, SIZE_HW).tobytes() for i in range(5))
    assert run(command(reference_bundle, "stdin:64x48:bgr24"), data, tmp_path)["frames"] == 5


def test_a_camera_that_is_lost_and_comes_back(reference_bundle: Path, tmp_path: Path) -> None:
    with MjpegServer(size_hw=SIZE_HW) as server:
        running = subprocess.Popen(
            command(reference_bundle, server.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        )
        try:
            for requests in (1, 2):
                deadline = time.monotonic() + PATIENCE_S
                while server.requests < requests or server.sent < 10 * requests:
                    assert time.monotonic() < deadline
                    assert running.poll() is None
                    time.sleep(0.01)
                if requests == 1:
                    server.cut()
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=PATIENCE_S)
        finally:
            running.kill()
    tree = json.loads(out)
    assert tree["reconnects"] == 1, err
    assert tree["frames_captured"] >= tree["frames"] + tree["frames_skipped_by_source"]
    assert tree["frames"] > 0


def test_every_frame_of_a_camera(reference_bundle: Path, tmp_path: Path) -> None:
    with MjpegServer(size_hw=SIZE_HW) as server:
        words = command(reference_bundle, server.address, "--buffer", "every", "--max-frames", 5)
        tree = run(words, b"", tmp_path)
    assert (tree["frames"], tree["frames_skipped_by_source"], tree["reconnects"]) == (5, 0, 0)
    assert tree["frames_captured"] >= 5


def test_a_camera_that_is_not_to_come_back(reference_bundle: Path, tmp_path: Path) -> None:
    over, stats = tmp_path / "over.mp4", tmp_path / "stats.json"
    with MjpegServer(size_hw=SIZE_HW, last=9) as server:
        words = command(reference_bundle, server.address, "--no-reconnect", "-o", over, "--stats", stats)
        shown = subprocess.run(
            words, capture_output=True, check=False, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
        )
        assert server.requests == 1
    assert shown.returncode == 1
    assert "the stream was interrupted (9 frames read" in json.loads(shown.stdout)["error"]["message"]
    tree = json.loads(stats.read_text())
    assert (tree["complete"], tree["frames"] + tree["frames_skipped_by_source"]) == (False, 9)
    assert "the stream was interrupted" in tree["stopped"]
    with open_source(over) as source:
        assert len(list(source)) == tree["frames"], "what was seen cannot be seen again"


def test_a_camera_that_is_away_when_a_schedule_is_changed_is_waited_for() -> None:
    with MjpegServer(size_hw=SIZE_HW) as server:
        server.refuses.set()
        opener = CameraOpener(server.address, "raise")
        with pytest.raises(VideoError):
            opener(None)
        server.refuses.clear()
        with opener(None) as before:
            next(before)
        server.refuses.set()
        with opener(Fixed(period_frames=2)) as source:
            assert source.connection.state == "reconnecting"
            server.refuses.clear()
            assert next(source).image.shape == (*SIZE_HW, 3)
            assert source.connection.state == "connected"


def test_a_camera_that_was_waited_for_says_at_once_what_it_cannot_give() -> None:
    with MjpegServer(size_hw=SIZE_HW) as server:
        opener = CameraOpener(server.address, "wait")
        with opener(None) as before:
            next(before)
        with pytest.raises(OptionError, match="motion"):
            opener(Fixed(period_frames=2, motion="codec"))


MOVING = Fixed(period_frames=2, motion="codec")


@pytest.mark.parametrize("first", ["raise", "wait"])
def test_a_change_to_motion_of_the_codec_while_a_camera_is_away_leaves_the_old_schedule(first: Any) -> None:
    """It cannot be known then whether the camera gives it, and one that does not would end the pipeline."""
    with MjpegServer(size_hw=SIZE_HW) as server:
        opener = CameraOpener(server.address, first)
        if first == "wait":  # for the first picture, which has not come yet
            server.refuses.set()
        with opener(None) as before:
            if first == "raise":
                next(before)
        server.refuses.set()
        with pytest.raises(OptionError, match="known once it is back: change to motion=codec then"):
            opener(MOVING)
        with opener(None) as source:
            server.refuses.clear()
            assert next(source).image.shape == (*SIZE_HW, 3)


@pytest.mark.parametrize("first", ["raise", "wait"])
def test_a_camera_that_gave_motion_of_its_codec_is_waited_for_with_it(first: Any) -> None:
    pictures = encode((64, 96))
    with RtspServer(pictures=pictures) as server:
        port, address = server.port, server.address
        opener = CameraOpener(address, first)
        for policy in (MOVING, None):
            with opener(policy) as before:
                next(before)
    with opener(MOVING) as source:
        assert source.connection.state == "reconnecting"
        with RtspServer(port=port, pictures=pictures):
            assert any(next(source).motion is not None for _ in range(20))


def test_a_schedule_that_has_motion_of_the_codec_is_changed_while_the_camera_is_away() -> None:
    """A camera that was never there: the first schedule asked for it already."""
    with RtspServer(pictures=encode((64, 96))) as server:
        address = server.address
    opener = CameraOpener(address, "wait")
    with opener(MOVING):
        pass
    with opener(Fixed(period_frames=5, motion="codec")) as source:
        assert source.connection.state == "reconnecting"


def test_a_password_is_not_in_what_a_change_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with MjpegServer(size_hw=SIZE_HW) as server:
        opener = CameraOpener(server.address, "raise")
        opener(None).close()

    def fails(*args: object, **options: Any) -> Source:
        if options["input_options"].reconnect.first_opening == "wait":
            return kept
        raise OSError(24, "Too many open files", "rtsp://a:geheim@cam")

    with IterableSource([]) as kept:
        monkeypatch.setattr(serve_sources, "open_source", fails)
        assert opener(None) is kept
        with pytest.raises(OptionError, match="^Too many open files; whether"):
            opener(MOVING)
    assert "Too many open files; waiting for it" in caplog.text
    assert "geheim" not in caplog.text
