"""Training with a frozen context: it stays as it was, batch statistics too, and the thin path learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.errors import OptionError
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import train
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.zoo import MIDDLE_THIN, pretrained, read_network
from edge_vseg.export.reference.zoo.own_stem import with_own_stem

CONFIG = TrainConfig(
    network="middle_thin", epochs=1, batch=3, crop_hw=(64, 96), aged=1.0, frozen=1, learning_rate=3e-3, auxiliary=0.0
)


@pytest.fixture
def data(camvid: Path) -> TrainingData:
    return TrainingData(train=list(open_dataset(f"camvid:{camvid}:train")), val=())


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_context_stays_bit_for_bit(data, tmp_path, frozen: int) -> None:
    before = with_own_stem(pretrained("middle"), MIDDLE_THIN).state_dict()
    path = train(replace(CONFIG, frozen=frozen), data, tmp_path, start=before)
    after = read_network(path).state_dict()
    kept = [key for key in before if key.startswith(("context.stem.", "context.branch."))]
    same = [torch.equal(before[key], after[key]) for key in kept]
    assert all(same) == bool(frozen)
    others = [key for key in before if key not in kept and before[key].is_floating_point()]
    moved = [not torch.allclose(before[key], after[key], rtol=2e-3, atol=2e-3) for key in others]
    assert any(m for m, key in zip(moved, others, strict=True) if key.startswith("context.head."))
    assert any(m for m, key in zip(moved, others, strict=True) if key.startswith("detail."))


def test_a_network_with_one_stem_can_be_frozen(data, tmp_path) -> None:
    before = pretrained("small").state_dict()
    path = train(replace(CONFIG, network="small"), data, tmp_path, start=before)
    after = read_network(path).state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("detail.") for key in changed)


def test_frozen_is_yes_or_no() -> None:
    with pytest.raises(OptionError, match="frozen must be 0 or 1, got 2"):
        TrainConfig(frozen=2)
