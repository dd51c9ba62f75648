"""Whole runs of a few steps: they learn, they can be stopped, and the command line says what is wrong."""

from __future__ import annotations

import csv
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.bundle.labels import parse_labels
from edge_vseg.errors import DatasetError, OptionError, TrainingError, WeightsError
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.training import loop
from edge_vseg.export.reference.training.checkpoint import read_average
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import TrainingProgress, train
from edge_vseg.export.reference.training.objective import losses
from edge_vseg.export.reference.training.run_folder import run_folder
from edge_vseg.export.reference.training.streets import render_streets
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.video_pairs import FramePair
from edge_vseg.export.reference.zoo import SMALL, TwoBranch, read_network

CONFIG = TrainConfig(network="small", epochs=12, batch=2, crop_hw=(64, 96), evaluate_every=3, learning_rate=3e-3)


@pytest.fixture
def data(camvid: Path) -> TrainingData:
    return TrainingData(
        train=list(open_dataset(f"camvid:{camvid}:train")), val=list(open_dataset(f"camvid:{camvid}:val"))
    )


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return read_network(path).state_dict()


def test_run_reduces_the_loss_and_writes_its_files(data, tmp_path) -> None:
    progress = []
    path = train(CONFIG, data, tmp_path / "run", on_step=progress.append)
    assert [now.step for now in progress] == list(range(1, 37))
    assert progress[-1].steps == 36
    with (tmp_path / "run/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [9, 18, 27, 36]
    assert float(rows[-1]["loss_labels"]) < 0.8 * float(rows[0]["loss_labels"])
    assert float(rows[-1]["miou"]) == pytest.approx(progress[-1].miou, abs=0.01)
    assert read_network(path).spec == SMALL
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "log.csv", "weights.safetensors"]


def test_resumed_run_equals_an_uninterrupted_one(data, tmp_path, monkeypatch) -> None:
    config = replace(CONFIG, epochs=3)
    whole = train(config, data, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(now) -> None:
        if now.step == 4:
            raise Stop

    monkeypatch.setattr("edge_vseg.export.reference.training.loop.CHECKPOINT_PERIOD_S", 0.0)
    with pytest.raises(Stop):
        train(config, data, tmp_path / "halves", on_step=stop)
    assert not (tmp_path / "halves/weights.safetensors").exists()
    progress = []
    halves = train(config, data, tmp_path / "halves", on_step=progress.append)
    assert progress[0].step == 5
    for key, value in weights_of(whole).items():
        assert torch.equal(weights_of(halves)[key], value), key


@pytest.fixture
def ordinary_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def fail_in_step(monkeypatch: pytest.MonkeyPatch, number: int, happen: Callable[[], None]) -> None:
    """Have something happen in the middle of a step: batch statistics are already new, weights still old."""
    calls = []

    def interrupted(*arguments: object) -> dict[str, torch.Tensor]:
        found = losses(*arguments)
        calls.append(1)
        if len(calls) == number:
            happen()
        return found

    monkeypatch.setattr(loop, "losses", interrupted)


@pytest.mark.serial  # a worker of pytest-xdist may die of the signal
@pytest.mark.usefixtures("ordinary_handler")
@pytest.mark.parametrize("moment", ["within a step", "between steps"])
def test_ctrl_c_loses_no_step(data, tmp_path, monkeypatch, moment) -> None:
    config = replace(CONFIG, epochs=2)
    whole = train(config, data, tmp_path / "whole")

    def between(now: TrainingProgress) -> None:
        if now.step == 3 and moment == "between steps":
            signal.raise_signal(signal.SIGINT)

    if moment == "within a step":
        fail_in_step(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "halves", on_step=between)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "halves").iterdir()] == ["checkpoint.pt"]
    progress = []
    halves = train(config, data, tmp_path / "halves", on_step=progress.append)
    assert progress[0].step == 4
    assert weights_of(halves).keys() == weights_of(whole).keys()
    for key, value in weights_of(whole).items():
        assert torch.equal(weights_of(halves)[key], value), key


