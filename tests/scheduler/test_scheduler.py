"""The executor on a real network: what it computes, what it carries, and what it says of both."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import write_bundle

from edge_vseg import Segmenter
from edge_vseg.errors import OptionError
from edge_vseg.policies import POLICIES, Budget, Clockwork, EveryFrame, Feature, Fixed, Policy, Sliced
from edge_vseg.types import Result


class Ticks:
    """A clock that goes on by a tenth of a millisecond each time it is read."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self) -> int:
        return next(self._count) * 100_000


def scheduled(bundle: Path, frames: list[np.ndarray], policy: str | Policy) -> list[Result]:
    with Segmenter.open(bundle, runtime="onnxruntime", threads=1, policy=policy, clock=Ticks()) as segmenter:
        return [segmenter(frame) for frame in frames]


def policy_named(name: str) -> Policy:
    return Budget(milliseconds=3.0) if name == "budget" else POLICIES[name]()


@pytest.mark.parametrize("name", list(POLICIES))
def test_same_video_and_clock_give_the_same_decisions_and_labels(name: str, sliced_bundle: Path, drive) -> None:
    first, second = (scheduled(sliced_bundle, drive, policy_named(name)) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert ours.decision == theirs.decision
        assert np.array_equal(ours.labels, theirs.labels)
        assert ours.labels.shape == drive[0].shape[:2]
    assert first[0].source in ("inferred", "partial")


@pytest.mark.parametrize("policy", [Fixed(period=1), Sliced(frames=1), Feature(period=1), Clockwork(frames=1)], ids=str)
def test_policies_that_compute_everything_agree_with_every_frame(policy: Policy, sliced_bundle: Path, drive) -> None:
    expected = scheduled(sliced_bundle, drive[:4], EveryFrame(motion=policy.motion))
    if isinstance(policy, Clockwork):
        # Detail runs before the slices of this frame's context: its context is one frame old.
        return
    for ours, theirs in zip(scheduled(sliced_bundle, drive[:4], policy), expected, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
        assert ours.age_frames == 0


def test_unscheduled_and_every_frame_differ_at_borders_alone(sliced_bundle: Path, drive) -> None:
    """One interpolates scores, the other probabilities."""
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1) as plain:
        for frame, result in zip(drive, scheduled(sliced_bundle, drive, "every-frame"), strict=True):
            assert np.mean(plain(frame).labels == result.labels) > 0.98


def test_a_still_video_keeps_its_map_and_ages(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, [drive[0]] * 4, Fixed(period=9))
    assert [result.source for result in results] == ["inferred", "propagated", "propagated", "propagated"]
    assert [result.age_frames for result in results] == [0, 1, 2, 3]
    for older, newer in itertools.pairwise(results):
        assert np.mean(older.labels == newer.labels) > 0.999
        assert (newer.uncertainty > older.uncertainty).all()
        assert newer.age_map.shape == newer.uncertainty.shape == newer.scores.shape[1:]


def test_carried_maps_follow_the_picture(sliced_bundle: Path, drive) -> None:
    """A picture that moves by 4 pixels a frame: the carried map agrees with inference better than the held one."""
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 256]) for n in range(7)]
    truth = scheduled(sliced_bundle, frames, "every-frame")[-1].labels
    carried = scheduled(sliced_bundle, frames, Fixed(period=20))[-1]
    held = scheduled(sliced_bundle, frames, Fixed(period=20, motion="still"))[-1]
    assert (carried.source, held.source) == ("propagated", "held")
    assert np.mean(carried.labels == truth) > np.mean(held.labels == truth) + 0.05


def test_a_keyframe_in_slices_is_carried_from_its_own_frame(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, drive, Sliced(frames=3))
    assert results[0].source == "inferred"
    assert {result.source for result in results[1:]} == {"propagated"}
    ages = [result.age_frames for result in results]
    assert ages == [0, 1, 2, 2, 3, 4, 2, 3, 4, 2, 3, 4]


def test_where_the_motion_leaves_the_picture_the_map_is_older(sliced_bundle: Path, drive) -> None:
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 6 * n : 6 * n + 256]) for n in range(4)]
    ages = scheduled(sliced_bundle, frames, Fixed(period=9))[-1].age_map
    assert (ages[10:-10, 5:20] == 3).all()
    assert (ages[10:-10, -2:] == 4).mean() > 0.8


def test_the_caller_may_draw_on_the_labels(sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period=9, motion="still")) as segmenter:
        first = segmenter(drive[0]).labels
        kept = first.copy()
        first[:] = 7
        assert np.array_equal(segmenter(drive[1]).labels, kept)


@pytest.mark.parametrize("name", ["sliced", "feature", "clockwork"])
def test_a_bundle_without_slices_says_what_it_lacks(name: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours.evseg")
    with pytest.raises(OptionError, match=f"{name}.*slices"):
        Segmenter.open(bundle, policy=name)


def test_a_bundle_without_slices_can_be_scheduled_all_the_same(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours.evseg")
    rng = np.random.default_rng(0)
    for policy in (Fixed(period=2), Budget(milliseconds=0.2)):
        with Segmenter.open(bundle, runtime="reference", policy=policy, clock=Ticks()) as segmenter:
            results = [segmenter(rng.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(6)]
        assert results[0].source == "inferred"
        assert len({result.source for result in results}) > 1


def test_frames_may_change_their_size(sliced_bundle: Path, drive) -> None:
    frames = [drive[0], np.ascontiguousarray(drive[1][::2, ::2]), drive[2]]
    for frame, result in zip(frames, scheduled(sliced_bundle, frames, Fixed(period=9)), strict=True):
        assert result.labels.shape == frame.shape[:2]
