"""Recordings: written and read, each against an implementation that is not ours."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as OtherWriter
from mcap_ros2.decoder import DecoderFactory
from rosbags import rosbag2
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from edge_vseg import open_source
from edge_vseg.errors import OptionError, RecordingError, VideoDecodeError, VideoNotFoundError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.images import jpeg_image, raw_image
from edge_vseg.recording import McapWriter, is_bag, open_bag
from edge_vseg.ros2.recorder import FrameStamps
from edge_vseg.video.bag import BagSource

START_NS = 1_700_000_000_500_000_000
PERIOD_NS = 66_666_667
CAMERA = "/camera/image_raw"


def picture(number: int) -> np.ndarray:
    image = np.full((48, 64, 3), (200, 40, 40), np.uint8)
    image[12:36, 4 * number : 4 * number + 16] = (30, 30, 220)
    return image


def header(number: int) -> ros.Header:
    return ros.Header(stamp=ros.Time.from_ns(START_NS + number * PERIOD_NS), frame_id="front")


def write_rosbag2(
    folder: Path, storage: str, count: int = 6, topics: tuple[str, ...] = (CAMERA,), **image: object
) -> Path:
    """A bag by rosbags: its own serializer, its own storage."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    plugin = {"sqlite3": rosbag2.StoragePlugin.SQLITE3, "mcap": rosbag2.StoragePlugin.MCAP}[storage]
    with rosbag2.Writer(folder, version=9, storage_plugin=plugin) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)
            for number in range(6):
                stamp = divmod(START_NS + number * PERIOD_NS, 10**9)
                values = {"height": 48, "width": 64, "encoding": "bgr8", "is_bigendian": 0, "step": 192} | image
                message = types["sensor_msgs/msg/Image"](
                    header=types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*stamp), "front"),
                    data=picture(number).reshape(-1),
                    **values,
                )
                # Recorded 20 ms after the stamp, as over a network.
                log_ns = START_NS + number * PERIOD_NS + 20_000_000
                writer.write(connection, log_ns, store.serialize_cdr(message, "sensor_msgs/msg/Image"))
    return folder


def write_mcap(path: Path, count: int = 6, pad: int = 0) -> Path:
    with McapWriter(path) as writer:
        for number in range(count):
            writer.write(CAMERA, raw_image(picture(number), "bgr8", header(number)), header(number).stamp.total_ns)
            if pad:
                noise = np.random.default_rng(number).integers(0, 256, (pad, 1024), np.uint8)
                writer.write("/noise", raw_image(noise, "mono8", header(number)), header(number).stamp.total_ns)
    return path


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_reads_a_rosbag2(storage: str, tmp_path: Path) -> None:
    folder = write_rosbag2(tmp_path / "bag", storage)
    with open_source(folder) as frames:
        assert frames.fps == pytest.approx(15.0, rel=1e-3)
        assert frames.frame_count == 6
        seen = list(frames)
    assert [frame.seq for frame in seen] == list(range(6))
    assert [frame.pts_ns for frame in seen] == [number * PERIOD_NS for number in range(6)]
    for number, frame in enumerate(seen):
        np.testing.assert_array_equal(frame.image, picture(number))
    assert isinstance(frames, BagSource)
    assert (frames.topic, frames.frame_id, frames.start_ns) == (CAMERA, "front", START_NS)


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_storage_file_alone_is_read_too(storage: str, tmp_path: Path) -> None:
    folder = write_rosbag2(tmp_path / "bag", storage)
    (file,) = [path for path in folder.iterdir() if path.suffix in (".db3", ".mcap")]
    with open_source(str(file), max_frames=2) as frames:
        assert len(list(frames)) == 2


