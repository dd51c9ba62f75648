"""A teacher that knows the rendered truth, and mistakes that are planted in it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_vseg.analysis.label_propagation import PseudoLabelOptions, pseudo_label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.scenes import SceneFrame, StreetOptions, render_street
from edge_vseg.types import Image, LabelMap

WRONG_HW = slice(100, 130), slice(120, 170)


@pytest.fixture(scope="module")
def street() -> list[SceneFrame]:
    return list(render_street(StreetOptions(size_hw=(240, 320), seed=11), 5))


def answers(labels: list[LabelMap], uncertainty: np.ndarray | None) -> Callable[[Image], Any]:
    """A teacher that gives one label map after another."""
    waiting = iter(labels)
    return lambda image: SimpleNamespace(labels=next(waiting), uncertainty=uncertainty)


SURE = np.full((60, 80), 0.1, np.float32)


def with_mistake(street: list[SceneFrame], *frames: int) -> list[LabelMap]:
    labels = [each.labels.copy() for each in street]
    for index in frames:
        labels[index][WRONG_HW] = (labels[index][WRONG_HW] + 1) % 11
    return labels


def test_a_right_teacher_keeps_most(street: list[SceneFrame]) -> None:
    found = list(pseudo_label(answers(with_mistake(street), SURE), [each.image for each in street]))
    assert [each.index for each in found] == list(range(len(street)))
    for each, frame in zip(found, street, strict=True):
        kept = each.carried.labels != 255
        assert kept.mean() > 0.8
        np.testing.assert_array_equal(each.carried.labels[kept], frame.labels[kept])
        np.testing.assert_allclose(each.carried.confidence[kept], 0.9, atol=1e-6)
        assert (each.carried.confidence[~kept] == 0).all()
        assert each.image is frame.image


@pytest.mark.parametrize("at", [0, 2, 4], ids=["first", "middle", "last"])
def test_a_mistake_of_one_frame_is_filtered(street: list[SceneFrame], at: int) -> None:
    images = [each.image for each in street]
    found = list(pseudo_label(answers(with_mistake(street, at), SURE), images))
    wrong = found[at].carried.labels[WRONG_HW]
    assert (wrong != 255).mean() < 0.05, "a carried border of classes may agree by chance"
    options = PseudoLabelOptions(agreement="none")
    unfiltered = list(pseudo_label(answers(with_mistake(street, at), SURE), images, options))
    assert (unfiltered[at].carried.labels[WRONG_HW] != 255).all()


def test_unsure_pixels_are_filtered(street: list[SceneFrame]) -> None:
    unsure = SURE.copy()
    unsure[:, 40:] = 0.9
    found = list(pseudo_label(answers(with_mistake(street), unsure), [each.image for each in street]))
    assert (found[2].carried.labels[:, 164:] == 255).all()
    assert (found[2].carried.labels[:, :156] != 255).mean() > 0.8
    everything = PseudoLabelOptions(max_uncertainty=1, agreement="none")
    found = list(pseudo_label(answers(with_mistake(street), unsure), [each.image for each in street], everything))
    np.testing.assert_array_equal(found[2].carried.labels, street[2].labels)


def test_a_single_frame_is_judged_by_uncertainty(street: list[SceneFrame]) -> None:
    (found,) = pseudo_label(answers([street[0].labels], SURE), [street[0].image])
    np.testing.assert_array_equal(found.carried.labels, street[0].labels)
    assert list(pseudo_label(answers([], SURE), [])) == []


def test_what_neither_neighbour_shows_is_not_kept(street: list[SceneFrame]) -> None:
    """A picture that has nothing to do with those around it."""
    other = np.where(street[0].image < 128, 255, 0).astype(np.uint8)
    labels = np.zeros(other.shape[:2], np.uint8)
    found = list(pseudo_label(answers([labels] * 3, SURE), [street[0].image, other, street[2].image]))
    assert (found[1].carried.labels != 255).mean() < 0.2


def test_a_teacher_without_probabilities(street: list[SceneFrame]) -> None:
    images = [each.image for each in street]
    with pytest.raises(OptionError, match="without probabilities"):
        list(pseudo_label(answers(with_mistake(street), None), images))
    found = list(pseudo_label(answers(with_mistake(street, 2), None), images, PseudoLabelOptions(max_uncertainty=1)))
    assert (found[2].carried.labels[WRONG_HW] != 255).mean() < 0.05
    assert set(np.unique(found[2].carried.confidence)) == {0, 1}


def test_label_maps_of_another_size_are_refused(street: list[SceneFrame]) -> None:
    with pytest.raises(DatasetError, match="labels='frame'"):
        list(pseudo_label(answers([street[0].labels[::2, ::2]], SURE), [street[0].image]))


def test_frames_of_other_sizes_are_named(street: list[SceneFrame]) -> None:
    small = street[1].image[::2, ::2]
    teacher = answers([street[0].labels, street[1].labels[::2, ::2]], SURE)
    with pytest.raises(DatasetError, match=r"frame 1 is \(120, 160\)|frame 0 is .* frame 1 beside it"):
        list(pseudo_label(teacher, [street[0].image, small]))


@pytest.mark.parametrize("values", [{"max_uncertainty": 2}, {"max_uncertainty": -1}, {"agreement": "all"}], ids=str)
def test_impossible_options(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        PseudoLabelOptions(**values)
