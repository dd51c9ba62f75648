"""Files that are missing, empty, something else, or broken."""

from __future__ import annotations

import logging
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_video import number_of, numbered, write_sound, write_video

from edge_vseg.errors import NoFramesError, VideoDecodeError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video import open_source
from edge_vseg.video.damage import ContainerHeader, DamageReport

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1870121\n"


def textured(number: int) -> np.ndarray:
    """A numbered picture with enough noise that every frame takes some kilobytes."""
    noise = np.random.default_rng(number).integers(0, 30, (64, 96, 3), dtype=np.uint8)
    return numbered(number) + noise


@pytest.fixture(scope="module")
def front_loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 with its index at the front, every frame a keyframe."""
    return write_video(
        tmp_path_factory.mktemp("whole") / "whole.mp4",
        [textured(i) for i in range(40)],
        container={"movflags": "faststart"},
        options={"g": "1", "bf": "0"},
    )


def test_a_missing_file_suggests_its_neighbours(tmp_path):
    (tmp_path / "dashcam.mp4").write_bytes(b"x")
    with pytest.raises(VideoNotFoundError, match=r"did you mean dashcam\.mp4\?"):
        open_source(tmp_path / "dashcm.mp4")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(VideoNotFoundError, match=r"nor does its folder .*nowhere"):
        open_source(tmp_path / "nowhere" / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("empty.mp4", b"", r"the file is empty \(0 bytes\)", id="empty"),
        pytest.param("pointer.mp4", POINTER.encode(), "Git-LFS pointer.*git lfs pull", id="git-lfs"),
        pytest.param("noise.mp4", np.random.default_rng(0).bytes(50_000), "cannot be read as a video", id="garbage"),
        pytest.param("zeros.avi", bytes(50_000), "cannot be read as a video", id="zeros"),
        pytest.param("frames.txt", b"a.png\nb.png\n" * 50, "got a text file", id="text"),
    ],
)
def test_files_that_are_not_videos_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=message):
        open_source(path)


@pytest.mark.parametrize("name", ["song.m4a", "song.mp4"])
def test_sound_alone_is_refused(tmp_path, name):
    with pytest.raises(VideoDecodeError, match="found only audio"):
        open_source(write_sound(tmp_path / name))


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("avi", "mpeg4")])
def test_a_video_without_frames(tmp_path, suffix, codec):
    path = tmp_path / f"none.{suffix}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    message = r"contains no frame|ends before its first frame"
    with pytest.raises(NoFramesError, match=message), open_source(path) as source:
        next(source)


@pytest.mark.parametrize("percent", range(5, 100, 10))
def test_a_video_truncated_in_its_index(tmp_path, percent):
    """An MP4 has its index at the end, unless asked otherwise; some cuts leave an index that lists nothing."""
    whole = write_video(tmp_path / "whole.mp4", [textured(i) for i in range(20)])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * percent // 100])
    known = "index is missing|found no stream|video codec is unknown|ends before its first frame"
    with pytest.raises((VideoDecodeError, NoFramesError), match=known):
        open_source(cut)


@pytest.fixture(params=["mp4", "avi", "mkv"])
def cut(request, tmp_path, front_loaded) -> tuple[Path, int]:
    """The first 60 % of a video of 40 frames, and how many whole packets that is, by the packets' positions."""
    if request.param == "mp4":
        whole = front_loaded
    else:
        codec = "libx264" if request.param == "mkv" else "mpeg4"
        images = [textured(i) for i in range(40)]
        whole = write_video(tmp_path / f"whole.{request.param}", images, codec=codec, options={"g": "1", "bf": "0"})
    length = whole.stat().st_size * 6 // 10
    with av.open(str(whole)) as container:
        packets = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    path = tmp_path / f"cut.{request.param}"
    path.write_bytes(whole.read_bytes()[:length])
    return path, sum(end <= length for end in packets)


def test_a_truncated_video_gives_its_frames_and_a_warning(cut, caplog):
    path, packets = cut
    with caplog.at_level(logging.WARNING, "edge_vseg.video"), open_source(path) as source:
        numbers = [number_of(frame.image) for frame in source]
        damage = source.damaged
    # Half a frame may be patched up, or be lost; so may, in Matroska, the last block.
    assert packets - 1 <= len(numbers) <= packets + 1
    assert numbers[: packets - 1] == list(range(packets - 1))
    assert damage is not None
    assert f"{len(numbers)} frames read" in damage
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("edge_vseg")]
    assert ours == [f"{path} is damaged: {damage}"]