def write_unfinished(folder: Path, kind: str, on_disk: int = 2) -> Path:
    """A recording of six messages whose recorder was killed: four are in the log, or it undoes what it had begun."""
    (made,) = write_rosbag2(folder / "made", "sqlite3").glob("*.db3")
    killed = folder / "killed"
    killed.mkdir()
    with contextlib.closing(sqlite3.connect(made)) as recorder:
        if kind == "wal":
            rows = recorder.execute("SELECT * FROM messages WHERE id > ?", (on_disk,)).fetchall()
            recorder.execute("DELETE FROM messages WHERE id > ?", (on_disk,))
            recorder.commit()
            recorder.execute("PRAGMA journal_mode=WAL")
            recorder.execute("PRAGMA wal_autocheckpoint=0")
            recorder.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
            recorder.commit()
        else:
            recorder.execute("PRAGMA cache_size=1")
            recorder.execute("PRAGMA cache_spill=1")
            recorder.execute("BEGIN")
            recorder.execute("UPDATE messages SET data = zeroblob(20000)")
        for path in made.parent.glob("*.db3*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, killed / path.name)
    assert (killed / f"{made.name}-{kind}").stat().st_size > 0
    return killed / made.name


@pytest.mark.parametrize("place", ["can be written", "cannot"])
@pytest.mark.parametrize("kind", ["wal", "journal"])
def test_messages_of_a_recorder_that_was_killed_are_read(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_unfinished(tmp_path, kind)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    if place == "cannot":
        # Also root cannot make a file behind a link into nowhere; SQLite does not follow one.
        path.with_name(path.name + "-shm").symlink_to(tmp_path / "nowhere" / "x")
    before = {each.name: each.read_bytes() for each in path.parent.iterdir() if each.exists()}
    with open_source(path) as frames:
        seen = list(frames)
    assert len(seen) == 6
    for number, frame in enumerate(seen):
        np.testing.assert_array_equal(frame.image, picture(number))
    assert {name: (path.parent / name).read_bytes() for name in before} == before, "the recording was changed"
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_log_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_unfinished(tmp_path, "wal")
    path.with_name(path.name + "-shm").symlink_to(tmp_path / "nowhere" / "x")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    with pytest.raises(RecordingError, match=r"-wal beside it has messages, and no copy .*set TMPDIR"):
        open_source(path)


@pytest.mark.parametrize("on_disk", [2, 0])
def test_a_copy_that_does_not_fit_is_not_begun(
    on_disk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The messages of the file itself are read; a journal is never left out."""
    path = write_unfinished(tmp_path / "wal", "wal", on_disk)
    undone = write_unfinished(tmp_path / "journal", "journal")
    for each in (path, undone):
        each.with_name(each.name + "-shm").symlink_to(tmp_path / "nowhere" / "x")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=path.stat().st_size))
    monkeypatch.setattr(shutil, "copyfile", lambda *paths: pytest.fail("a copy was begun"))
    with contextlib.closing(open_bag(path)) as bag:
        assert len(list(bag.messages(CAMERA))) == on_disk
        assert re.search(r"messages in \S+\.db3-wal are missing, .*set TMPDIR", bag.damaged or "")
    assert (bag.damaged or "none") in caplog.text
    with pytest.raises(RecordingError, match=r"-journal beside it has messages.* MB do not fit into .*set TMPDIR"):
        open_bag(undone)


def test_a_file_of_which_all_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_unfinished(tmp_path, "wal")
    path.with_name(path.name + "-shm").symlink_to(tmp_path / "nowhere" / "x")
    with contextlib.closing(sqlite3.connect(tmp_path / "begun.db3")) as begun:
        begun.execute("PRAGMA journal_mode=WAL")
    shutil.copyfile(tmp_path / "begun.db3", path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(RecordingError, match=r"-wal beside it has messages.*set TMPDIR"):
        open_bag(path)


def test_a_recorder_that_holds_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_unfinished(tmp_path, "wal")
    with contextlib.closing(sqlite3.connect(path)) as recorder:
        recorder.execute("PRAGMA locking_mode=EXCLUSIVE")
        recorder.execute("UPDATE topics SET name = name")
        real = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, timeout=0.01, **options))
        with pytest.raises(RecordingError, match="stop the recorder"):
            open_source(path)


def test_a_database_that_is_damaged_behind_its_start(tmp_path: Path) -> None:
    (path,) = write_rosbag2(tmp_path / "bag", "sqlite3").glob("*.db3")
    bag = open_bag(path)
    with path.open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xff" * (path.stat().st_size - 8192))
    assert len(list(bag.messages(CAMERA))) < 6
    bag.close()
    assert bag.damaged is not None
    assert "is damaged (database disk image is malformed)" in bag.damaged


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
    if recorder == "steady":  # else it has put the messages into another order, or the step looks like a pause
        assert times == [number * PERIOD_NS for number in range(6)]
        for frame in seen:
            np.testing.assert_array_equal(frame.image, picture(frame.seq))


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
