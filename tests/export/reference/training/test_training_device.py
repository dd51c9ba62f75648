"""What a run does for its device, and how long it will take there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.errors import OptionError
from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training import loop
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import train
from edge_vseg.export.reference.training.objective import losses
from edge_vseg.export.reference.training.plan import plan_training
from edge_vseg.export.reference.training.run_sources import RunSources
from edge_vseg.export.reference.training.training_data import TrainingData

CONFIG = TrainConfig(network="small", epochs=1, batch=2, crop_hw=(64, 96))
READING_S = 0.3


@pytest.fixture
def data(camvid: Path) -> TrainingData:
    return TrainingData(
        train=list(open_dataset(f"camvid:{camvid}:train")), val=list(open_dataset(f"camvid:{camvid}:val"))
    )


class SlowFrames(Sequence[LabelledFrame]):
    """Frames that are read again for every crop, from a slow disk."""

    def __getitem__(self, index: int) -> LabelledFrame:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        time.sleep(READING_S)
        rng = np.random.default_rng(index)
        return LabelledFrame(
            image=rng.integers(0, 255, (64, 96, 3), np.uint8), labels=rng.integers(0, 11, (64, 96), np.uint8)
        )

    def __len__(self) -> int:
        return 2


def test_a_plan_counts_the_making_of_batches() -> None:
    plan = plan_training(CONFIG, TrainingData(train=SlowFrames(), val=()))
    assert plan.step_s > READING_S, "two frames a step, one after the other"


def test_a_plan_waits_for_no_other_device_than_its_own(data) -> None:
    """A name other than ``cpu`` need not be one of CUDA."""
    assert plan_training(CONFIG, data, device="cpu:0").step_s > 0


def test_a_run_asks_for_repeatable_kernels(data, tmp_path, monkeypatch) -> None:
    entered: list[str] = []

    @contextmanager
    def repeatable(device: str) -> Iterator[None]:
        entered.append(device)
        yield
        entered.append("left")

    def step_losses(*arguments: object) -> dict[str, torch.Tensor]:
        assert entered == ["cpu"]
        return losses(*arguments)

    monkeypatch.setattr(loop, "repeatable", repeatable)
    monkeypatch.setattr(loop, "losses", step_losses)
    train(CONFIG, data, tmp_path)
    assert entered == ["cpu", "left"]


@pytest.mark.parametrize("where", ["a run", "a plan"])
def test_a_full_gpu_is_named(data, tmp_path, monkeypatch, where) -> None:
    def full(*_: object) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(loop, "losses", full)
    with pytest.raises(OptionError, match=r"memory does not suffice .*; free some, or give --device cpu, or begin"):
        train(CONFIG, data, tmp_path) if where == "a run" else plan_training(CONFIG, data)


def test_weights_are_judged_on_the_device_of_the_run(data, tmp_path, monkeypatch) -> None:
    """On ``meta`` for want of another; nothing is computed there."""
    path = train(CONFIG, data, tmp_path)
    seen: list[str] = []

    def evaluate(network: torch.nn.Module, frames: Sequence[LabelledFrame], classes: int) -> Confusion:
        seen.extend({value.device.type for value in network.parameters()})
        return Confusion(classes)

    monkeypatch.setattr(command, "evaluate_network", evaluate)
    sources = RunSources(split="train", val=None, classes=None, start="none", teacher=None, videos=())
    command._write_result(path, TrainingData(train=data.train, val=()), CONFIG, sources, "meta")
    assert seen == ["meta"]
