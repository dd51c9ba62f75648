"""Folders of labels: what is in them, what is replaced, and that they are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.label_propagation import CarriedLabels, PropagationOptions
from edge_vseg.analysis.label_propagation.from_dataset import frame_rate, open_training_split, propagate_dataset
from edge_vseg.analysis.label_propagation.labelled_folder import LabelledFolder, write_labelled_folder
from edge_vseg.analysis.label_propagation.staged_folder import check_replaceable, stage_folder
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError, OutputError

LABELS = (Label(id=0, name="road", color=(1, 2, 3)), Label(id=1, name="Ärger / <b>", color=(4, 5, 6)))
IMAGE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def carried(value: int = 1) -> CarriedLabels:
    labels = np.full((6, 8), value, np.uint8)
    labels[0] = 255
    return CarriedLabels(labels=labels, confidence=np.where(labels == 255, 0, 0.6).astype(np.float32))


def write(out: Path, *, force: bool = False, value: int = 1) -> LabelledFolder:
    with write_labelled_folder(out, LABELS, 12.5, force=force) as folder:
        folder.begin_clip("../ein Film")
        folder.add("a/b", IMAGE, carried(value))
        folder.add("", IMAGE, CarriedLabels.given(carried(0).labels), given=True)
        folder.begin_clip("../EIN Film")
        folder.add("c", IMAGE, carried(value))
    return folder


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


def test_the_layout_folder_reads_it_back(tmp_path: Path) -> None:
    folder = write(tmp_path / "new" / "out")
    frames = open_dataset(f"folder:{tmp_path / 'new' / 'out'}")
    assert frames.labels == LABELS
    assert [(each.name, each.clip, each.time_s) for each in frames] == [
        ("000000_c", "_EIN_Film-2", 0.0),
        ("000000_a_b", "_ein_Film", 0.0),
        ("000001", "_ein_Film", 1 / 12.5),
    ]
    np.testing.assert_array_equal(frames[1].image, IMAGE)
    np.testing.assert_array_equal(frames[1].labels, carried().labels)
    path = tmp_path / "new/out/confidence/_ein_Film/000000_a_b.png"
    confidence = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert confidence is not None
    np.testing.assert_array_equal(confidence, np.rint(255 * carried().confidence))
    assert folder.record() == {
        "frames": 3,
        "given": 1,
        "made": 2,
        "clips": 2,
        "labelled_share": 5 / 6,
        "classes": {"road": 0.0, "Ärger / <b>": 1.0},
    }
    assert leftovers(tmp_path / "new") == []


def test_only_a_folder_of_its_own_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out)
    with pytest.raises(OptionError, match="--force"):
        write(out)
    write(out, force=True, value=0)
    assert (open_dataset(f"folder:{out}")[0].labels[1:] == 0).all()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="not a folder that this command wrote"):
        write(out, force=True)
    (out / "notes.txt").unlink()
    for path in sorted((out / "confidence").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (out / "confidence").rmdir()
    with pytest.raises(OptionError, match="not a folder that this command wrote"):
        write(out, force=True)  # labels that somebody drew look like that
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OptionError, match="is a file"):
        write(file, force=True)
    assert leftovers(tmp_path) == []


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    (tmp_path / "link").symlink_to(out)
    for source in (out, out / "images", tmp_path / "link"):
        with pytest.raises(OptionError, match="has what is read in it"):
            check_replaceable(out, force=True, sources=[source])
    check_replaceable(out, force=True, sources=[tmp_path / "outer"])


def _break_off(folder: LabelledFolder) -> None:
    raise KeyboardInterrupt


def _copy_what_is_gone(folder: LabelledFolder) -> None:
    folder.add("x", Path("gone.jpg"), carried())


def _copy_a_text(folder: LabelledFolder) -> None:
    folder.add("x", Path("classes.json"), carried())


@pytest.mark.parametrize(
    ("act", "error"),
    [(_break_off, KeyboardInterrupt), (_copy_what_is_gone, DatasetError), (_copy_a_text, DatasetError)],
)
def test_whole_or_not_at_all(tmp_path: Path, act: Callable[[LabelledFolder], None], error: type[BaseException]) -> None:
    out = tmp_path / "out"
    for force in (False, True):
        with pytest.raises(error), write_labelled_folder(out, LABELS, None, force=force) as folder:
            folder.begin_clip("clip")
            folder.add("a", IMAGE, carried(0))
            act(folder)
        assert leftovers(tmp_path) == []
        assert out.exists() == force
        if not force:
            write(out)
    assert (open_dataset(f"folder:{out}")[0].labels[1:] == 1).all(), "the old one"


def test_a_folder_without_new_labels_is_not_written(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetError, match="no frame got labels"),
        write_labelled_folder(tmp_path / "out", LABELS, None, force=False) as folder,
    ):
        folder.begin_clip("clip")
        folder.add("a", IMAGE, CarriedLabels.given(carried().labels), given=True)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_and_what_a_killed_one_left(tmp_path: Path) -> None:
    dead = tmp_path / ".out.0123abcd.partial"
    dead.mkdir()
    with stage_folder(tmp_path / "out", force=False) as staged:
        assert not dead.exists()
        (staged / "classes.json").write_text("[]")
        with pytest.raises(OptionError, match="another process"), stage_folder(tmp_path / "out", force=False):
            pass
    assert (tmp_path / "out" / "classes.json").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            write(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twelve frames of a bright square that moves, of which the third and the last have labels; and an image alone."""
    root = tmp_path / "data" / "train"
    for number in range(12):
        image = np.full((48, 64, 3), (200, 40, 40), np.uint8)
        image[12:36, 2 * number : 2 * number + 24] = (30, 30, 220)
        for kind in ("images", "labels"):
            (root / kind / "drive 1").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"images/drive 1/f{number:02d}.png"), image)
        if number in (2, 11):
            cv2.imwrite(str(root / f"labels/drive 1/f{number:02d}.png"), (image[..., 2] > 100).astype(np.uint8))
    (root / "images/alone.jpg").write_bytes((root / "images/drive 1/f02.png").read_bytes())
    (root / "labels/alone.png").write_bytes((root / "labels/drive 1/f02.png").read_bytes())
    (root / "images/unlabelled.png").write_bytes((root / "images/drive 1/f00.png").read_bytes())
    (tmp_path / "data" / "classes.json").write_text(json.dumps({"classes": ["ground", "square"], "rate": 15}))
    return tmp_path / "data"