@pytest.mark.parametrize(("every_s", "kept"), [(120.0, False), (0.0, True)], ids=["none", "older"])
def test_unfinished_step_is_not_saved(data, tmp_path, monkeypatch, every_s, kept) -> None:
    """An error within a step leaves the checkpoint before it, or none if there was none."""

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "CHECKPOINT_PERIOD_S", every_s)
    fail_in_step(monkeypatch, 3, fail)
    with pytest.raises(MemoryError):
        train(replace(CONFIG, epochs=2), data, tmp_path)
    assert (tmp_path / "checkpoint.pt").exists() == kept
    if kept:
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_error_between_steps_saves_a_checkpoint(data, tmp_path) -> None:
    def fail(now: TrainingProgress) -> None:
        if now.step == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(replace(CONFIG, epochs=2), data, tmp_path, on_step=fail)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_error_before_the_first_step_writes_nothing(data, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "batches", fail)
    with pytest.raises(ZeroDivisionError):
        train(CONFIG, data, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("whose", "advice"), [("weights", "lower learning_rate"), ("teacher", "the teacher's scores")])
def test_numbers_that_run_away_end_the_run(data, tmp_path, monkeypatch, whose, advice) -> None:
    """The checkpoint of the step before stays."""
    config = replace(CONFIG, epochs=2, response=1.0)
    teacher = TwoBranch(SMALL)

    def break_it(now: TrainingProgress) -> None:
        if now.step == 2 and whose == "teacher":
            next(teacher.parameters()).fill_(torch.nan)

    if whose == "weights":
        monkeypatch.setattr(loop, "learning_rate", lambda _, step, __: 1e30 if step == 1 else 1e-3)
    monkeypatch.setattr(loop, "CHECKPOINT_PERIOD_S", 0.0)
    with pytest.raises(TrainingError, match=rf"not a finite number at step 3; {advice}"):
        train(config, data, tmp_path, teacher=teacher, on_step=break_it)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_folder_is_for_one_run(data, tmp_path) -> None:
    folder = tmp_path / "run"
    with run_folder(folder):
        program = "import sys, fcntl, os; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", program, folder], capture_output=True, check=False).returncode == 1
    assert not folder.exists(), "nothing was written to it"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(OptionError, match="another training is running"):
            train(CONFIG, data, folder)
    finally:
        os.close(descriptor)


def test_other_options_or_a_damaged_checkpoint_raise(data, tmp_path) -> None:
    config = replace(CONFIG, epochs=1)
    train(config, data, tmp_path, sources={"--teacher": "a"})
    with pytest.raises(OptionError, match=r"\(epochs, seed\).*another folder"):
        train(replace(config, epochs=2, seed=1), data, tmp_path)
    (first, *others) = data.train
    relabelled = replace(first, labels=255 - first.labels)
    for changed, what in (
        (replace(data, train=[relabelled, *others]), "the training frames"),
        (replace(data, val=data.val[:2]), r"the validation frames \(--val\)"),
    ):
        with pytest.raises(OptionError, match=rf"made from something else \({what}\)"):
            train(config, changed, tmp_path)
    with pytest.raises(OptionError, match=r"made from something else \(--teacher\)"):
        train(config, data, tmp_path, sources={"--teacher": "b"})
    path = tmp_path / "checkpoint.pt"
    tree = torch.load(path, weights_only=True)
    del tree["sources"]  # as earlier versions wrote it
    torch.save(tree, path)
    train(config, replace(data, val=data.val[:2]), tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="delete it"):
        train(config, data, tmp_path)


def evaluations(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["miou"]) for row in csv.DictReader(file)]


def test_weights_of_the_best_evaluation_are_kept(data, tmp_path, monkeypatch) -> None:
    """Also when the run is stopped after it; the mIoU of each evaluation is given."""
    found = iter([10.0, 30.0, 20.0, 30.0])
    monkeypatch.setattr(loop, "iou_row", lambda _: {"miou": next(found)})
    config = replace(CONFIG, epochs=4, evaluate_every=1, keep="best")
    averages: list[dict[str, torch.Tensor]] = []

    def record_average(network: TwoBranch, *_: object) -> None:
        averages.append({name: value.clone() for name, value in network.state_dict().items()})

    monkeypatch.setattr(loop, "evaluate_network", record_average)

    class Stop(Exception):
        pass

    def stop(now: TrainingProgress) -> None:
        if now.step == 8:
            raise Stop

    with pytest.raises(Stop):
        train(config, data, tmp_path, on_step=stop)
    path = train(config, data, tmp_path)
    assert evaluations(tmp_path) == [10, 30, 20, 30]
    for name, value in weights_of(path).items():  # the first of two that are as good
        torch.testing.assert_close(value.float(), averages[1][name].float(), rtol=2e-3, atol=2e-3)
    with pytest.raises(OptionError, match="keep=best needs validation frames"):
        train(config, replace(data, val=()), tmp_path / "blind")
    assert not (tmp_path / "blind").exists()


