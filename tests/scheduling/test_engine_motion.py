"""What motion does to the engine's maps, whoever estimates it: ages, drift, gaps, and numbers that are none."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ticking_segmenter import scheduled

from edge_vseg import Segmenter
from edge_vseg.decision import Decision, Infer, Propagate
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.scheduling.policies import Fixed, Regional
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Frame


def test_the_map_of_a_still_video_stays_and_is_no_less_sure(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, [drive[0]] * 4, Fixed(period_frames=9))
    assert [result.source for result in results] == ["inferred", "propagated", "propagated", "propagated"]
    assert [result.age_frames for result in results] == [0, 1, 2, 3]
    for older, newer in itertools.pairwise(results):
        assert np.mean(older.labels == newer.labels) > 0.999
        np.testing.assert_allclose(newer.uncertainty, older.uncertainty, atol=1e-6)
        assert (newer.age_map > older.age_map).all()
        assert newer.age_map.shape == newer.uncertainty.shape == newer.probabilities.shape[1:]


def test_a_cut_raises_drift_and_uncertainty(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, [drive[0], drive[0], 255 - drive[5]], Fixed(period_frames=9))
    before, after = (float(result.uncertainty.mean()) for result in results[1:])
    assert results[2].source == "propagated"
    assert results[2].drift_map.mean() > 5 * results[1].drift_map.mean() + 0.05
    assert after > before + 0.05


def test_propagated_maps_follow_the_image(sliced_bundle: Path, drive) -> None:
    """The image moves by 4 pixels per frame: a propagated map is closer to inference than a held one."""
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 256]) for n in range(7)]
    truth = scheduled(sliced_bundle, frames, "every-frame")[-1].labels
    carried = scheduled(sliced_bundle, frames, Fixed(period_frames=20))[-1]
    held = scheduled(sliced_bundle, frames, Fixed(period_frames=20, motion="still"))[-1]
    assert (carried.source, held.source) == ("propagated", "held")
    assert np.mean(carried.labels == truth) > np.mean(held.labels == truth) + 0.05


def test_cells_from_outside_the_image_are_older(sliced_bundle: Path, drive) -> None:
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 6 * n : 6 * n + 256]) for n in range(4)]
    ages = scheduled(sliced_bundle, frames, Fixed(period_frames=9))[-1].age_map
    assert (ages[10:-10, 5:20] == 3).all()
    assert (ages[10:-10, -2:] == 4).mean() > 0.8


def test_labels_are_as_new_as_the_frame_while_nothing_moves(sliced_bundle, drive):
    images = [drive[0], drive[0], drive[0], drive[1]]
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=20)) as segmenter:
        results = [segmenter.push(image, capture_ns=10**8 * at) for at, image in enumerate(images)]
    assert [round(result.map_age_ms) for result in results] == [0, 100, 200, 300]
    assert [result.still for result in results] == [True, True, True, False]
    assert [result.labels_ns for result in results] == [0, 10**8, 2 * 10**8, 2 * 10**8]


def test_regional_infers_nothing_in_a_still_video(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, [drive[0]] * 5, Regional(max_age_frames=3))
    # All tiles reach the maximum age at once, and the whole frame is cheaper than all of them.
    assert [result.source for result in results] == ["inferred", "propagated", "propagated", "inferred", "propagated"]


def test_codec_motion_is_not_used_across_a_gap(sliced_bundle: Path, drive) -> None:
    field = np.ones((24, 32, 2), np.float32)
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=9, motion="codec")) as segmenter:
        results = [segmenter(Frame(image=drive[n], seq=n, capture_ns=n, motion=field)) for n in (0, 1, 3, 4)]
    assert ["codec has none" in str(result.decision) for result in results] == [False, False, True, False]


def test_codec_motion_that_leads_over_a_gap_is_used(sliced_bundle: Path, drive) -> None:
    field = np.ones((24, 32, 2), np.float32)
    frames = [
        Frame(image=drive[seq], seq=seq, capture_ns=seq, motion=field, motion_to=to)
        for seq, to in ((0, None), (1, None), (3, 1), (6, 5))
    ]
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=9, motion="codec")) as segmenter:
        results = [segmenter(frame) for frame in frames]
    # The last one leads to a frame that the segmenter never saw.
    assert ["codec has none" in str(result.decision) for result in results] == [False, False, False, True]


def test_ages_in_ms_are_between_captures(sliced_bundle: Path, drive) -> None:
    captures = [0, 40, 100, 110]
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=9, motion="still")) as segmenter:
        results = [segmenter.push(image, capture_ns=1_000_000 * at) for image, at in zip(drive, captures, strict=False)]
    assert [float(result.age_ms_map.max()) for result in results] == [0, 40, 100, 110]


def test_codec_motion_is_used_and_its_absence_reported(sliced_bundle: Path, drive) -> None:
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    images = [np.ascontiguousarray(wide[:, 8 * n : 8 * n + 256]) for n in range(4)]
    field = np.zeros((24, 32, 2), np.float32)
    field[..., 0] = 1.0  # a cell of 8 pixels
    frames = [
        Frame(image=image, seq=n, capture_ns=n, motion=field if n != 2 else None) for n, image in enumerate(images)
    ]
    policy = Fixed(period_frames=9, motion="codec")
    with Segmenter.open(sliced_bundle, threads=1, policy=policy) as segmenter:
        results = [segmenter(frame) for frame in frames]
    assert "codec has none" not in str(results[1].decision)
    assert "motion by dis, the codec has none" in str(results[2].decision)
    carried, first = results[1].probabilities, results[0].probabilities
    np.testing.assert_allclose(carried[:, :, 4:-8], first[:, :, 6:-6], atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30], ids=["nan", "infinity", "huge"])
def test_motion_that_is_not_finite_is_refused_and_leaves_nothing_behind(sliced_bundle: Path, drive, value) -> None:
    """One such cell once made the whole map class 0, and the drift NaN for ever."""
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    images = [np.ascontiguousarray(wide[:, 8 * n : 8 * n + 256]) for n in range(5)]
    field = np.zeros((24, 32, 2), np.float32)
    field[..., 0] = 1.0
    broken = field.copy()
    broken[5, 5, 1] = value
    frames = [Frame(image=image, seq=n, capture_ns=n, motion=field) for n, image in enumerate(images)]
    policy = Fixed(period_frames=30, motion="codec")
    with Segmenter.open(sliced_bundle, threads=1, policy=policy) as segmenter:
        dropped = [segmenter(frame) for frame in frames if frame.seq != 2]
    with Segmenter.open(sliced_bundle, threads=1, policy=policy) as segmenter:
        results = [segmenter(frame) for frame in frames[:2]]
        with pytest.raises(FrameError, match=r"finite .* in 1 of 768 cells"):
            segmenter(replace(frames[2], motion=broken))
        results += [segmenter(frame) for frame in frames[3:]]
    for result, other in zip(results, dropped, strict=True):
        np.testing.assert_array_equal(result.labels, other.labels)
        assert str(result.decision) == str(other.decision)
        assert np.isfinite(result.drift_map).all()


class ChangesMotion:
    """Takes another estimator from the third frame on."""

    name, motion, needs = "changes-motion", "dis-fine", ""

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        action = Infer() if situation.age_frames is None else Propagate()
        return Decision(actions=(action,), next_motion="dis-coarse" if situation.frame_index >= 2 else "")


def test_a_policy_may_change_the_estimator(sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, threads=1, policy=ChangesMotion()) as segmenter:
        for image in drive[:6]:
            segmenter(image)
        counts = {
            name: len(samples) for name, samples in segmenter.meter.samples_ms().items() if name.startswith("motion")
        }
    # The first of each, which allocates, is dropped when the second comes.
    assert counts == {"motion dis-fine": 1, "motion dis-coarse": 2}


def test_opening_rejects_unknown_motion(sliced_bundle: Path) -> None:
    with pytest.raises(OptionError, match="raft.*known"):
        Segmenter.open(sliced_bundle, policy=Fixed(motion="raft"))


def test_frames_may_change_size(sliced_bundle: Path, drive) -> None:
    frames = [drive[0], np.ascontiguousarray(drive[1][::2, ::2]), drive[2]]
    for frame, result in zip(frames, scheduled(sliced_bundle, frames, Fixed(period_frames=9)), strict=True):
        assert result.labels.shape == frame.shape[:2]


def test_labels_are_warped_from_the_keyframe_and_never_from_a_warped_map(sliced_bundle: Path, drive) -> None:
    """A square that moves by whole cells there and back is the same square again."""
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    there = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 256]) for n in range(6)]
    results = scheduled(sliced_bundle, [*there, *there[-2::-1]], Fixed(period_frames=99))
    assert np.mean(results[-1].labels[16:-16, 32:-32] == results[0].labels[16:-16, 32:-32]) > 0.97


def test_frames_may_change_their_size_under_a_policy(sliced_bundle: Path, drive) -> None:
    small = [np.ascontiguousarray(image[::2, ::2]) for image in drive]
    mixed = [drive[0], drive[1], small[2], small[3], drive[4]]
    for image, result in zip(mixed, scheduled(sliced_bundle, mixed, Fixed(period_frames=99)), strict=True):
        assert result.labels.shape == image.shape[:2]
        assert result.labels.flags.writeable
