"""edge-vseg-train: what it starts from, what it records, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.zoo import pretrained, read_network, shipped, weights


@pytest.fixture
def cli(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edge-vseg-train", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            command.main()
        captured = capfd.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_command_trains_and_records_its_command_line(cli, camvid, tmp_path, caplog) -> None:
    arguments = (camvid, "-o", tmp_path / "run", "--network", "small", "--epochs", 1, "--json", "--threads", 1)
    arguments += ("--set", "crop_hw=[64,96]", "--set", "batch=3")
    code, out, _ = cli(*arguments)
    assert code == 0
    tree = json.loads(out)
    assert tree == json.loads((tmp_path / "run/result.json").read_text())
    assert set(tree["iou"]) >= {"sky", "bicyclist"}
    assert tree["commands"] == [
        "edge-vseg-train LAYOUT:DIR -o RUN --set network=small --set epochs=1 --set batch=3 --set 'crop_hw=[64,96]'"
        " --val val --start none"
    ]
    curves = cv2.imread(str(tmp_path / "run/curves.png"))
    assert curves is not None
    assert np.ptp(curves) > 100
    weights = (tmp_path / "run/weights.safetensors").read_bytes()
    code, out, _ = cli(*arguments)  # a finished run is evaluated once more
    assert (code, json.loads(out)) == (0, tree)
    assert "was finished before" in caplog.text
    code, _, err = cli(*arguments, "--start", "shipped")
    assert (code, "made from something else (--start)" in err) == (1, True)
    assert (tmp_path / "run/weights.safetensors").read_bytes() == weights


def test_thin_network_starts_from_the_middle_one(cli, camvid, tmp_path) -> None:
    """Distilled from it, with its context frozen: the recipe of the shipped one."""
    middle = weights.ASSETS / shipped()["middle"].file
    common = ("--epochs", 1, "--set", "crop_hw=[64,96]", "--set", "batch=3", "--threads", 1, "--json", camvid, "-o")
    thin = ("--network", "middle_thin", "--set", "frozen=1", "--set", "response=1", "--teacher", middle)
    code, out, _ = cli(*thin, "--start", middle, *common, tmp_path / "thin")
    assert code == 0
    (command_line,) = json.loads(out)["commands"]
    for words in ("network=middle_thin", "frozen=1", "--start assets/two_branch_middle", "--teacher assets/"):
        assert words in command_line
    made, teacher = read_network(tmp_path / "thin/weights.safetensors"), pretrained("middle")
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(made.context.branch(made.context.stem(image)), teacher.context(teacher.stem(image)))
    code, _, err = cli("--network", "middle_thin", "--start", weights.ASSETS / shipped()["small"].file, *common, "x")
    assert (code, "such as middle for middle_thin" in err) == (1, True)


def test_larger_network_starts_from_a_smaller_one(cli, camvid, tmp_path) -> None:
    common = ("--epochs", 1, "--set", "crop_hw=[64,96]", "--threads", 1, "--json", camvid, "-o")
    assert cli("--network", "small", *common, tmp_path / "small")[0] == 0
    for name, start in (("a", "weights.safetensors"), ("b", "checkpoint.pt")):
        code, out, _ = cli("--network", "middle", "--start", tmp_path / "small" / start, *common, tmp_path / name)
        assert code == 0
        assert json.loads(out)["commands"][0].endswith(f"--val val --start small/{start}")
    code, _, err = cli("--network", "small", "--start", tmp_path / "b/checkpoint.pt", *common, tmp_path / "c")
    assert (code, "cannot be grown to small" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "epochs"), "NAME=VALUE"),
        (("--set", "epoch=3"), "known: aged"),
        (("--set", "epochs=many"), "Expected `int`"),
        (("--set", "crop_hw=[50,64]"), "multiples of 32"),
        (("--network", "huge"), "small, middle, large"),
        (("--config", "none.json"), "none.json"),
        (("--device", "abacus"), "abacus"),
        (("--start", "none.safetensors"), "none.safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_invalid_options_print_one_line(cli, camvid, tmp_path, arguments, words) -> None:
    code, out, err = cli(camvid, "-o", tmp_path / "run", *arguments)
    assert (code, out) == (1, "")
    assert words in err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_is_told_before_the_data_are_read(cli, camvid, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(command, "read_training_data", lambda *_, **__: pytest.fail("the data are read"))
    (tmp_path / "file").write_text("")
    code, _, err = cli(camvid, "-o", tmp_path / "file/run")
    assert (code, "OutputError" in err, "cannot be written" in err) == (1, True, True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, err = cli(camvid, "-o", tmp_path / "run")
    assert (code, "Permission denied" in err) == (1, True)


def test_missing_dataset_is_named(cli, tmp_path) -> None:
    code, _, err = cli(tmp_path / "nowhere", "-o", tmp_path / "run")
    assert code == 1
    assert "there is no such folder" in err


def test_documentation_lists_every_option() -> None:
    page = (Path(__file__).parents[4] / "docs/training.md").read_text()
    assert [name for name in TrainConfig.__slots__ if f"| `{name}` |" not in page] == []
