"""A run that is stopped in an evaluation makes up for it, and ends as one that was not stopped."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training import loop
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import train
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.validation import evaluate_network
from edge_vseg.export.reference.zoo import read_network


@pytest.fixture
def data(camvid: Path) -> TrainingData:
    return TrainingData(
        train=list(open_dataset(f"camvid:{camvid}:train")), val=list(open_dataset(f"camvid:{camvid}:val"))
    )


def stopped_at(number: int) -> Callable[..., object]:
    """An evaluation in which Ctrl-C comes, the ``number``-th time."""
    calls = []

    def evaluate(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return evaluate_network(*arguments)

    return evaluate


def rows(folder: Path) -> list[dict[str, str]]:
    """The log but for the times."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "s_per_step"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("number", [1, 2], ids=["between steps", "at the end"])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_stopped_evaluation_is_made_up_for(data, tmp_path, monkeypatch, keep, number) -> None:
    config = TrainConfig(network="small", epochs=4, batch=2, crop_hw=(64, 96), evaluate_every=2, keep=keep)
    miou = [30.0, 20.0] if number == 1 else [20.0, 30.0]  # the stopped one is the best

    def run(folder: str) -> Path:
        return train(config, data, tmp_path / folder)

    found = iter(2 * miou)
    monkeypatch.setattr(loop, "iou_row", lambda _: {"miou": next(found)})
    whole = run("whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_network", stopped_at(number))
        with pytest.raises(KeyboardInterrupt):
            run("parts")
    parts = run("parts")
    assert [(row["step"], float(row["miou"])) for row in rows(parts.parent)] == [("6", miou[0]), ("12", miou[1])]
    assert rows(parts.parent) == rows(whole.parent)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_run_that_is_killed_in_an_evaluation_has_the_steps_before(data, tmp_path, monkeypatch) -> None:
    steps = []

    def evaluate(*arguments: object) -> object:
        steps.append(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"])
        return evaluate_network(*arguments)

    monkeypatch.setattr(loop, "evaluate_network", evaluate)
    train(TrainConfig(network="small", epochs=4, batch=2, crop_hw=(64, 96), evaluate_every=2), data, tmp_path)
    assert steps == [6, 12]
    page = (Path(__file__).parents[4] / "docs/training.md").read_text()
    assert f"every {loop.CHECKPOINT_PERIOD_S:g} seconds" in page


def test_a_killed_run_counts_no_loss_twice(data, tmp_path, monkeypatch) -> None:
    """The checkpoint is from before the evaluation, whose row is in the log already."""
    config = TrainConfig(network="small", epochs=4, batch=2, crop_hw=(64, 96), evaluate_every=2)
    whole = train(config, data, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_network", stopped_at(1))
        with pytest.raises(KeyboardInterrupt):
            train(config, data, tmp_path / "killed")
    tree = torch.load(tmp_path / "killed/checkpoint.pt", weights_only=True)
    assert (tree["step"], tree["losses"]["steps"]) == (6, 6)
    (tmp_path / "killed/log.csv").write_text((whole.parent / "log.csv").read_text())
    train(config, data, tmp_path / "killed")
    assert rows(tmp_path / "killed") == rows(whole.parent)


def test_a_log_of_another_run_tells_nothing(data, tmp_path, monkeypatch) -> None:
    """Its checkpoint was deleted to begin again, its log was not."""
    config = TrainConfig(network="small", epochs=2, batch=2, crop_hw=(64, 96), evaluate_every=1)
    train(config, data, tmp_path / "run")
    (tmp_path / "run/checkpoint.pt").unlink()
    other = replace(config, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_network", stopped_at(1))
        with pytest.raises(KeyboardInterrupt):
            train(other, data, tmp_path / "run")
    train(other, data, tmp_path / "run")
    train(other, data, tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_same_command_ends_what_was_stopped_in_the_only_evaluation(
    camvid, tmp_path, monkeypatch, capfd, caplog, keep
) -> None:
    def run() -> tuple[int, str]:
        words = ["edge-vseg-train", str(camvid), "-o", str(tmp_path / "run"), "--network", "small", "--epochs", "1"]
        words += ["--set", "crop_hw=[64,96]", "--set", "batch=3", "--set", f"keep={keep}", "--json", "--threads", "1"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), capfd.readouterr().out

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_network", stopped_at(1))
        assert run()[0] == 130
    assert [path.name for path in folder.iterdir()] == ["checkpoint.pt"]
    code, out = run()
    assert code == 0
    assert "finished before" not in caplog.text
    (row,) = rows(folder)
    assert float(row["miou"]) == pytest.approx(json.loads(out)["miou"], abs=0.5)
    assert float(row["loss_labels"]) > 0
    assert read_network(folder / "weights.safetensors").spec.name == "small"
    assert (folder / "curves.png").stat().st_size > 0
    tree = torch.load(folder / "checkpoint.pt", weights_only=True)
    del tree["losses"]  # as earlier versions wrote it, and left it so
    torch.save(tree, folder / "checkpoint.pt")
    (folder / "log.csv").unlink()
    assert run()[0] == 0
    (row,) = rows(folder)
    assert "loss_labels" not in row
