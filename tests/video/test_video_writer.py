"""Writing videos: whole or not at all, readable by others."""

from __future__ import annotations

import contextlib
import logging
import resource
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_video import number_of, numbered

from edge_vseg.errors import FrameError, NoFramesError, OptionError, VideoError, VideoNotFoundError
from edge_vseg.video import VideoWriter, open_source

SIZE = (64, 96)


def times_ms(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [1000 * float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".MP4"])
@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("mpeg4", "mpeg4")])
def test_opencv_reads_the_written_frames(tmp_path, suffix, codec, name):
    """OpenCV has an FFmpeg of its own; ours only tells codec and pixel format."""
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, 25, SIZE, codec=codec) as writer:
        for index in range(30):
            writer.write(numbered(index))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (name, "yuv420p")
        assert float(stream.average_rate) == pytest.approx(25, rel=1e-2)
    capture = cv2.VideoCapture(str(path))
    numbers = []
    while (answer := capture.read())[0]:
        numbers.append(number_of(answer[1]))
    capture.release()
    assert numbers == list(range(30))


@pytest.mark.parametrize("fps", [30, 25, 29.97, 30000 / 1001, 12.5, 7])
def test_the_rate_is_kept(tmp_path, fps):
    with VideoWriter(tmp_path / "out.mp4", fps, SIZE) as writer:
        for index in range(20):
            writer.write(numbered(index))
    # Ticks of 1/60000 s, rounded once per frame.
    assert times_ms(tmp_path / "out.mp4") == pytest.approx([1000 * i / fps for i in range(20)], abs=20 / 60)


def test_times_are_kept_and_start_at_zero(tmp_path):
    given_ms = [5000, 5033, 5100, 5900, 5910, 7000]
    with VideoWriter(tmp_path / "out.mp4", 30, SIZE) as writer:
        for index, milliseconds in enumerate(given_ms):
            writer.write(numbered(index), pts_ns=milliseconds * 10**6)
    assert times_ms(tmp_path / "out.mp4") == pytest.approx([value - 5000 for value in given_ms], abs=0.02)


def test_a_time_that_goes_back_follows_the_last_frame(tmp_path, caplog):
    with VideoWriter(tmp_path / "out.mp4", 25, SIZE) as writer:
        for milliseconds in (0, 40, 10, 50, 90):
            writer.write(numbered(milliseconds), pts_ns=milliseconds * 10**6)
    assert times_ms(tmp_path / "out.mp4") == pytest.approx([0, 40, 80, 120, 160], abs=0.02)
    assert "time went back or stood still at frame 2" in caplog.text


def test_times_that_stand_still_are_told_once(tmp_path, caplog):
    """As of a video whose maker gave no times, every frame of which is at 0."""
    with VideoWriter(tmp_path / "out.mp4", 25, SIZE) as writer:
        for index in range(30):
            writer.write(numbered(index), pts_ns=0)
    assert times_ms(tmp_path / "out.mp4") == pytest.approx([40 * i for i in range(30)], abs=0.02)
    assert len(caplog.records) == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 5 * 10**9)), min_size=1, max_size=12))
def test_any_times_give_a_video_with_all_frames_in_order(tmp_path_factory, pts):
    path = tmp_path_factory.mktemp("any") / "out.mp4"
    with VideoWriter(path, 25, SIZE) as writer:
        for index, pts_ns in enumerate(pts):
            writer.write(numbered(index), pts_ns=pts_ns)
    with open_source(path) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(len(pts)))
    times = [frame.pts_ns for frame in frames]
    assert times[0] == 0
    assert times == sorted(set(times))


@pytest.mark.parametrize("size", [(63, 95), (64, 95), (63, 96), (1, 1)])
def test_odd_sizes_are_padded_to_even(tmp_path, size):
    image = np.full((*size, 3), 200, dtype=np.uint8)
    with VideoWriter(tmp_path / "out.mp4", 25, size) as writer:
        writer.write(image)
    with open_source(tmp_path / "out.mp4") as source:
        (frame,) = list(source)
    assert frame.image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    # The padding repeats the edge; it is not a dark line.
    assert np.abs(frame.image.astype(int) - 200).max() < 8


