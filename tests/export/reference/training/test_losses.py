"""Losses and schedules against numbers worked out otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch.nn import functional

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.errors import OptionError
from edge_vseg.export.reference.training.batches import batches, make_batch
from edge_vseg.export.reference.training.checkpoint import Average
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.losses import (
    consistency_loss,
    feature_loss,
    jaccard_loss,
    label_loss,
    near_border,
    relation_loss,
    relaxed_loss,
    response_loss,
)
from edge_vseg.export.reference.training.objective import Trainee, losses, run_stages
from edge_vseg.export.reference.training.schedule import learning_rate
from edge_vseg.export.reference.training.streets import neighbours, render_streets
from edge_vseg.export.reference.training.training_data import TrainingData, class_statistics
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_label_loss_is_weighted_cross_entropy_at_half_size() -> None:
    scores, weights = torch.randn(2, 4, 8, 8), torch.tensor([1.0, 2.0, 3.0, 4.0])
    labels = torch.randint(0, 4, (2, 16, 16))
    labels[0, :4] = 255
    small = torch.stack((labels[0, ::2, ::2], labels[1, 1::2, 1::2]))
    valid = small != 255
    probabilities = functional.softmax(scores, 1).permute(0, 2, 3, 1)[valid]
    each = -torch.log(probabilities[torch.arange(len(probabilities)), small[valid]])
    expected = (each * weights[small[valid]]).sum() / weights[small[valid]].sum()
    torch.testing.assert_close(label_loss(scores, labels, weights), expected)


@pytest.mark.parametrize("loss", [lambda s, y: label_loss(s, y, torch.ones(3)), jaccard_loss], ids=["label", "jaccard"])
def test_a_mirrored_crop_has_the_same_loss(loss: Callable[..., torch.Tensor]) -> None:
    """Labels taken beside the centre of their cell, always on one side, teach a map that is shifted to that side."""
    scores, labels = torch.randn(1, 3, 8, 8).repeat(2, 1, 1, 1), torch.randint(0, 3, (1, 32, 32)).repeat(2, 1, 1)
    torch.testing.assert_close(loss(scores.flip(2, 3), labels.flip(1, 2)), loss(scores, labels))


def test_only_the_hardest_pixels_are_used() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[0, 0] = torch.tensor([[5.0, 1.0], [0.0, -3.0]])  # truth is class 0: the last pixel is the hardest
    labels, weights = torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(2)
    hardest = label_loss(scores, labels, weights, hard_share=0.25)
    torch.testing.assert_close(hardest, torch.log(1 + torch.exp(torch.tensor(3.0))))
    labels[:, 2:, :] = 255  # of the two that are left, the second is the harder
    half = label_loss(scores, labels, weights, hard_share=0.5)
    torch.testing.assert_close(half, torch.log(1 + torch.exp(torch.tensor(-1.0))))


def test_unlabelled_pixels_have_no_loss() -> None:
    labels = torch.full((1, 4, 4), 255)
    assert label_loss(torch.randn(1, 3, 2, 2), labels, torch.ones(3), hard_share=0.5) == 0


@pytest.mark.parametrize("options", [{}, {"hard_share": 0.5}, {"boundary": 1.0}, {"relaxed": 1}])
def test_a_batch_without_any_label_moves_no_weight(options: dict[str, float]) -> None:
    """The mean over no pixel would be NaN, and with it every weight from then on."""
    scores = torch.randn(2, 3, 8, 8, requires_grad=True)
    loss = label_loss(scores, torch.full((2, 16, 16), 255), torch.ones(3), **options)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (scores.grad == 0).all()


def test_jaccard_loss_of_hard_predictions_is_one_minus_iou() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 3, (2, 2, 8, 8))
    truth[0, 0, :4] = 255
    scores = 100.0 * functional.one_hot(torch.from_numpy(found), 4).movedim(-1, 1).float()
    counted = truth != 255
    expected = 1 - jaccard_score(truth[counted], found[counted], average="macro")
    labels = torch.from_numpy(truth).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert float(jaccard_loss(scores, labels)) == pytest.approx(expected, abs=1e-5)


def test_jaccard_loss_decreases_along_its_gradient() -> None:
    scores, labels = torch.randn(1, 3, 8, 8, requires_grad=True), torch.randint(0, 3, (1, 8, 8))
    before = jaccard_loss(scores, labels)
    before.backward()
    assert jaccard_loss(scores - 50 * scores.grad, labels) < before
    assert jaccard_loss(scores, torch.full((1, 8, 8), 255)) == 0


def test_distillation_is_zero_for_equal_outputs_and_positive_otherwise() -> None:
    scores, features = torch.randn(2, 5, 8, 8), torch.randn(2, 6, 8, 8)
    assert response_loss(scores, scores).abs() < 1e-5
    assert feature_loss(features, features * 3) < 1e-10, "only where it is strong counts, not how strong"
    assert relation_loss(features, features * 3) < 1e-10
    assert response_loss(scores, torch.randn(2, 5, 8, 8)) > 0.1
    assert feature_loss(features, torch.randn(2, 9, 8, 8)) > 0.01
    assert relation_loss(features, torch.randn(2, 9, 8, 8)) > 0.01


def test_response_loss_by_hand() -> None:
    student, teacher = torch.tensor([0.0, 2.0]), torch.tensor([2.0, 0.0])
    p, q = (np.exp(v / 2) / np.exp(v / 2).sum() for v in (teacher.numpy(), student.numpy()))
    expected = 4 * float((p * np.log(p / q)).sum())
    shape = (1, 2, 1, 1)
    assert float(response_loss(student.reshape(shape), teacher.reshape(shape))) == pytest.approx(expected, rel=1e-5)


def test_consistency_uses_visible_pixels_only() -> None:
    scores, warped = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    visible = torch.zeros(1, 4, 4)
    assert consistency_loss(scores, warped, visible) == 0
    visible[0, 1, 2] = 1
    one = (scores.softmax(1) - warped.softmax(1))[0, :, 1, 2].square().sum()
    torch.testing.assert_close(consistency_loss(scores, warped, visible), one)
    assert consistency_loss(scores, scores, torch.ones(1, 4, 4)) == 0


@pytest.mark.parametrize("schedule", ["poly", "one-cycle"])
def test_learning_rate_rises_and_falls(schedule) -> None:
    config = TrainConfig(schedule=schedule, learning_rate=0.1, warmup=0.1)
    rates = [learning_rate(config, step, 200) for step in range(200)]
    assert rates[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    assert max(rates) == pytest.approx(0.1)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.002
    halfway = 0.1 * 0.5**0.9 if schedule == "poly" else 0.05
    assert rates[110] == pytest.approx(halfway)


def test_constant_learning_rate_rises_and_stays() -> None:
    config = TrainConfig(schedule="constant", learning_rate=0.1, warmup=0.1)
    rates = [learning_rate(config, step, 200) for step in range(200)]
    assert rates == pytest.approx([0.1 * min(20, step + 1) / 20 for step in range(200)])


def test_average_forgets_the_initial_weights() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, 0.9)
    expected = 0.0
    for step in range(1, 40):
        torch.nn.init.constant_(network.weight, float(step))
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert not average.network.weight.requires_grad


def frames(count: int) -> list[LabelledFrame]:
    rng = np.random.default_rng(0)
    return [
        LabelledFrame(image=np.full((64, 96, 3), 10 * i, np.uint8), labels=rng.integers(0, 11, (64, 96), np.uint8))
        for i in range(count)
    ]


def data(train: list[LabelledFrame]) -> TrainingData:
    return TrainingData(train=train, val=())


def test_batch_does_not_depend_on_where_a_run_starts() -> None:
    config = TrainConfig(network="small", batch=3, crop_hw=(64, 96), aged=0.5)
    whole = list(batches(config, data(frames(7)), 0, 6))
    later = list(batches(config, data(frames(7)), 4, 6))
    assert [len(batch.older) for batch in later] == [len(batch.older) for batch in whole[4:]]
    for first, second in zip(whole[4:], later, strict=True):
        for name in ("images", "labels", "older", "motion"):
            assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(whole[0].images, whole[1].images)


def test_every_epoch_has_each_frame_once() -> None:
    config = TrainConfig(network="small", batch=2, crop_hw=(64, 96), aged=0.0, scale=(2.0, 2.0))
    seen = []
    for number, frame in enumerate(frames(6)):
        marked = frames(6)
        marked[number] = replace(frame, labels=np.full((64, 96), 7, np.uint8))
        with ThreadPoolExecutor(1) as pool:
            found = [make_batch(config, data(marked), step, pool).labels for step in range(3)]
        seen.append(sum(int(((crop == 7) | (crop == 255)).all()) for labels in found for crop in labels))
    assert seen == [1] * 6


def test_error_in_a_worker_thread_is_raised() -> None:
    broken = [LabelledFrame(image=np.zeros((64, 96, 3), np.uint8), labels=np.zeros((1, 1, 1), np.uint8))] * 4
    with pytest.raises(ValueError, match="unpack"):
        list(batches(TrainConfig(network="small", batch=2, crop_hw=(64, 96)), data(broken), 0, 2))


def test_frame_pairs_show_the_same_place() -> None:
    config = TrainConfig(network="small", crop_hw=(288, 384), streets=8, consistency=1.0, pairs=2)
    pairs = neighbours(config, render_streets(config), 0)
    assert pairs.present.shape == pairs.previous.shape == (2, 3, 288, 384)
    assert pairs.motion.shape == (2, 72, 96, 2)
    assert 0.5 < pairs.visible.mean() < 1
    assert (pairs.present - pairs.previous).abs().median() < 0.5


def test_inputs_are_normalised_and_channels_come_first() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 2] = 185
    value = to_input([image, image])
    assert value.shape == (2, 3, 4, 6)
    assert value[:, 2].unique().tolist() == pytest.approx([1.0])
    assert value[:, 0].unique().tolist() == pytest.approx([-110 / 75])


def test_class_shares_ignore_unlabelled_pixels() -> None:
    labels = np.array([[0, 0, 1, 255]], np.uint8)
    statistics = class_statistics([LabelledFrame(image=np.zeros((1, 4, 3), np.uint8), labels=labels)], 3)
    np.testing.assert_allclose(statistics.shares, [2 / 3, 1 / 3, 0])
    assert statistics.frames == ((0,), (0,), ())


@pytest.mark.parametrize(
    "changed",
    [
        {"network": "huge"},
        {"optimizer": "lion"},
        {"schedule": "step"},
        {"epochs": 0},
        {"crop_hw": (100, 96)},
        {"frame_hw": (360, 0)},
        {"aged": 1.5},
        {"scale": (2.0, 1.0)},
        {"learning_rate": 0.0},
        {"class_weight_floor": 1.0},
        {"batch": 1},
    ],
    ids=str,
)
def test_invalid_options_raise(changed) -> None:
    with pytest.raises(OptionError, match=next(iter(changed))):
        TrainConfig(**changed)


def test_options_round_trip_through_json() -> None:
    config = TrainConfig(network="large", crop_hw=(64, 96), streets=3)
    assert TrainConfig.from_tree(config.tree()) == config


def test_relaxed_loss_sums_the_classes_that_meet() -> None:
    """Against a loop over the windows, in float64."""
    scores = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    rows = ["000111", "000111", "000-22", "000-22", "333333"]
    labels = torch.tensor([[[255 if each == "-" else int(each) for each in row] for row in rows]])
    probabilities = scores.softmax(1)[0].numpy()
    expected = torch.zeros(1, 5, 6)
    for y in range(5):
        for x in range(6):
            window = labels[0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].unique().tolist()
            meeting = [each for each in window if each != 255]
            if labels[0, y, x] != 255:
                expected[0, y, x] = -math.log(sum(probabilities[each, y, x] for each in meeting))
    torch.testing.assert_close(relaxed_loss(scores, labels), expected)
    plain = functional.cross_entropy(scores.float(), labels, ignore_index=255, reduction="none")
    off = near_border(labels) == 0
    assert 0 < off.sum() < off.numel()
    torch.testing.assert_close(relaxed_loss(scores, labels)[off], plain[off])


def test_relaxed_labels_in_the_label_loss() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[..., 4:] = 1
    labels[0, 0] = 255
    scores, weights = torch.randn(1, 3, 4, 4, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])
    plain, relaxed = (label_loss(scores, labels, weights, relaxed=each) for each in (0, 1))
    assert relaxed < plain
    small = labels[:, ::2, ::2]
    weight = weights[small.clamp(max=2)] * (small != 255)
    torch.testing.assert_close(relaxed, (relaxed_loss(scores, small) * weight).sum() / weight.sum())
    relaxed.backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    one_class = torch.zeros(1, 8, 8, dtype=torch.int64)
    torch.testing.assert_close(
        label_loss(scores, one_class, weights, relaxed=1), label_loss(scores, one_class, weights)
    )
    unlabelled = torch.full((1, 8, 8), 255)
    assert label_loss(scores, unlabelled, weights, relaxed=1) == 0


def test_relaxed_is_zero_or_one() -> None:
    with pytest.raises(OptionError, match="relaxed must be 0 or 1"):
        TrainConfig(relaxed=2)


def test_relaxed_of_the_options_reaches_the_loss_of_a_step() -> None:
    config = TrainConfig(network="small", batch=2, crop_hw=(64, 96), aged=0)
    with ThreadPoolExecutor(1) as pool:
        batch = make_batch(config, data(frames(4)), 0, pool)
    trainee = Trainee(TwoBranch(SPECS["small"])).eval()
    plain, relaxed = (losses(trainee, batch, replace(config, relaxed=each), torch.ones(11), None) for each in (0, 1))
    outputs = run_stages(trainee.network, batch)
    for name, scores, share in (("labels", outputs.scores, 1), ("auxiliary", trainee.auxiliary(outputs.context), 0.4)):
        expected = share * label_loss(scores, batch.labels, torch.ones(11), relaxed=1)
        torch.testing.assert_close(relaxed[name], expected)
        assert relaxed[name] < plain[name]
