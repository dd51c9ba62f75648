"""Which classes are things, and how often each is pasted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import parse_labels
from edge_vseg.errors import OptionError
from edge_vseg.export.reference.training.batches import make_batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import check_run
from edge_vseg.export.reference.training.training_data import TrainingData, class_statistics

LABELS = parse_labels(["floor", "pallet", "Traffic-Cone"], "")
CONFIG = TrainConfig(batch=8, crop_hw=(64, 96), scale=(1, 1), pasted=1.0, aged=0, things=("pallet", "traffic cone"))


def frames() -> list[LabelledFrame]:
    """Fifty frames with a pallet, of which one has a cone as well."""
    found = []
    for number in range(50):
        labels = np.zeros((64, 256), np.uint8)
        labels[20:40, 20:40] = 1
        if number == 17:
            labels[20:40, 220:240] = 2
        found.append(LabelledFrame(image=np.zeros((*labels.shape, 3), np.uint8), labels=labels))
    return found


def test_things_are_those_of_the_option() -> None:
    data = TrainingData(train=frames(), val=(), labels=LABELS)
    assert data.things(("Pallet", "traffic_cone")) == (1, 2)
    assert data.things() == ()
    check_run(CONFIG, data, None)
    with pytest.raises(OptionError, match=r"none of the classes is called as one: .*say which are with things"):
        check_run(replace(CONFIG, things=None), data, None)
    with pytest.raises(OptionError, match="no class is called 'forklift'; give some of floor, pallet, Traffic-Cone"):
        check_run(replace(CONFIG, things=("pallet", "forklift")), data, None)
    with pytest.raises(OptionError, match="things says what is pasted, and nothing is"):
        check_run(replace(CONFIG, pasted=0.0), data, None)
    with pytest.raises(OptionError, match="things must name a class"):
        replace(CONFIG, things=())
    assert TrainConfig.from_tree({"things": ["cone"]}).things == ("cone",)


def test_rare_things_are_pasted_as_often_as_others() -> None:
    """The cone is in one of fifty frames, and in about half of the crops that get something."""
    data = TrainingData(train=frames(), val=(), labels=LABELS)
    statistics = class_statistics(data.train, 3)
    counts = np.zeros(3, int)
    with ThreadPoolExecutor(1) as pool:
        for step in range(12):
            with_donors = make_batch(CONFIG, data, step, pool, statistics)
            again = make_batch(CONFIG, data, step, pool, statistics)
            assert torch.equal(with_donors.labels, again.labels)
            assert torch.equal(with_donors.images, again.images)
            for crop in with_donors.labels:
                counts += [bool((crop == each).any()) for each in range(3)]
    assert counts[2] > 0.3 * 12 * CONFIG.batch


def test_without_statistics_any_frame_gives() -> None:
    data = TrainingData(train=frames(), val=(), labels=LABELS)
    with ThreadPoolExecutor(1) as pool:
        batch = make_batch(CONFIG, data, 0, pool)
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2, 255}