@pytest.mark.parametrize("color", [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (60, 120, 200)])
@pytest.mark.parametrize("size", [(64, 96), (720, 1280)], ids=["small", "HD"])
def test_colours_survive_whatever_the_size(tmp_path, color, size):
    """Large pictures are taken for BT.709 by readers when the file does not say that it is BT.601."""
    with VideoWriter(tmp_path / "out.mp4", 25, size) as writer:
        writer.write(np.full((*size, 3), color, dtype=np.uint8))
    with open_source(tmp_path / "out.mp4") as source:
        np.testing.assert_allclose(next(source).image[20, 20], color, atol=5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        picture = next(container.decode(video=0))
        # ITU-T H.273, tables 4 and 8: matrix 5 or 6 is BT.601; PyAV's range 1 is the limited one.
        assert (int(picture.colorspace) in (5, 6), int(picture.color_range)) == (True, 1)


def test_the_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 25, SIZE) as writer:
        writer.write(numbered(1))
        assert not path.exists()
        assert all(entry.name.startswith(".") for entry in tmp_path.iterdir())
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old one")
    with contextlib.suppress(error), VideoWriter(path, 25, SIZE) as writer:
        writer.write(numbered(1))
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"the old one"


def test_ctrl_c_while_the_file_is_finished_leaves_nothing(tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "out.mp4", 25, SIZE)
    writer.write(numbered(1))

    def interrupt(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on file size is as real as a full disk, and can be taken away again."""
    noise = np.random.default_rng(0)

    def write_much() -> None:
        with VideoWriter(tmp_path / "out.mp4", 25, (240, 320), codec="mpeg4") as writer:
            for _ in range(60):
                writer.write(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(VideoError, match=r"out\.mp4 cannot be written: File too large"):
            write_much()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_without_frames_there_is_no_file(tmp_path):
    with pytest.raises(NoFramesError, match="would have no frames"), VideoWriter(tmp_path / "out.mp4", 25, SIZE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_close_and_discard_may_be_called_again(tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", 25, SIZE)
    writer.write(numbered(3))
    writer.close()
    writer.close()
    writer.discard()
    assert times_ms(tmp_path / "out.mp4") == [0]
    with pytest.raises(VideoError, match="closed"):
        writer.write(numbered(3))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(np.zeros((64, 95, 3), np.uint8), r"\(64, 95, 3\)", id="size"),
        pytest.param(np.zeros((64, 96), np.uint8), r"\(64, 96\)", id="grey"),
        pytest.param(np.zeros((64, 96, 3), np.float32), "float32", id="dtype"),
    ],
)
def test_a_frame_of_another_shape_is_refused(tmp_path, image, message):
    with pytest.raises(FrameError, match=message), VideoWriter(tmp_path / "out.mp4", 25, SIZE) as writer:
        writer.write(image)


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(VideoError, match="is a folder"):
        VideoWriter(tmp_path / "folder.mp4", 25, SIZE)
    with pytest.raises(VideoNotFoundError, match="does not exist; create it"):
        VideoWriter(tmp_path / "missing" / "out.mp4", 25, SIZE)
    with pytest.raises(OptionError, match=r"cannot write \.gif"):
        VideoWriter(tmp_path / "out.gif", 25, SIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize(
    ("fps", "size", "codec"),
    [(0, SIZE, "auto"), (float("nan"), SIZE, "auto"), (-1, SIZE, "auto"), (25, (0, 4), "auto"), (25, SIZE, "h265")],
)
def test_impossible_options_are_refused(tmp_path, fps, size, codec):
    with pytest.raises(OptionError):
        VideoWriter(tmp_path / "out.mp4", fps, size, codec=codec)
    assert list(tmp_path.iterdir()) == []


def test_without_libx264(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with pytest.raises(OptionError, match="codec='mpeg4'"):
        VideoWriter(tmp_path / "out.mp4", 25, SIZE, codec="h264")
    with caplog.at_level(logging.WARNING), VideoWriter(tmp_path / "out.mp4", 25, SIZE) as writer:
        writer.write(numbered(9))
    assert writer.encoder == "mpeg4"
    assert "no libx264; writing with mpeg4" in caplog.text
    with open_source(tmp_path / "out.mp4") as source:
        assert [number_of(frame.image) for frame in source] == [9]