def test_strict_raises_at_the_end_of_a_truncated_video(cut):
    path, packets = cut
    frames: list[Frame] = []
    with open_source(path, strict=True) as source:
        with pytest.raises(VideoDecodeError, match=r"is damaged: \d+ frames read"):
            frames.extend(source)
        assert list(source) == []
    # What came before the error has arrived.
    assert packets - 1 <= len(frames) <= packets + 1


def test_a_limit_before_the_damage_is_no_error(cut, caplog):
    with open_source(cut[0], strict=True, max_frames=5) as source:
        assert len(list(source)) == 5
    assert not [record for record in caplog.records if record.name.startswith("edge_vseg")]


def test_a_frame_that_cannot_be_decoded_leaves_a_gap(front_loaded, tmp_path):
    with av.open(str(front_loaded)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(front_loaded.read_bytes())
    position, size = packets[17]
    data[position : position + size] = bytes(size)
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    with open_source(path) as source:
        seen = {frame.seq: number_of(frame.image) for frame in source}
        assert "1 frame could not be decoded" in str(source.damaged)
    assert seen == {seq: seq for seq in range(40) if seq != 17}


def test_a_video_without_decodable_frames(front_loaded, tmp_path):
    with av.open(str(front_loaded)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(front_loaded.read_bytes())
    for position, size in packets:
        data[position : position + size] = bytes(size)
    path = tmp_path / "blank.mp4"
    path.write_bytes(data)
    with open_source(path) as source, pytest.raises(VideoDecodeError, match=r"0 frames read; \d+ frames could not"):
        next(source)


def header(**changes) -> ContainerHeader:
    values = {"frames": 100, "rate": 25.0, "stream_s": 4.0, "container_s": 4.0, "video_only": True, "has_edits": False}
    return ContainerHeader(**(values | changes))


@pytest.mark.parametrize(
    ("header", "packets", "end_s", "short"),
    [
        pytest.param(header(), 100, 4.0, False, id="whole"),
        pytest.param(header(), 60, 2.4, True, id="cut"),
        pytest.param(header(), 60, 4.0, False, id="AVI that counts dropped frames"),
        pytest.param(header(container_s=2.4, stream_s=2.4), 60, 2.4, True, id="cut AVI, duration guessed from size"),
        pytest.param(header(has_edits=True, container_s=2.4), 60, 2.4, False, id="MP4 trimmed by its edit list"),
        pytest.param(header(has_edits=True), 60, 2.4, True, id="cut MP4"),
        pytest.param(header(frames=0, stream_s=None), 60, 2.4, True, id="cut Matroska"),
        pytest.param(header(frames=0, stream_s=None), 100, 4.0, False, id="whole Matroska"),
        pytest.param(
            header(frames=0, stream_s=None, video_only=False), 85, 3.4, False, id="sound outlasts the picture"
        ),
        pytest.param(header(frames=0, stream_s=None, container_s=None), 60, 2.4, False, id="nothing promised"),
        pytest.param(header(frames=0, stream_s=None, rate=None), 99, 3.97, False, id="rate unknown"),
    ],
)
def test_shortfall(header, packets, end_s, short):
    assert bool(header.shortfall(packets, end_s)) is short


def test_a_report_without_damage_says_nothing():
    assert DamageReport(frames=12).text() is None


@pytest.mark.data
def test_a_real_video_cut_in_the_middle(real_videos, tmp_path):
    """dog.mp4 has its index at the front; ffmpeg, too, gives about 70 % of its 289 frames."""
    cut = tmp_path / "cut.mp4"
    data = (real_videos / "dog.mp4").read_bytes()
    cut.write_bytes(data[: len(data) * 7 // 10])
    with open_source(cut) as source:
        frames = sum(1 for _ in source)
        assert "213 of the 289 frames" in str(source.damaged)
    assert 205 <= frames <= 213


@pytest.mark.data
@pytest.mark.parametrize("name", ["dashcam.mp4", "bedroom.mp4"])
def test_a_real_video_cut_before_its_index(real_videos, tmp_path, name):
    cut = tmp_path / name
    data = (real_videos / name).read_bytes()
    cut.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(VideoDecodeError, match="index is missing"):
        open_source(cut)
