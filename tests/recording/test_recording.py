"""Recordings: written and read, each against an implementation that is not ours."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as OtherWriter
from mcap_ros2.decoder import DecoderFactory
from recorded_pictures import CAMERA, PERIOD_NS, START_NS, picture, write_rosbag2
from rosbags.highlevel import AnyReader

from edge_vseg import open_source
from edge_vseg.errors import OptionError, RecordingError, VideoDecodeError, VideoNotFoundError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.images import jpeg_image, raw_image
from edge_vseg.recording import McapWriter, is_bag, open_bag
from edge_vseg.ros2.recorder import FrameStamps


def header(number: int) -> ros.Header:
    return ros.Header(stamp=ros.Time.from_ns(START_NS + number * PERIOD_NS), frame_id="front")


def write_mcap(path: Path, count: int = 6, pad: int = 0) -> Path:
    with McapWriter(path) as writer:
        for number in range(count):
            writer.write(CAMERA, raw_image(picture(number), "bgr8", header(number)), header(number).stamp.total_ns)
            if pad:
                noise = np.random.default_rng(number).integers(0, 256, (pad, 1024), np.uint8)
                writer.write("/noise", raw_image(noise, "mono8", header(number)), header(number).stamp.total_ns)
    return path


def test_other_readers_open_our_file(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "out.mcap")
    with AnyReader([path]) as reader:
        (connection,) = reader.connections
        assert (connection.topic, connection.msgtype) == (CAMERA, "sensor_msgs/msg/Image")
        for number, (_, log_ns, data) in enumerate(reader.messages()):
            assert log_ns == START_NS + number * PERIOD_NS
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.frame_id == "front"
            np.testing.assert_array_equal(message.data.reshape(48, 64, 3), picture(number))
    with path.open("rb") as stream:
        decoded = make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages()
        messages = [each.decoded_message for each in decoded]
    assert len(messages) == 6
    assert bytes(messages[3].data) == picture(3).tobytes()


def test_frames_of_compressed_images_have_their_times(tmp_path: Path) -> None:
    path = tmp_path / "jpeg.mcap"
    with McapWriter(path) as writer:
        for number in range(4):
            writer.write("/cam/compressed", jpeg_image(picture(number), header(number)), 7 + number)
    with open_source(path) as frames:
        seen = list(frames)
    assert [frame.pts_ns for frame in seen] == [number * PERIOD_NS for number in range(4)]
    assert np.abs(seen[2].image.astype(int) - picture(2)).mean() < 6


def test_without_stamps_the_recorder_tells_the_time(tmp_path: Path) -> None:
    path = tmp_path / "bare.mcap"
    with McapWriter(path) as writer:
        for number in range(3):
            bare = ros.Header(stamp=ros.Time())
            writer.write(CAMERA, raw_image(picture(number), "bgr8", bare), START_NS + 5 * number)
    with open_source(path) as frames:
        assert [frame.pts_ns for frame in frames] == [0, 5, 10]


STEPS = {"back an hour": -3600 * 10**9, "on a day": 86400 * 10**9, "stands still": -PERIOD_NS}


@pytest.mark.parametrize("recorder", ["steady", "stepped too"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_times_only_grow_when_the_robots_clock_is_stepped(step: int, recorder: str, tmp_path: Path) -> None:
    """Between the third image and the fourth; the recorder reads the same clock, or one of its own."""
    path, stamps = tmp_path / "stepped.mcap", []
    with McapWriter(path) as writer:
        for number in range(6):
            stamps.append(START_NS + number * PERIOD_NS + (step if number > 2 else 0))
            log_ns = stamps[-1] if recorder == "stepped too" else START_NS + number * PERIOD_NS
            head = ros.Header(stamp=ros.Time.from_ns(stamps[-1]), frame_id="front")
            writer.write(CAMERA, raw_image(picture(number), "bgr8", head), log_ns)
    with open_source(path) as frames:
        seen = list(frames)
        told = FrameStamps(frames)
        by_stamp = {told.stamp_ns(frame): frame for frame in seen}
    assert sorted(by_stamp) == sorted(set(stamps)), "results are recorded with the stamps of their images"
    times = [frame.pts_ns or 0 for frame in seen]
    assert (np.diff(times) > 0).all()
    if recorder == "steady" or step < 0:  # else the step looks like a pause
        assert times == [number * PERIOD_NS for number in range(6)]
        for frame in seen:
            np.testing.assert_array_equal(frame.image, picture(frame.seq))


@pytest.mark.parametrize("at", range(1, 8))
def test_images_keep_their_order_when_the_recorders_clock_goes_back(at: int, tmp_path: Path) -> None:
    """In a file of several chunks, wherever it happens; the camera's stamps go on."""
    path = tmp_path / "back.mcap"
    with McapWriter(path) as writer:
        for number in range(8):
            log_ns = START_NS + number * PERIOD_NS - (3600 * 10**9 if number >= at else 0)
            noise = np.random.default_rng(number).integers(0, 256, (600, 1024), np.uint8)
            writer.write("/noise", raw_image(noise, "mono8", header(number)), log_ns)
            writer.write(CAMERA, raw_image(picture(number), "bgr8", header(number)), log_ns)
    with open_source(f"{path}:{CAMERA}") as frames:
        for number, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.image, picture(number))
            assert frame.pts_ns == number * PERIOD_NS
        assert (number, frames.damaged) == (7, None)


