"""Files are the old ones or the new ones, whole."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_vseg.errors import OutputError
from edge_vseg.files import StagedFile, bytes_text, remove_leftovers, write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in (b"old", b"new"):
        write_whole(path, text)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_directly() -> None:
    write_whole(Path("/dev/null"), b"new")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space"):
        write_whole(Path("/dev/full"), b"new")
    assert Path("/dev/full").is_char_device()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    code = "import os, sys, pathlib; from edge_vseg.files import StagedFile; f = StagedFile(pathlib.Path(sys.argv[1]));"
    subprocess.run([sys.executable, "-c", f"{code} f.write(b'half'); os.kill(os.getpid(), 9)", path], check=False)
    (dead,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".b.json.0123abcd.part", ".a.json.0123abc.part", ".a.json.0123abcd.part~")]
    for other in others:
        other.touch()
    with StagedFile(path) as living:
        assert not dead.exists()
        living.write(b"first")
        write_whole(path, b"second")
        assert remove_leftovers(path) == (living.path,)
        assert living.path.read_bytes() == b"first"
        living.commit()
    assert path.read_bytes() == b"first"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    (tmp_path / ".a.json.0123abcd.partial").symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "a.json", b"new")
    assert (tmp_path / "mine/thesis.tex").exists()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.json").symlink_to("disk/b.json")
    for text in (b"old", b"new"):
        write_whole(tmp_path / "a.json", text)
        assert (tmp_path / "a.json").is_symlink()
        assert (tmp_path / "disk/b.json").read_bytes() == text


def test_standard_output_is_written_and_not_replaced(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from edge_vseg.files import write_whole; write_whole(Path('/dev/stdout'), b'told')"
    )
    with (tmp_path / "out").open("wb") as out:
        inode = os.fstat(out.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"told"
    assert (tmp_path / "out").stat().st_ino == inode
    assert Path("/dev/stdout").is_symlink()


def test_a_full_disk_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_vseg.files.os.write", full)
    with pytest.raises(OutputError, match=r"a\.json cannot be written: No space left on device; it takes 1\.5 MB, and"):
        write_whole(tmp_path / "a.json", bytes(1_500_000))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_be_flushed_is_in_place_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    with caplog.at_level(logging.WARNING):
        write_whole(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert "is in place, but a power cut may undo it: Input/output error" in caplog.text


def test_sizes_for_people() -> None:
    sizes = (0, 999, 1000, 123_456, 1_500_000, 7_200_000_000)
    assert [bytes_text(size) for size in sizes] == ["0 bytes", "999 bytes", "1.0 kB", "123 kB", "1.5 MB", "7.2 GB"]
