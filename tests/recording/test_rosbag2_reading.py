"""rosbag2 folders and their storage files are read, also what a recorder that was killed left in its log."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from recorded_pictures import CAMERA, PERIOD_NS, START_NS, picture, write_rosbag2

from edge_vseg import open_source
from edge_vseg.errors import RecordingError
from edge_vseg.recording import open_bag
from edge_vseg.video.bag import BagSource


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
