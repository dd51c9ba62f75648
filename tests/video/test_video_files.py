"""Reading video files: order, times, sizes, pixels."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from synthetic_video import number_of, numbered, write_video

from edge_vseg.errors import OptionError
from edge_vseg.video import open_source
from edge_vseg.video.recorded_times import FileTimes


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", [numbered(i) for i in range(40)])


def test_frames_come_in_order_with_their_numbers_and_times(clip):
    with open_source(clip) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.seq for frame in frames] == list(range(40))
    assert [frame.pts_ns for frame in frames] == [round(i * 1e9 / 30) for i in range(40)]
    assert {frame.source_name for frame in frames} == {str(clip)}
    assert all(later.capture_ns >= sooner.capture_ns for sooner, later in pairwise(frames))


def test_an_image_is_bgr_uint8_and_its_own_memory(clip):
    with open_source(str(clip)) as source:
        first, second = next(source).image, next(source).image
    assert first.shape == (64, 96, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    before = second.copy()
    first[:] = 7
    assert np.array_equal(second, before)


def test_lossless_video_gives_the_pixels_back(tmp_path):
    images = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(6)]
    path = write_video(tmp_path / "exact.mkv", images, codec="ffv1", pix_fmt="bgr0")
    with open_source(path) as source:
        for image, frame in zip(images, source, strict=True):
            np.testing.assert_array_equal(frame.image, image)


def test_colours_follow_bt601(tmp_path):
    """Expected: ITU-R BT.601, limited range, from the luma and chroma that are stored."""
    planes = np.zeros((96, 64), dtype=np.uint8)
    planes[:64], planes[64:80], planes[80:] = 120, 90, 200
    with av.open(str(tmp_path / "colour.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        out.mux(stream.encode(None))
    luma, blue, red = 1.164 * (120 - 16), 90 - 128, 200 - 128
    expected = (luma + 2.017 * blue, luma - 0.392 * blue - 0.813 * red, luma + 1.596 * red)
    with open_source(tmp_path / "colour.mkv") as source:
        np.testing.assert_allclose(next(source).image[20, 20], expected, atol=2)


def test_uneven_times_are_kept(tmp_path):
    ticks = [0, 1, 5, 6, 20, 21, 50]
    path = write_video(tmp_path / "uneven.mp4", [numbered(i) for i in range(7)], ticks=ticks)
    with open_source(path) as source:
        assert [frame.pts_ns for frame in source] == [round(tick * 1e9 / 30) for tick in ticks]


def test_a_file_without_times_is_counted_on(tmp_path, caplog):
    """Ages, and the pace of a camera, come from them: with all frames at 0 the network had no time, and maps no age."""
    path = tmp_path / "still.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.height, stream.width = numbered(0).shape[:2]
        stream.pix_fmt = "yuv420p"
        pictures = [av.VideoFrame.from_ndarray(numbered(number), format="bgr24") for number in range(9)]
        for picture in (*pictures, None):
            for packet in stream.encode(picture):
                packet.pts = packet.dts = 0
                out.mux(packet)
    with open_source(path) as source:
        assert [frame.pts_ns for frame in source] == [round(1e9 / source.fps) * number for number in range(9)]
    assert len([record for record in caplog.records if "go back or stand still at frame 1" in record.message]) == 1


def test_times_of_videos_that_were_joined():
    times = FileTimes("joined.mp4", 10.0)
    given_ms, expected_ms = [0, 100, 250, 0, 100, 400], [0, 100, 250, 350, 450, 750]
    assert [times.follow(ms * 10**6, seq) for seq, ms in enumerate(given_ms)] == [ms * 10**6 for ms in expected_ms]


def test_times_start_at_the_start_of_the_stream(tmp_path):
    path = write_video(
        tmp_path / "late.ts", [numbered(i) for i in range(5)], codec="mpeg2video", ticks=[300, 301, 302, 303, 304]
    )
    with open_source(path) as source:
        times = [frame.pts_ns for frame in source]
    assert times == pytest.approx([i * 1e9 / 30 for i in range(5)], abs=2e4)


def test_a_change_of_size_is_passed_on(tmp_path):
    mjpeg = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "container_format": "mjpeg"}
    small = write_video(tmp_path / "a.mjpeg", [numbered(i) for i in range(4)], **mjpeg)
    large = write_video(tmp_path / "b.mjpeg", [numbered(i, (120, 160)) for i in range(4, 9)], **mjpeg)
    both = tmp_path / "both.mjpeg"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with open_source(both) as source:
        frames = list(source)
    assert [frame.image.shape[:2] for frame in frames] == [(64, 96)] * 4 + [(120, 160)] * 5
    assert [number_of(frame.image) for frame in frames] == list(range(9))


@pytest.mark.skipif(not hasattr(av.VideoFrame, "rotation"), reason="this PyAV does not tell the rotation")
@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        pytest.param((0, 1, -1, 0), "top right", id="90 clockwise"),
        pytest.param((-1, 0, 0, -1), "bottom right", id="180"),
        pytest.param((0, -1, 1, 0), "bottom left", id="90 counterclockwise"),
    ],
)
def test_rotation_in_the_header_is_applied(tmp_path, matrix, corner):
    """The matrix of ISO 14496-12 (8.3.2), put into the track header by hand; the mark starts at the top left."""
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    image[:24, :24] = 255
    path = write_video(tmp_path / "turned.mp4", [image] * 3)
    data = bytearray(path.read_bytes())
    # Version 0: 4 bytes name, 4 version and flags, 20 times and id, 8 duration..., the matrix 40 bytes in.
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    with open_source(path) as source:
        turned = next(source).image
    assert turned.shape[:2] == ((64, 96) if corner == "bottom right" else (96, 64))
    corners = {
        "top left": turned[:16, :16],
        "top right": turned[:16, -16:],
        "bottom left": turned[-16:, :16],
        "bottom right": turned[-16:, -16:],
    }
    assert {name for name, part in corners.items() if part.mean() > 125} == {corner}


def test_max_frames_ends_the_iteration(clip):
    with open_source(clip, max_frames=3) as source:
        assert source.frame_count == 3
        assert [frame.seq for frame in source] == [0, 1, 2]
        assert list(source) == []
        assert source.damaged is None


@pytest.mark.parametrize("bad", [0, -1])
def test_max_frames_below_one_is_refused(clip, bad):
    with pytest.raises(OptionError, match="max_frames must be at least 1"):
        open_source(clip, max_frames=bad)


def test_close_may_be_called_twice_and_ends_the_iteration(clip):
    source = open_source(clip)
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_an_exception_inside_the_block_closes_the_source(clip):
    with contextlib.suppress(KeyboardInterrupt), open_source(clip) as source:
        next(source)
        raise KeyboardInterrupt
    assert list(source) == []


def test_source_properties(clip):
    with open_source(clip) as source:
        assert source.fps == 30
        assert source.frame_count == 40
        assert source.name == str(clip)
        assert not source.is_live


def test_frame_count_is_estimated_where_the_header_has_none(tmp_path):
    path = write_video(tmp_path / "clip.mkv", [numbered(i) for i in range(30)])
    with open_source(path) as source:
        assert source.frame_count == pytest.approx(30, abs=1)


@pytest.mark.parametrize("name", ["a:b.mp4", "-.mp4", "drive 100%.mp4", "straße.mp4"])
def test_unusual_file_names(clip, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    with open_source(name, max_frames=1) as source:
        assert number_of(next(source).image) == 0


def test_file_urls_are_paths(clip):
    with open_source(f"file://{clip}", max_frames=2) as source:
        assert len(list(source)) == 2


def test_importing_the_package_does_not_load_pyav():
    code = "import sys, edge_vseg.video; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "size_hw"),
    [
        ("dashcam.mp4", 515, (360, 640)),
        ("static-road.avi", 374, (360, 640)),
        ("dog.mp4", 289, (720, 1280)),
        ("bedroom.mp4", 200, (540, 960)),
        ("thoughtful.mp4", 367, (360, 640)),
    ],
)
def test_real_videos_are_read_whole(real_videos, name, count, size_hw):
    """Counts from the list that came with the data; times from the container's packets, which nobody decoded."""
    with av.open(str(real_videos / name)) as container:
        stream = container.streams.video[0]
        ticks = sorted(packet.pts for packet in container.demux(stream) if packet.size)
        expected = [round(float((tick - ticks[0]) * stream.time_base) * 1e9) for tick in ticks]
    with open_source(real_videos / name) as source:
        assert source.frame_count == count
        frames = [(frame.seq, frame.pts_ns, frame.image.shape[:2]) for frame in source]
        assert source.damaged is None
    assert [seq for seq, _, _ in frames] == list(range(count))
    assert {size for _, _, size in frames} == {size_hw}
    np.testing.assert_allclose([pts for _, pts, _ in frames], expected, atol=1)


@pytest.mark.data
def test_real_pixels_agree_with_opencv(real_videos):
    """OpenCV brings its own FFmpeg; it differs in rounding and in the choice of chroma filter only."""
    capture = cv2.VideoCapture(str(real_videos / "dashcam.mp4"))
    with open_source(real_videos / "dashcam.mp4", max_frames=5) as source:
        for frame in source:
            there, image = capture.read()
            assert there
            assert np.abs(frame.image.astype(int) - image).mean() < 1.0
    capture.release()
