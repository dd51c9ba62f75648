"""Confusion matrices, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.analysis.metrics import Confusion
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID


def of(classes: int, truth: object, prediction: object) -> Confusion:
    confusion = Confusion(classes)
    confusion.add(np.array(truth, np.uint8), np.array(prediction, np.uint8))
    return confusion


def test_by_hand() -> None:
    confusion = of(3, [[0, 0, 0, 1], [1, 1, 2, 2]], [[0, 0, 1, 1], [1, 2, 2, 0]])
    np.testing.assert_array_equal(confusion.matrix, [[2, 1, 0], [0, 2, 1], [1, 0, 1]])
    assert confusion.pixel_accuracy == 5 / 8
    np.testing.assert_allclose(confusion.iou, [2 / 4, 2 / 4, 1 / 3])
    assert confusion.mean_iou == pytest.approx((0.5 + 0.5 + 1 / 3) / 3)
    np.testing.assert_allclose(confusion.precision, [2 / 3, 2 / 3, 1 / 2])
    np.testing.assert_allclose(confusion.recall, [2 / 3, 2 / 3, 1 / 2])
    np.testing.assert_allclose(confusion.dice, [4 / 6, 4 / 6, 2 / 4])


def test_void_pixels_do_not_count() -> None:
    confusion = of(2, [[0, IGNORE_ID, 1]], [[0, 1, 1]])
    np.testing.assert_array_equal(confusion.matrix, [[1, 0], [0, 1]])
    # What a void pixel was taken for does not matter either.
    np.testing.assert_array_equal(of(2, [[0, IGNORE_ID]], [[0, 77]]).matrix, [[1, 0], [0, 0]])


def test_absent_classes_have_no_iou() -> None:
    confusion = of(4, [[0, 0, 1]], [[0, 3, 1]])
    np.testing.assert_array_equal(np.isnan(confusion.iou), [False, False, True, False])
    assert confusion.iou[3] == 0
    assert confusion.mean_iou == pytest.approx((0.5 + 1 + 0) / 3)


def test_nothing_counted() -> None:
    confusion = of(3, [[IGNORE_ID]], [[0]])
    assert confusion.pixel_accuracy == confusion.mean_iou == 1.0
    assert confusion.mean_dice == confusion.mean_precision == confusion.mean_recall == 1.0
    assert np.isnan([confusion.iou, confusion.dice, confusion.precision, confusion.recall]).all()


def test_maps_add_up() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 6, 10, 12), np.uint8)
    together = of(5, truth.reshape(60, 12), prediction.reshape(60, 12))
    one_by_one = Confusion(5)
    for pair in zip(truth, prediction, strict=True):
        one_by_one.add(*pair)
    np.testing.assert_array_equal(one_by_one.matrix, together.matrix)


@pytest.mark.parametrize("classes", [2, 19, 255])
def test_against_scikit_learn(classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent reference")
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, (90, 120), np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, classes, truth.shape, np.uint8))
    confusion = of(classes, truth, prediction)
    pair = truth.reshape(-1), prediction.reshape(-1)
    np.testing.assert_array_equal(confusion.matrix, metrics.confusion_matrix(*pair, labels=range(classes)))
    assert confusion.pixel_accuracy == pytest.approx(metrics.accuracy_score(*pair))
    np.testing.assert_allclose(confusion.iou, metrics.jaccard_score(*pair, labels=range(classes), average=None))
    assert confusion.mean_iou == pytest.approx(metrics.jaccard_score(*pair, labels=range(classes), average="macro"))


@pytest.mark.parametrize("classes", [3, 11], ids=["all classes occur", "some do not"])
def test_precision_recall_and_dice_against_scikit_learn(classes: int) -> None:
    """Undefined values included: class 2 is never predicted, class 3 is never true, and 4 and up are nowhere."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent reference")
    rng = np.random.default_rng(classes)
    most = 3 if classes == 3 else 4
    truth, prediction = rng.integers(0, most, (2, 60, 80), np.uint8)
    if classes > 3:
        truth[truth == 3] = 0
        prediction[prediction == 2] = 1
    confusion = of(classes, truth, prediction)
    pair = truth.reshape(-1), prediction.reshape(-1)
    for ours, mean, score in (
        (confusion.precision, confusion.mean_precision, metrics.precision_score),
        (confusion.recall, confusion.mean_recall, metrics.recall_score),
        (confusion.dice, confusion.mean_dice, metrics.f1_score),
    ):
        # Scikit-learn takes NaN for a dash in the mean, too.
        theirs = {
            how: score(*pair, labels=range(classes), average=how, zero_division=np.nan) for how in (None, "macro")
        }
        np.testing.assert_allclose(ours, theirs[None])
        assert mean == pytest.approx(theirs["macro"])
    if classes > 3:
        absent = [range(4, 11)]
        assert np.isnan(confusion.precision).nonzero()[0].tolist() == [2, *absent[0]]
        assert np.isnan(confusion.recall).nonzero()[0].tolist() == [3, *absent[0]]
        assert np.isnan(confusion.dice).nonzero()[0].tolist() == [*absent[0]]


@pytest.mark.parametrize(("truth", "prediction"), [([[3]], [[0]]), ([[0]], [[3]]), ([[0]], [[IGNORE_ID]])])
def test_a_class_too_many_is_refused(truth: list[list[int]], prediction: list[list[int]]) -> None:
    """It would be counted in another class's row."""
    largest = max(truth[0][0], prediction[0][0])
    with pytest.raises(OptionError, match=f"expected class ids below 3, got {largest}"):
        of(3, truth, prediction)


def test_shapes_must_agree() -> None:
    with pytest.raises(OptionError, match=r"\(1, 2\) and \(2, 1\)"):
        of(3, [[0, 1]], [[0], [1]])
