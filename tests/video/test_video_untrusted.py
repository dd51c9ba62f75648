"""Files that are no videos, pipes that nobody writes to, titles in no encoding, and pictures that promise too much."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_video import number_of, numbered, write_video

from edge_vseg.errors import VideoDecodeError, VideoError, VideoNotFoundError
from edge_vseg.runtimes.selection.cache import CachedChoice, read_choice, write_choice
from edge_vseg.types import Frame
from edge_vseg.video import InputOptions, open_source
from edge_vseg.video.container import MAX_PIXELS
from edge_vseg.video.live import Pacer
from edge_vseg.video.stream import StreamSource

PATIENCE_S = 30.0
QUICK = InputOptions(timeout_s=0.2, reconnect=None)


def soon(work: Callable[[], object]) -> object:
    """The result or error of something that must not wait for ever."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except VideoError as exc:
            results.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert results, "it waits for ever"
    return results[0]


def test_a_pipe_that_nobody_writes_to(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    os.mkfifo(path)
    for address in (str(path), f"file:{path}"):
        error = soon(lambda address=address: open_source(address, input_options=QUICK))
        assert isinstance(error, VideoNotFoundError)
        assert "no program wrote into it" in str(error)


def test_a_pipe_that_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe.mkv"
    video = write_video(tmp_path / "drive.mkv", [numbered(n) for n in range(6)]).read_bytes()
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(video))
    writer.start()
    with open_source(path) as source:
        assert [number_of(frame.image) for frame in source] == list(range(6))
    writer.join(PATIENCE_S)


@pytest.mark.parametrize("name", ["drive.mp4", "drive.png"])
def test_a_device_that_never_ends(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    error = soon(lambda: list(open_source(f"file:{tmp_path / name}")))
    assert isinstance(error, VideoDecodeError)
    assert "not a regular file" in str(error)


def test_a_list_with_a_pipe_among_its_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    error = soon(lambda: list(open_source([tmp_path / "a.png"])))
    assert isinstance(error, VideoDecodeError)


def test_a_pipe_in_the_place_of_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "auto.json"
    os.mkfifo(path)
    assert soon(lambda: read_choice(path, "key") or "nothing") == "nothing"
    assert "not a regular file" in caplog.text
    choice = CachedChoice(variant_id="a", table=())
    soon(lambda: write_choice(path, "key", choice) or "written")
    assert read_choice(path, "key") == choice


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_a_title_in_latin_1(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"drive.{suffix}"
    with av.open(str(path), "w") as out:
        out.metadata["title"] = "Strassenuebergang"
        stream = out.add_stream("mpeg4", rate=25)
        stream.height, stream.width = 64, 96
        for number in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="bgr24")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.count(b"Strassenuebergang") == 1
    path.write_bytes(data.replace(b"Strassenuebergang", b"Stra\xdfe \xfcber G\xe4nge"))
    with open_source(path) as source:
        assert [number_of(frame.image) for frame in source] == [0, 1, 2]


def test_a_picture_that_promises_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "drive.avi", [numbered(0), numbered(1)], codec="mjpeg", pix_fmt="yuvj420p")
    monkeypatch.setattr("edge_vseg.video.stream.MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(VideoDecodeError, match="2 frames could not be decoded"):
        list(open_source(path))
    assert MAX_PIXELS >= 7680 * 4320


def test_the_decoder_knows_the_limit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", [numbered(0)])
    with open_source(path) as source:
        assert isinstance(source, StreamSource)
        assert source._stream.codec_context.options["max_pixels"] == str(MAX_PIXELS)


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "\0", "folder/" + "y" * 5000, "[/]", "9" * 5000],
    ids=["long", "nul", "deep", "markup", "digits"],
)
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(VideoNotFoundError):
        open_source(name)


def test_times_that_jump_do_not_stop_a_recording_played_live() -> None:
    now = [0]
    pacer = Pacer(clock=lambda: now[0])
    frame = Frame(image=np.zeros((1, 1, 3), np.uint8), seq=0, capture_ns=0, pts_ns=0)
    second = 10**9
    assert pacer.delay_s(frame) == 0
    assert pacer.delay_s(replace(frame, pts_ns=second)) == 1
    assert pacer.delay_s(replace(frame, pts_ns=30 * second)) == 30
    now[0] = 30 * second
    assert pacer.delay_s(replace(frame, pts_ns=10**9 * second)) == 0
    assert pacer.delay_s(replace(frame, pts_ns=(10**9 + 1) * second)) == 1
    now[0] += second
    assert pacer.delay_s(replace(frame, pts_ns=0)) == 0
    assert pacer.delay_s(replace(frame, pts_ns=second)) == 1
    assert time.monotonic_ns() > 0