def test_a_pause_in_a_recording_is_one(tmp_path: Path) -> None:
    """Of the robot, by both clocks; of a copy that was played back at another speed, by the stamps alone."""
    for name, pace in (("recorded", 1), ("played twice as fast", 0.5)):
        path = tmp_path / f"{name}.mcap"
        times_ns = [0, PERIOD_NS, 15 * 10**9, 15 * 10**9 + PERIOD_NS]
        with McapWriter(path) as writer:
            for number, time_ns in enumerate(times_ns):
                head = ros.Header(stamp=ros.Time.from_ns(START_NS + time_ns))
                writer.write(CAMERA, raw_image(picture(number), "bgr8", head), START_NS + round(pace * time_ns))
        with open_source(path) as frames:
            assert [frame.pts_ns for frame in frames] == times_ns, name


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_whose_end_is_missing_gives_what_was_written(share: float, tmp_path: Path) -> None:
    whole = write_mcap(tmp_path / "whole.mcap", count=12, pad=600)
    data = whole.read_bytes()
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: int(len(data) * share)])
    with open_source(f"{path}:{CAMERA}") as frames:
        seen = list(frames)
        assert "the end is missing" in (frames.damaged or "")
    assert 12 * share - 4 <= len(seen) <= 12
    for number, frame in enumerate(seen):
        np.testing.assert_array_equal(frame.image, picture(number))


def write_in_chunks(path: Path, compression: CompressionType) -> None:
    """Twelve pictures, two or so to a chunk."""
    with path.open("wb") as stream:
        writer = OtherWriter(stream, compression=compression, chunk_size=20_000)
        writer.start()
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"")
        channel = writer.register_channel(CAMERA, "cdr", schema)
        for number in range(12):
            data = encode_message(raw_image(picture(number), "bgr8", header(number)))
            writer.add_message(channel, START_NS + number * PERIOD_NS, data, START_NS)
        writer.finish()


@pytest.mark.parametrize("share", [1.0, 0.95], ids=["whole", "without its end"])
def test_a_bit_that_flipped_is_noticed(share: float, tmp_path: Path) -> None:
    """Chunks that are not compressed, as `ros2 bag record` writes them by default: every byte can be read."""
    path = tmp_path / "out.mcap"
    write_in_chunks(path, CompressionType.NONE)
    data = bytearray(path.read_bytes()[: int(path.stat().st_size * share)])
    data[data.index(picture(7).tobytes()) + 5000] ^= 1
    path.write_bytes(data)
    with open_source(path) as frames:
        seen = list(frames)
        assert "a chunk is damaged (crc validation failed" in (frames.damaged or "")
    assert 4 <= len(seen) <= 7
    for number, frame in enumerate(seen):
        np.testing.assert_array_equal(frame.image, picture(number))


@pytest.mark.parametrize("share", [1.0, 0.95], ids=["whole", "without its end"])
@pytest.mark.parametrize("kind", ["ZSTD", "LZ4"])
def test_a_bit_that_flipped_in_a_compressed_chunk_is_noticed(kind: str, share: float, tmp_path: Path) -> None:
    """The decompressor finds it before the CRC does, with an error of its own."""
    path = tmp_path / "out.mcap"
    write_in_chunks(path, CompressionType[kind])
    magic = {"ZSTD": b"\x28\xb5\x2f\xfd", "LZ4": b"\x04\x22\x4d\x18"}[kind]
    data = bytearray(path.read_bytes()[: int(path.stat().st_size * share)])
    third = data.index(magic, data.index(magic, data.index(magic) + 1) + 1)
    data[third + 4 : third + 12] = b"\xff" * 8
    path.write_bytes(data)
    with open_source(path) as frames:
        seen = list(frames)
        assert frames.damaged
    assert 2 <= len(seen) < 12
    for number, frame in enumerate(seen):
        np.testing.assert_array_equal(frame.image, picture(number))


KILLED = """
import os, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_recording import CAMERA, McapWriter, header, np, picture, raw_image
writer = McapWriter(Path(sys.argv[1]))
for number in range(30):
    writer.write(CAMERA, raw_image(picture(number % 12), "bgr8", header(number)), header(number).stamp.total_ns)
    noise = np.random.default_rng(number).integers(0, 256, (600, 1024), np.uint8)
    writer.write("/noise", raw_image(noise, "mono8", header(number)), header(number).stamp.total_ns)
os._exit(9)
"""


def test_a_killed_process_leaves_all_but_its_last_chunk(tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    done = subprocess.run([sys.executable, "-c", KILLED, path, Path(__file__).parent], check=False)
    assert done.returncode == 9
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".killed.mcap.")
    with open_source(f"{part.rename(path)}:{CAMERA}") as frames:
        assert len(list(frames)) >= 27


