"""Carried labels against the truth of rendered streets, and merges worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.label_propagation import CarriedLabels, PropagationOptions, merge_carried, propagate_labels
from edge_vseg.analysis.label_propagation.carried import carry_image, carry_labels
from edge_vseg.analysis.label_propagation.clip_motion import CheckedMotion
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.scenes import SceneFrame, StreetOptions, render_street

REACH = 4


@pytest.fixture(scope="module", params=["driving", "walking"])
def street(request: pytest.FixtureRequest) -> list[SceneFrame]:
    return list(render_street(StreetOptions(camera=request.param, size_hw=(240, 320), seed=11), 2 * REACH))


@pytest.fixture(scope="module")
def frames(street: list[SceneFrame]) -> list[LabelledFrame]:
    return [LabelledFrame(image=each.image, labels=each.labels, name=str(each.seq), clip="street") for each in street]


def labelled(count: int, *indices: int) -> list[bool]:
    return [index in indices for index in range(count)]


def share_right(frame: LabelledFrame, carried: CarriedLabels) -> tuple[float, float]:
    """Share of the pixels with a label, and of those that are right."""
    found = carried.labels != 255
    return float(found.mean()), float((carried.labels == frame.labels)[found].mean())


def test_labels_are_right_against_the_rendered_truth(frames: list[LabelledFrame]) -> None:
    everything = PropagationOptions(reach=REACH, min_confidence=0.0)
    carried = list(propagate_labels(frames, labelled(len(frames), 0), everything))
    assert [each.index for each in carried] == list(range(REACH + 1))
    assert [each.distance for each in carried] == list(range(REACH + 1))
    np.testing.assert_array_equal(carried[0].carried.labels, frames[0].labels)
    assert (carried[0].carried.confidence == 1).all()
    for each in carried[1:]:
        covered, right = share_right(frames[each.index], each.carried.kept(0.5))
        unmoved = float((frames[0].labels == frames[each.index].labels).mean())
        _, all_right = share_right(frames[each.index], each.carried)
        assert covered > 0.5
        assert right > 0.99, "what is kept is right"
        assert right > all_right > unmoved, "better than what is left out, and than labels that stay where they are"


def test_confidence_tells_right_from_wrong(frames: list[LabelledFrame]) -> None:
    """Of each fifth of the pixels by confidence at least as many are right as it says."""
    options = PropagationOptions(reach=REACH, min_confidence=0.0)
    carried = [each for each in propagate_labels(frames, labelled(len(frames), 0), options) if each.distance]
    confidence = np.concatenate([each.carried.confidence.ravel() for each in carried])
    right = np.concatenate([(each.carried.labels == frames[each.index].labels).ravel() for each in carried])
    shares = [right[(confidence >= low) & (confidence < low + 0.2)].mean() for low in (0.2, 0.4, 0.6, 0.8)]
    assert all(share > low for share, low in zip(shares, (0.2, 0.4, 0.6, 0.8), strict=True))
    assert right[confidence < 0.1].mean() < shares[-1] - 0.1


def test_what_was_hidden_has_low_confidence(street: list[SceneFrame], frames: list[LabelledFrame]) -> None:
    options = PropagationOptions(reach=1, min_confidence=0.0)
    hidden, shown = [], []
    for index in range(len(frames) - 1):
        pair = list(propagate_labels(frames[index : index + 2], [True, False], options))[1].carried
        occluded, wrong = street[index + 1].occluded, pair.labels != frames[index + 1].labels
        hidden.append(pair.confidence[occluded & wrong])
        shown.append(pair.confidence[~occluded & ~wrong])
    assert np.mean(np.concatenate(hidden) >= 0.5) < 0.2, "wrong because it was hidden: left out"
    assert np.mean(np.concatenate(shown) >= 0.5) > 0.8


def test_both_sides_reach_what_one_does_not(frames: list[LabelledFrame]) -> None:
    options = PropagationOptions(reach=REACH)
    both = {each.index: each for each in propagate_labels(frames, labelled(len(frames), 0, 7), options)}
    assert [both[index].distance for index in sorted(both)] == [0, 1, 2, 3, 3, 2, 1, 0]
    one = {each.index: each for each in propagate_labels(frames, labelled(len(frames), 0), options)}
    covered_by_both, right = share_right(frames[4], both[4].carried)
    assert covered_by_both > share_right(frames[4], one[4].carried)[0]
    assert right > 0.985


def test_frames_before_the_first_are_reached_and_those_too_far_left_out(frames: list[LabelledFrame]) -> None:
    found = propagate_labels(frames, labelled(len(frames), 3), PropagationOptions(reach=2))
    assert [(each.index, each.distance) for each in found] == [(1, 2), (2, 1), (3, 0), (4, 1), (5, 2)]
    assert list(propagate_labels(frames, labelled(len(frames)), PropagationOptions())) == []


def test_joint_images_stay_with_their_labels(frames: list[LabelledFrame]) -> None:
    """Labels that are a function of the image stay it, wherever they are carried."""
    grey = [np.full((64, 96, 3), 20, np.uint8) for _ in range(4)]
    painted = []
    for shift, image in enumerate(grey):
        image[20:44, 10 + 6 * shift : 40 + 6 * shift] = 220
        painted.append(LabelledFrame(image=image, labels=(image[..., 0] > 100).astype(np.uint8)))
    options = PropagationOptions(reach=3, min_confidence=0.0, images="warped")
    carried = list(propagate_labels(painted, labelled(4, 0), options))
    assert carried[0].image is None
    for each in carried[1:]:
        assert each.image is not None
        kept = each.carried.labels != 255
        sharp = (each.image[..., 0] < 60) | (each.image[..., 0] > 180)
        np.testing.assert_array_equal(each.carried.labels[kept & sharp], each.image[..., 0][kept & sharp] > 100)
    nearest = list(propagate_labels(frames, labelled(len(frames), 0, 7), replace(options, reach=7)))
    assert nearest[1].image is not None
    error = [np.abs(nearest[1].image.astype(int) - frames[index].image).mean() for index in (1, 4)]
    assert error[0] < error[1], "it looks like the frame that it was carried to"


def test_a_shift_is_carried_exactly() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 4, (6, 8), dtype=np.uint8)
    labels = np.kron(blocks, np.ones((8, 8), np.uint8))
    labels[:8, :8] = 255
    field = np.zeros((48, 64, 2), np.float32)
    field[..., 0] = 5
    motion = CheckedMotion(field=field, agreement=np.ones((48, 64), np.float32), gap=np.zeros((48, 64), np.float32))
    carried = carry_labels(labels, motion)
    np.testing.assert_array_equal(carried.labels[:, :-5], labels[:, 5:])
    assert (carried.confidence[carried.labels == 255] == 0).all()
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(carry_image(image, motion)[:, :-5], image[:, 5:])
    # At 3.5 pixels from a border an error of half a pixel does nothing, and one of 3.5 halves the confidence.
    plain = np.zeros((48, 64), np.uint8)
    plain[:, 32:] = 1
    still = replace(motion, field=np.zeros_like(field))
    assert carry_labels(plain, still).confidence[24, 35] > 0.99
    off = replace(still, gap=np.full((48, 64), 3.5**2 - 0.25, np.float32))
    assert carry_labels(plain, off).confidence[24, 35] == pytest.approx(0.5, abs=0.01)
    assert carry_labels(np.zeros((48, 64), np.uint8), off).confidence.min() > 0.99, "one class: it holds anywhere"


def test_sides_are_merged() -> None:
    first = CarriedLabels(labels=np.uint8([[1, 1, 1, 255, 255]]), confidence=np.float32([[0.6, 0.9, 0.6, 0, 0]]))
    second = CarriedLabels(labels=np.uint8([[1, 2, 2, 2, 255]]), confidence=np.float32([[0.8, 0.5, 0.5, 0.4, 0]]))
    for merged in (merge_carried(first, second), merge_carried(second, first)):
        assert merged.labels.tolist() == [[1, 1, 255, 2, 255]]
        np.testing.assert_allclose(merged.confidence, [[0.8, 0.9, 0, 0.4, 0]])
    assert merged.kept(0.5).labels.tolist() == [[1, 1, 255, 255, 255]]


def test_frames_of_other_sizes_are_named(frames: list[LabelledFrame]) -> None:
    small = replace(frames[1], image=cv2.resize(frames[1].image, (100, 80)), labels=np.zeros((80, 100), np.uint8))
    with pytest.raises(DatasetError, match=r"street/1 is \(80, 100\), and street/0"):
        list(propagate_labels([frames[0], small], [True, False]))


@pytest.mark.parametrize(
    "values", [{"reach": 0}, {"min_confidence": 1.5}, {"min_confidence": -0.1}, {"images": "both"}], ids=str
)
def test_impossible_options(values: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        PropagationOptions(**values)  # type: ignore[arg-type]
