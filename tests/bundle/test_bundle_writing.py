"""Writing bundles: what must not be touched is not, and no moment leaves half a bundle."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from reference_bundle import Recipe, make_manifest, make_variant, write_bundle

from edge_vseg.bundle import check_target, open_bundle, stage_bundle
from edge_vseg.errors import BundleWriteError
from edge_vseg.runtimes.backends.reference import write_reference

TESTS = Path(__file__).parents[1]


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_whole(path: Path) -> str:
    """The bundle's name, after checking every file."""
    bundle = open_bundle(path)
    for relative in bundle.manifest.files:
        bundle.file(relative)
    assert set(listing(path)) == {*bundle.manifest.files, "manifest.json"}
    return bundle.manifest.name


@pytest.mark.parametrize("place", ["new.evseg", "deep/er/new.evseg"])
def test_new_bundle(place: str, tmp_path: Path) -> None:
    target = write_bundle(tmp_path / place)
    assert check_whole(target) == "colours"
    assert [p.name for p in target.parent.iterdir()] == ["new.evseg"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_replaces_an_older_bundle(reference_bundle: Path) -> None:
    (reference_bundle / "check/labels.png").unlink()  # damaged ones too
    write_bundle(reference_bundle, Recipe(name="newer"))
    assert check_whole(reference_bundle) == "newer"
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


def test_replaces_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a.evseg").mkdir()
    assert check_whole(write_bundle(tmp_path / "a.evseg")) == "colours"


def test_writes_through_a_link(reference_bundle: Path) -> None:
    alias = reference_bundle.with_name("alias.evseg")
    alias.symlink_to(reference_bundle)
    write_bundle(alias, Recipe(name="newer"))
    assert alias.is_symlink()
    assert check_whole(reference_bundle) == "newer"


def foreign_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def foreign_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"manifest_version": 3, "name": "extension"}')


def hidden_file(path: Path) -> None:
    path.mkdir()
    (path / ".keep").touch()


def plain_file(path: Path) -> None:
    path.write_text("x")


def bundle_and_notes(path: Path) -> None:
    write_bundle(path)
    (path / "reference/notes.txt").write_text("x")


def bundle_and_link(path: Path) -> None:
    write_bundle(path)
    (path / "reference/link").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (foreign_folder, "a folder but not a bundle, and is not replaced"),
        (foreign_manifest, "a folder but not a bundle"),
        (hidden_file, "a folder but not a bundle"),
        (plain_file, "is a file and is not replaced"),
        (bundle_and_notes, r"not part of the bundle \(reference/notes.txt\); move them away"),
        (bundle_and_link, r"not part of the bundle \(reference/link\)"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_foreign_targets_are_not_replaced(occupy: object, message: str, tmp_path: Path) -> None:
    target = tmp_path / "occupied.evseg"
    assert callable(occupy)
    occupy(target)
    before = listing(tmp_path)
    with pytest.raises(BundleWriteError, match=message):
        check_target(target)
    with pytest.raises(BundleWriteError, match=message):
        write_bundle(target)
    assert listing(tmp_path) == before


def test_occupied_while_it_was_written(reference_bundle: Path) -> None:
    with stage_bundle(reference_bundle) as staging:
        (reference_bundle / "notes.txt").write_text("x")
        with pytest.raises(BundleWriteError, match=r"notes\.txt"):
            staging.commit(make_manifest(files=staging.list_files()))
    assert open_bundle(reference_bundle).manifest.name == "colours"
    assert (reference_bundle / "notes.txt").read_text() == "x"


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleWriteError, match=r"cannot write beside .*choose another place"):
        write_bundle(tmp_path / "file" / "a.evseg")


def test_nothing_is_left_of_an_export_that_failed(reference_bundle: Path) -> None:
    before = listing(reference_bundle.parent)

    def fail() -> None:
        with stage_bundle(reference_bundle) as staging:
            (staging.root / "half").write_text("x")
            assert staging.root.parent == reference_bundle.parent
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert listing(reference_bundle.parent) == before


def test_not_committed_is_not_there(tmp_path: Path) -> None:
    with stage_bundle(tmp_path / "a.evseg") as staging:
        (staging.root / "half").write_text("x")
    assert not any(tmp_path.iterdir())


def test_staged_files_are_listed_without_the_manifest(tmp_path: Path) -> None:
    with stage_bundle(tmp_path / "a.evseg") as staging:
        (staging.root / "b").mkdir()
        (staging.root / "b/two").write_bytes(b"12")
        (staging.root / "a").write_bytes(b"")
        (staging.root / "manifest.json").write_bytes(b"{}")
        files = staging.list_files()
    assert list(files) == ["a", "b/two"]
    assert files["b/two"].bytes == 2
    # sha256sum of no bytes at all
    assert files["a"].sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class _OldLibc:
    """A C library from before renameat2."""