def test_a_dataset_is_propagated(clip: Path, tmp_path: Path) -> None:
    frames = open_training_split(f"folder:{clip}")
    assert frames.split == "train"
    assert frame_rate(frames) == pytest.approx(15)
    done: list[int] = []
    with write_labelled_folder(tmp_path / "out", frames.labels, frame_rate(frames), force=False) as output:
        propagate_dataset(frames, output, PropagationOptions(reach=2), done.append)
    assert done == list(range(1, 10))
    made = open_dataset(f"folder:{tmp_path / 'out'}")
    names = [(each.clip, each.name) for each in made]
    assert names == [
        ("alone", "000000_alone"),
        *(("drive_1", f"{number:06d}_f{number:02d}") for number in range(5)),
        *(("drive_1-2", f"{number:06d}_f{number + 9:02d}") for number in range(3)),
    ]
    assert (tmp_path / "out/images/alone/000000_alone.jpg").read_bytes() == (
        clip / "train/images/alone.jpg"
    ).read_bytes()
    for each in made:
        kept = each.labels != 255
        assert kept.mean() > 0.5
        assert (each.labels[kept] == (each.image[..., 2][kept] > 100)).mean() > 0.99
    assert (output.given, output.made) == (3, 6)


def test_it_is_the_train_split_beside_another(clip: Path, tmp_path: Path) -> None:
    """As the page on datasets says."""
    frames, both = open_training_split(f"folder:{clip}"), tmp_path / "both"
    with write_labelled_folder(both / "train", frames.labels, None, force=False) as output:
        propagate_dataset(frames, output, PropagationOptions(reach=1), lambda done: None)
    (clip / "train").rename(both / "val")
    (clip / "classes.json").rename(both / "classes.json")
    assert len(open_dataset(f"folder:{both}:train")) == output.frames == 6
    assert len(open_dataset(f"folder:{both}:val")) == 14