def test_new_run_starts_from_a_checkpoint(data, tmp_path) -> None:
    weights = read_network(train(CONFIG, data, tmp_path / "a")).state_dict()
    average = dict(read_average(tmp_path / "a/checkpoint.pt").state_dict())
    assert set(average) == set(weights)
    for name, value in average.items():  # the file has them in float16
        torch.testing.assert_close(value.float(), weights[name].float(), rtol=2e-3, atol=2e-3)
    train(replace(CONFIG, seed=5), data, tmp_path / "b", start=average)
    tree = torch.load(tmp_path / "a/checkpoint.pt", weights_only=True)
    for config in ("{}", '{"network": "gone"}', '{"network": "large"}'):
        torch.save({**tree, "config": config}, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match="not hold a reference network; give another file"):
            read_average(tmp_path / "other.pt")
    (tmp_path / "a/checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=r"damaged; give another file with --start"):
        read_average(tmp_path / "a/checkpoint.pt")
    with pytest.raises(WeightsError, match="does not exist"):
        read_average(tmp_path / "gone.pt")


def test_all_losses_are_logged(data, tmp_path) -> None:
    config = replace(
        CONFIG,
        epochs=1,
        streets=8,
        streets_share=0.5,
        response=1.0,
        feature=1.0,
        relation=1.0,
        consistency=1.0,
        pairs=1,
        hard_share=0.5,
        jaccard=1.0,
        optimizer="sgd",
        schedule="one-cycle",
        evaluate_every=1,
    )
    with_streets = replace(data, streets=render_streets(config))
    torch.manual_seed(3)
    train(config, with_streets, tmp_path, teacher=TwoBranch(SMALL))
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    for name in ("labels", "auxiliary", "jaccard", "response", "feature", "relation", "consistency", "total"):
        assert f"loss_{name}" in header


@pytest.mark.parametrize("size_hw", [(192, 256), (288, 256), (64, 384)])
def test_streets_smaller_than_a_crop_make_no_pairs(data, tmp_path, size_hw) -> None:
    """The command line renders them large enough; from Python they may come from anywhere."""
    config = replace(CONFIG, crop_hw=(96, 288), consistency=1.0, pairs=1)
    small = list(render_street(StreetOptions(size_hw=size_hw), 2))
    with pytest.raises(OptionError, match=rf"cropped to 96x288 .*streets of {size_hw[0]}x{size_hw[1]}; make them"):
        train(config, replace(data, streets=small), tmp_path)
    video = [FramePair(present=street.image, previous=street.image, motion=None, visible=None) for street in small]
    with pytest.raises(OptionError, match="pairs of video frames"):
        train(config, replace(data, pairs=video), tmp_path)


def test_start_weights_and_teacher_are_checked(data, tmp_path) -> None:
    with pytest.raises(WeightsError, match="do not fit network small"):
        train(CONFIG, data, tmp_path, start={"a": torch.zeros(1)})
    with pytest.raises(OptionError, match="needs a teacher"):
        train(replace(CONFIG, response=1.0), data, tmp_path)
    with pytest.raises(OptionError, match="needs a teacher"):
        train(CONFIG, data, tmp_path, teacher=TwoBranch(SMALL))
    with pytest.raises(OptionError, match="no training frames"):
        train(CONFIG, replace(data, train=[]), tmp_path)
    blank = [replace(frame, labels=np.full_like(frame.labels, 255)) for frame in data.val]
    with pytest.raises(DatasetError, match="no pixel of the 3 validation frames has one of the classes"):
        train(CONFIG, replace(data, val=blank), tmp_path)
    with pytest.raises(OptionError, match=r"none of the classes is called as one: animal, .*; set pasted=0"):
        train(replace(CONFIG, pasted=0.5), replace(data, labels=parse_labels(["lawn", "gnome"], "")), tmp_path)
    assert list(tmp_path.iterdir()) == []
