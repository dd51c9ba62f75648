"""Labels that are more or less sure: what their confidence, read from a plain folder, does to the losses of a step."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.training import own_data
from edge_vseg.export.reference.training.augment import paste_things
from edge_vseg.export.reference.training.batches import Batch, make_batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.losses import jaccard_loss, label_loss
from edge_vseg.export.reference.training.objective import Trainee, losses
from edge_vseg.export.reference.training.own_data import read_training_data
from edge_vseg.export.reference.training.run_sources import data_fingerprints
from edge_vseg.export.reference.training.training_data import class_statistics
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

SIZE_HW = (64, 96)
OPTIONS = {
    "cross-entropy": {},
    "hardest": {"hard_share": 0.5},
    "borders": {"boundary": 1.0},
    "relaxed": {"relaxed": 1},
    "lovasz": {"jaccard": 1.0},
    "pasted": {"pasted": 1.0, "things": ("car",)},
}


def write_frames(root: Path, confidence: int | None, wrong: int) -> Path:
    """Four frames of three classes, whose left third has labels of this class and this confidence."""
    rng = np.random.default_rng(0)
    root.mkdir()
    (root / "classes.json").write_text(json.dumps(["road", "car", "sky"]))
    for number in range(4):
        labels = cv2.resize(rng.integers(0, 3, (4, 6), np.uint8), SIZE_HW[::-1], interpolation=cv2.INTER_NEAREST)
        image = (60 * labels[..., None] + rng.integers(0, 40, (*SIZE_HW, 3))).astype(np.uint8)
        labels[:, :32] = wrong
        sure = np.full(SIZE_HW, 255, np.uint8)
        sure[:, :32] = 0 if confidence is None else confidence
        kinds = {"images": image, "labels": labels} | ({} if confidence is None else {"confidence": sure})
        for kind, picture in kinds.items():
            (root / "train" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "train" / kind / f"{number}.png"), picture)
    return root


def step_losses(folder: Path, **options: object) -> dict[str, torch.Tensor]:
    """Of the first step of a training on a folder, always with the same weights."""
    config = TrainConfig(network="small", batch=4, crop_hw=SIZE_HW, aged=0, **options)
    data = read_training_data(f"folder:{folder}", config, val="none")
    with ThreadPoolExecutor(1) as pool:
        batch: Batch = make_batch(config, data, 0, pool, class_statistics(data.train, 3) if config.pasted else None)
    torch.manual_seed(0)
    trainee = Trainee(TwoBranch(replace(SPECS["small"], classes=3))).eval()
    return losses(trainee, batch, config, torch.tensor([1.0, 2.0, 3.0]), None)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_label_of_confidence_0_has_no_influence_and_one_of_255_the_whole(
    tmp_path: Path, options: dict[str, object]
) -> None:
    wrong, others = (write_frames(tmp_path / f"zero{label}", 0, label) for label in (1, 255))
    without, whole = write_frames(tmp_path / "without", None, 1), write_frames(tmp_path / "whole", 255, 1)
    half = write_frames(tmp_path / "half", 128, 1)
    none, nothing, all_of_it, plain, some = (
        step_losses(each, **options) for each in (wrong, others, without, whole, half)
    )
    torch.testing.assert_close(none, nothing, rtol=0, atol=0)
    torch.testing.assert_close(all_of_it, plain, rtol=1e-5, atol=1e-6)
    assert sum(none.values()) != sum(plain.values())
    assert sum(some.values()) not in (sum(none.values()), sum(plain.values()))
    alike = step_losses(half, confidence=0, **options)
    torch.testing.assert_close(alike, all_of_it, rtol=1e-5, atol=1e-6)


def test_the_label_loss_is_a_mean_weighted_by_confidence() -> None:
    torch.manual_seed(0)
    scores, weights = torch.randn(1, 3, 8, 8), torch.tensor([1.0, 2.0, 3.0])
    labels, sure = torch.randint(0, 3, (1, 16, 16)), torch.rand(1, 16, 16)
    small, weight = labels[:, ::2, ::2], sure[:, ::2, ::2] * weights[labels[:, ::2, ::2]]
    each = functional.cross_entropy(scores, small, reduction="none")
    torch.testing.assert_close(
        label_loss(scores, labels, weights, confidence=sure), (each * weight).sum() / weight.sum()
    )


def test_the_lovasz_loss_of_hard_predictions_is_one_minus_the_iou_of_weighted_pixels() -> None:
    torch.manual_seed(0)
    found, labels, sure = torch.randint(0, 2, (1, 8, 8)), torch.randint(0, 2, (1, 8, 8)), torch.rand(1, 8, 8)
    scores = 100.0 * functional.one_hot(found, 2).movedim(-1, 1).float()
    ious = [
        sure[(found == each) & (labels == each)].sum() / sure[(found == each) | (labels == each)].sum()
        for each in (0, 1)
    ]
    torch.testing.assert_close(jaccard_loss(scores, labels, sure), 1 - torch.stack(ious).mean())


def test_a_pasted_object_keeps_its_confidence() -> None:
    labels, donor_labels = np.zeros((2, *SIZE_HW), np.uint8)
    donor_labels[20:40, 30:50] = 1
    sure, donor_sure = np.full(SIZE_HW, 200, np.uint8), np.full(SIZE_HW, 70, np.uint8)
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    rng = np.random.default_rng(0)
    _, pasted, confidence = paste_things(image, labels, image, donor_labels, (1,), rng, (sure, donor_sure))
    assert confidence is not None
    assert (pasted == 1).any()
    np.testing.assert_array_equal(confidence, np.where(pasted == 1, 70, 200))


def test_a_run_does_not_go_on_with_another_confidence(tmp_path: Path) -> None:
    data = [
        read_training_data(f"folder:{write_frames(tmp_path / str(each), each, 1)}", TrainConfig(), val="none")
        for each in (128, 129)
    ]
    first, second = map(data_fingerprints, data)
    assert first != second


@pytest.mark.parametrize("changed", ["confidence", "labels"])
def test_nor_where_the_frames_do_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    monkeypatch.setattr(own_data, "MAX_HELD_BYTES", 1)
    first, alike, other = (write_frames(tmp_path / str(each), 128, 1) for each in range(3))
    picture = other / "train" / changed / "2.png"
    values = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    values[0, 0] ^= 1
    cv2.imwrite(str(picture), values)
    # With a class more the labels have other ids, and are read through a table.
    labels = tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(["sky", "bird", "car", "road"]))
    for wanted in (None, labels):
        found = [
            data_fingerprints(read_training_data(f"folder:{each}", TrainConfig(), labels=wanted, val="none"))
            for each in (first, alike, other)
        ]
        assert found[0] == found[1]
        assert [name for name in found[0] if found[0][name] != found[2][name]] == ["the training labels"]


def test_what_is_no_confidence_of_the_labels_is_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "data", 128, 1)
    path = folder / "train/confidence/0.png"
    cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))
    with pytest.raises(DatasetError, match=r"confidence/0\.png is \(8, 8\), its image \(64, 96\)"):
        open_dataset(f"folder:{folder}:train")[0]
    path.rename(path.with_suffix(".jpg"))
    with pytest.raises(DatasetError, match="save label maps and their confidence as PNG"):
        open_dataset(f"folder:{folder}:train")
    with pytest.raises(OptionError, match="confidence must be 0 or 1"):
        TrainConfig(confidence=2)
