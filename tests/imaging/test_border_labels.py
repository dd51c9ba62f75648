"""Interpolation between cells only, against interpolating everything in float64."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_bilinear import ALIGNS, assert_argmax, upsample

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.imaging import border_labels
from edge_vseg.imaging.border_labels import BorderLabels, best_class
from edge_vseg.imaging.label_maps import LabelMapper


def regions(classes: int, height: int, width: int, seed: int) -> np.ndarray:
    """Scores whose best classes form regions, with near ties on their borders: smoothed noise."""
    rng = np.random.default_rng(seed)
    planes = rng.normal(size=(classes, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 2.5) for plane in planes])


@pytest.mark.parametrize("align", ALIGNS)
@given(
    classes=st.integers(2, 9),
    low=st.tuples(st.integers(6, 20), st.integers(6, 20)),
    extra=st.tuples(st.integers(0, 70), st.integers(0, 70)),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_equals_argmax_of_everything_interpolated(
    align: str, classes: int, low: tuple[int, int], extra: tuple[int, int], seed: int
) -> None:
    size_hw = (2 * low[0] + extra[0], 2 * low[1] + extra[1])
    scores = regions(classes, *low, seed)
    labels = BorderLabels(low, size_hw, align)(scores)
    if labels is not None:
        assert labels.shape == size_hw
        assert_argmax(labels, upsample(scores, size_hw, align))


@pytest.mark.parametrize("low", [(90, 120), (60, 45), (45, 80), (65, 65)], ids=str)
@pytest.mark.parametrize("size_hw", [(360, 480), (720, 1280), (540, 960)], ids=str)
def test_sizes_of_cameras(low: tuple[int, int], size_hw: tuple[int, int]) -> None:
    scores = regions(21, *low, seed=1)
    labels = LabelMapper(size_hw)(scores)
    expected = upsample(scores, size_hw, "half_pixel")
    assert_argmax(labels, expected)
    assert np.mean(labels != expected.argmax(axis=0)) < 1e-5


def test_where_three_and_more_classes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of a few intervals, too."""
    monkeypatch.setattr(border_labels, "MAX_BORDER_SHARE", 1.0)
    scores = np.random.default_rng(0).normal(size=(7, 9, 13)).astype(np.float32)
    whole = BorderLabels((9, 13), (50, 61), "half_pixel")(scores)
    assert_argmax(whole, upsample(scores, (50, 61), "half_pixel"))
    monkeypatch.setattr(border_labels, "MAX_BATCH", 500)
    np.testing.assert_array_equal(BorderLabels((9, 13), (50, 61), "half_pixel")(scores), whole)


def test_a_class_that_wins_at_no_cell_can_win_between_them() -> None:
    """Second at every cell, first half way."""
    scores = np.zeros((3, 1, 2), np.float32)
    scores[0, 0], scores[1, 0], scores[2, 0] = (5, -5), (3, 3), (-5, 5)
    scores = np.tile(scores, (1, 3, 3))
    assert set(np.unique(best_class(scores))) == {0, 2}
    labels = LabelMapper((24, 64))(scores)
    assert (labels == 1).any()
    assert_argmax(labels, upsample(scores, (24, 64), "half_pixel"))


def test_one_class_everywhere() -> None:
    scores = np.zeros((4, 5, 6), np.float32)
    scores[2] = 1
    assert (BorderLabels((5, 6), (37, 41), "half_pixel")(scores) == 2).all()


def test_mostly_borders_are_left_to_others() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 20, 20)).astype(np.float32)
    assert BorderLabels((20, 20), (80, 80), "half_pixel")(scores) is None


def test_scores_of_a_real_label_map(data_dir: Path) -> None:
    """Soft scores from a labelled frame: eleven classes that meet as in a street."""
    labels = open_dataset(f"camvid:{data_dir}/camvid:val")[40].labels
    scores = np.stack(
        [
            cv2.resize(
                cv2.GaussianBlur((labels == k).astype(np.float32), (0, 0), 3), (120, 90), interpolation=cv2.INTER_AREA
            )
            for k in range(11)
        ]
    )
    found = BorderLabels((90, 120), (720, 1280), "half_pixel")(scores)
    assert found is not None
    expected = upsample(scores, (720, 1280), "half_pixel")
    assert_argmax(found, expected)
    assert np.mean(found != expected.argmax(axis=0)) < 1e-4