class _FileSystemWithoutExchange:
    @staticmethod
    def renameat2(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.mark.parametrize("libc", [_OldLibc, _FileSystemWithoutExchange])
@pytest.mark.parametrize("leftover", [False, True], ids=["tidy", "leftover"])
def test_replacing_without_exchange(
    libc: type, leftover: bool, reference_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if leftover:  # of a process that was killed between the second rename and the removal
        shutil.copytree(reference_bundle, reference_bundle.with_name(".reference.evseg.replaced"))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: libc())
    write_bundle(reference_bundle, Recipe(name="newer"))
    assert check_whole(reference_bundle) == "newer"
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


def test_exchange_refused_by_the_system(reference_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(errno.EACCES)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    with pytest.raises(BundleWriteError, match="Permission denied; it is unchanged"):
        write_bundle(reference_bundle, Recipe(name="newer"))
    assert check_whole(reference_bundle) == "colours"


def stage_and_wait(target: Path) -> None:
    """Stage a bundle, say so, and commit it when told to; or say who was in the way."""
    try:
        with stage_bundle(target) as staging:
            sys.stdout.write("staged\n")
            sys.stdout.flush()
            sys.stdin.readline()
            staging.commit(make_manifest(name="theirs", files=staging.list_files()))
    except BundleWriteError as exc:
        sys.stdout.write(f"{exc}\n")


def start_writer(target: Path) -> subprocess.Popen[str]:
    code = "import sys, pathlib, test_bundle_writing as t; t.stage_and_wait(pathlib.Path(sys.argv[1]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS / "bundle", TESTS.parent)))},
    )


def test_a_second_writer_is_refused_while_the_first_one_lives(reference_bundle: Path) -> None:
    writer = start_writer(reference_bundle)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "staged\n"
    for write in (check_target, write_bundle):
        with pytest.raises(BundleWriteError, match=r"reference\.evseg is being written by another process.*wait until"):
            write(reference_bundle)
    assert writer.communicate("commit\n")[0] == ""
    assert open_bundle(reference_bundle).manifest.name == "theirs"
    check_target(reference_bundle)
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


def test_a_dead_writer_is_in_nobodys_way(reference_bundle: Path) -> None:
    writer = start_writer(reference_bundle)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "staged\n"
    writer.kill()
    writer.communicate()
    assert len(list(reference_bundle.parent.iterdir())) == 2
    check_target(reference_bundle)
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


def test_of_writers_that_start_at_once_one_writes(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path / "a.evseg") for _ in range(4)]
    said = [writer.stdout.readline() for writer in writers if writer.stdout is not None]
    assert sorted(line.startswith("staged") for line in said) == [False, False, False, True], said
    for writer in writers:
        writer.communicate("commit\n")
    assert [p.name for p in tmp_path.iterdir()] == ["a.evseg"]
    assert open_bundle(tmp_path / "a.evseg").manifest.name == "theirs"


def test_a_bundle_in_place_is_not_called_a_failure(
    reference_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == reference_bundle.parent:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_bundle(reference_bundle, Recipe(name="newer"))
    assert check_whole(reference_bundle) == "newer"
    assert "is in place, but a power cut may undo it" in caplog.text


def test_a_full_disk_is_named_with_what_the_bundle_takes(
    reference_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BundleWriteError, match=r"evseg cannot be written: No space .* it takes \d.* are free; .* -o"):
        write_bundle(reference_bundle, Recipe(name="newer"))
    assert check_whole(reference_bundle) == "colours"
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


@pytest.mark.parametrize("ends", ["fails", "killed"])
def test_between_two_renames(ends: str, reference_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without exchange there is a moment without a bundle: a failure puts the old one back, or else the next run."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: _OldLibc())
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error") if ends == "fails" else KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(BundleWriteError if ends == "fails" else KeyboardInterrupt):
        write_bundle(reference_bundle, Recipe(name="newer"))
    assert reference_bundle.exists() == (ends == "fails")
    check_target(reference_bundle)
    assert check_whole(reference_bundle) == "colours"
    assert [p.name for p in reference_bundle.parent.iterdir()] == [reference_bundle.name]


def test_everything_is_flushed_before_it_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename must not find empty files: all data is on the disk before."""
    target = tmp_path / "a.evseg"
    flushed: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bundle(target)
    before = {name for name, in_place in flushed if not in_place}
    assert {"manifest.json", "graph.npz", "frame.png", "labels.png", "float", "reference", "check"} <= before
    assert [name for name, in_place in flushed if in_place] == [tmp_path.name]


def write_large(target: Path, name: str) -> None:
    """A bundle whose eight files all say which of the bundles they belong to."""
    number = np.float32(int(name))
    with stage_bundle(target) as staging:
        variants = []
        for index in range(8):
            variant = make_variant(f"reference/v{index}")
            (staging.root / variant.entry).parent.mkdir(parents=True)
            write_reference(staging.root / variant.entry, np.full((3, 3), number), np.zeros(3, np.float32), 8)
            variants.append(variant)
        staging.commit(replace(make_manifest(name=name), variants=tuple(variants), files=staging.list_files()))


def rewrite_for_ever(target: Path) -> None:
    number = int(open_bundle(target).manifest.name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        number += 1
        write_large(target, str(number))


def test_killed_at_any_moment(tmp_path: Path) -> None:
    target = tmp_path / "street.evseg"
    write_large(target, "0")
    rng = random.Random(11)
    last = kills = in_the_middle = 0
    # Eight kills, and more on machines where few bundles are finished between them, or none is broken off.
    while kills < 8 or ((last < 5 or not in_the_middle) and kills < 100):
        kills += 1
        process = subprocess.Popen(
            [sys.executable, __file__, str(target)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.01 * (7 + kills)))  # a slow disk finishes one some time
            process.send_signal(signal.SIGKILL)
            process.wait()
        number = int(check_whole(target))
        assert number >= last
        for index in range(8):
            with np.load(target / f"reference/v{index}/graph.npz") as arrays:
                assert (arrays["weight"] == number).all()
        last = number
        in_the_middle += any(path != target for path in tmp_path.iterdir())
    assert last >= 5, "the writer hardly ever finished, so this proved nothing"
    assert in_the_middle, "no kill came in the middle, so this proved nothing"
    write_large(target, str(last + 1))
    assert check_whole(target) == str(last + 1)


if __name__ == "__main__":
    rewrite_for_ever(Path(sys.argv[1]))