def test_two_cameras_want_a_name(tmp_path: Path) -> None:
    folder = write_rosbag2(tmp_path / "bag", "sqlite3", topics=("/left/image", "/right/image"))
    with pytest.raises(RecordingError, match=r"images on /left/image, /right/image; name one .*bag:/left/image"):
        open_source(folder)
    with open_source(f"{folder}:/right/image") as frames:
        assert len(list(frames)) == 6
    with pytest.raises(RecordingError, match=r"no images on /other; its topics: /left/image \(sensor_msgs/msg/Image\)"):
        open_source(f"{folder}:/other")


def test_an_unreadable_encoding_is_named(tmp_path: Path) -> None:
    folder = write_rosbag2(tmp_path / "bag", "sqlite3", encoding="32FC3")
    with open_source(folder) as frames, pytest.raises(VideoDecodeError, match="'32FC3' cannot be read; known: bgr8"):
        next(frames)


def test_a_damaged_picture_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jpeg.mcap"
    with McapWriter(path) as writer:
        for number in range(5):
            message = jpeg_image(picture(number), header(number))
            if number == 2:
                message = ros.CompressedImage(header=header(number), format="jpeg", data=message.data[:3])
            writer.write("/cam", message, START_NS + number)
    with open_source(path) as frames:
        assert [frame.seq for frame in frames] == [0, 1, 3, 4]
        assert frames.damaged == f"{path}: 1 images of /cam could not be decoded"
    assert "image 2 of /cam is left out" in caplog.text


def test_a_recording_plays_in_real_time(tmp_path: Path) -> None:
    with open_source(write_mcap(tmp_path / "out.mcap", count=3), live=True) as frames:
        assert frames.is_live
        assert next(frames).seq == 0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(VideoNotFoundError):
        open_source(tmp_path / "none.mcap")
    (tmp_path / "text.mcap").write_text("no recording")
    with pytest.raises(RecordingError, match="not an MCAP file"):
        open_source(tmp_path / "text.mcap")
    (tmp_path / "text.db3").write_text("no recording")
    with pytest.raises(RecordingError, match="no rosbag2 database"):
        open_source(tmp_path / "text.db3")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/metadata.yaml").write_text("")
    with pytest.raises(RecordingError, match=r"expected \.mcap or \.db3 files in the folder"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty/bag_0.db3.zstd").write_text("")
    with pytest.raises(RecordingError, match="compressed as a whole"):
        open_source(tmp_path / "empty")
    with pytest.raises(OptionError, match="no codec motion vectors"):
        open_source(write_mcap(tmp_path / "out.mcap"), codec_motion=True)
    with pytest.raises(OptionError, match=r"ends in \.mcap"):
        McapWriter(tmp_path / "out.bag")


def test_a_recording_without_images(tmp_path: Path) -> None:
    with McapWriter(tmp_path / "out.mcap") as writer:
        writer.write("/time", ros.Time(), 1)
        with pytest.raises(OptionError, match="got std_msgs/msg/Header; use another topic"):
            writer.write("/time", header(0), 2)
    with pytest.raises(RecordingError, match="no images"):
        open_source(tmp_path / "out.mcap")
    with pytest.raises(RecordingError, match="is closed"):
        writer.write("/time", ros.Time(), 3)


def test_a_recording_without_messages_leaves_no_file(tmp_path: Path) -> None:
    with McapWriter(tmp_path / "out.mcap"):
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    assert list(tmp_path.iterdir()) == []


def test_an_older_recording_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "out.mcap", count=2)
    with McapWriter(path) as writer:
        writer.write("/time", ros.Time(), 1)
        with open_source(path) as frames:
            assert len(list(frames)) == 2
    with pytest.raises(RecordingError, match="no images"):
        open_source(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_recorded_and_says_where(tmp_path: Path) -> None:
    """A limit on file size is as real as a full disk, and can be taken away again."""
    path = write_mcap(tmp_path / "out.mcap", count=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
    try:
        with pytest.raises(RecordingError, match=r"out\.mcap cannot be written: File too large") as raised:
            write_mcap(path, count=12, pad=600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with open_source(path) as frames:
        assert len(list(frames)) == 2, "the older one"
    (part,) = (each for each in tmp_path.iterdir() if each != path)
    assert f"what was recorded until then is in {part.name}" in str(raised.value)
    with open_source(f"{part.rename(tmp_path / 'part.mcap')}:{CAMERA}") as frames:
        assert 3 <= len(list(frames)) <= 6


def test_topics_with_their_counts(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "out.mcap", pad=1)
    bag = open_bag(path)
    assert [(topic.name, topic.count) for topic in bag.topics] == [(CAMERA, 6), ("/noise", 6)]
    bag.close()
    assert [is_bag(p) for p in (path, tmp_path, Path("a.mp4"), Path("b.db3"))] == [True, False, False, True]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(RecordingError, match=r"pip install 'edge-vseg\[mcap\]'"):
        McapWriter(tmp_path / "out.mcap")
    assert not (tmp_path / "out.mcap").exists()
