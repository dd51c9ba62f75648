"""The engine on a real network: labels, carried state, ages and messages."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import write_bundle

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.decision import Decision, Hold, Infer, InferTiles, Propagate
from edge_vseg.errors import FrameError, OptionError, SessionError
from edge_vseg.scheduling.policies import (
    POLICIES,
    Async,
    Clockwork,
    Deadline,
    EveryFrame,
    Feature,
    Fixed,
    Policy,
    Regional,
    Sliced,
)
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Frame, Result


class Ticks:
    """A clock that advances by 0.1 ms per reading."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self) -> int:
        return next(self._count) * 100_000


def ticking() -> OpenOptions:
    return OpenOptions(clock=Ticks())


def scheduled(bundle: Path, frames: list[np.ndarray], policy: str | Policy) -> list[Result]:
    with Segmenter.open(bundle, runtime="onnxruntime", threads=1, policy=policy, options=ticking()) as segmenter:
        return [segmenter(frame) for frame in frames]


def policy_named(name: str) -> Policy:
    match name:
        case "deadline":
            return Deadline(milliseconds=3.0)
        case "async":
            return Async(lag_frames=2)
        case "regional":
            return Regional(max_drift=0.01, max_tiles=2)
        case _:
            return POLICIES[name]()


@pytest.mark.parametrize("name", list(POLICIES))
def test_decisions_and_labels_are_reproducible(name: str, sliced_bundle: Path, drive) -> None:
    first, second = (scheduled(sliced_bundle, drive, policy_named(name)) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert ours.decision == theirs.decision
        assert np.array_equal(ours.labels, theirs.labels)
        assert ours.labels.shape == drive[0].shape[:2]
    assert first[0].source in ("inferred", "partial")


@pytest.mark.parametrize("policy", [Fixed(period_frames=1), Sliced(period_frames=1), Feature(period_frames=1)], ids=str)
def test_a_period_of_one_is_every_frame(policy: Policy, sliced_bundle: Path, drive) -> None:
    expected = scheduled(sliced_bundle, drive[:4], EveryFrame(motion=policy.motion))
    for ours, theirs in zip(scheduled(sliced_bundle, drive[:4], policy), expected, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-6)
        assert ours.age_frames == 0


def test_every_frame_gives_the_labels_of_plain_inference(sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1) as plain:
        for frame, result in zip(drive, scheduled(sliced_bundle, drive, "every-frame"), strict=True):
            own = plain(frame)
            np.testing.assert_array_equal(own.labels, result.labels)
            np.testing.assert_array_equal(own.logits, result.logits)
            np.testing.assert_array_equal(own.probabilities, result.probabilities)


def test_logits_are_those_of_this_frame_alone(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, drive[:2], Fixed(period_frames=9, motion="still"))
    assert [result.source for result in results] == ["inferred", "held"]
    assert results[1].logits is None
    assert results[1].probabilities is not None


def test_clockwork_on_a_still_image_is_the_network(sliced_bundle: Path, drive) -> None:
    truth = scheduled(sliced_bundle, [drive[2]], "every-frame")[0]
    for result in scheduled(sliced_bundle, [drive[2]] * 5, Clockwork(period_frames=2)):
        np.testing.assert_allclose(result.probabilities, truth.probabilities, atol=1e-4)


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


def test_a_sliced_keyframe_is_as_old_as_its_image(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, drive, Sliced(period_frames=3))
    assert results[0].source == "inferred"
    assert {result.source for result in results[1:]} == {"propagated"}
    ages = [result.age_frames for result in results]
    assert ages == [0, 1, 2, 2, 3, 4, 2, 3, 4, 2, 3, 4]


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


def test_the_caller_may_change_the_labels(sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=9, motion="still")) as segmenter:
        first = segmenter(drive[0]).labels
        kept = first.copy()
        first[:] = 7
        assert np.array_equal(segmenter(drive[1]).labels, kept)


class OneTile:
    """Infers the first frame, then one tile of each frame."""

    name, motion, needs = "one-tile", "still", "tiles"

    def __init__(self, number: int) -> None:
        self._number = number

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        if situation.age_frames is None:
            return Decision(actions=(Infer(),))
        return Decision(actions=(InferTiles((self._number,)),))


def test_a_tile_replaces_its_part_of_the_map(sliced_bundle: Path, drive) -> None:
    """The image changes: the tile agrees with whole-frame inference; everything else stays and ages."""
    with Segmenter.open(sliced_bundle, threads=1, policy=OneTile(5), options=ticking()) as segmenter:
        first, second = segmenter(drive[0]), segmenter(drive[-1])
    fresh = second.age_map == 0
    rows, columns = np.nonzero(fresh)
    assert fresh.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a rectangle
    assert 0.02 < fresh.mean() < 0.4
    assert (second.age_map[~fresh] == 1).all()
    np.testing.assert_array_equal(second.probabilities[:, ~fresh], first.probabilities[:, ~fresh])
    whole = scheduled(sliced_bundle, [drive[-1]], "every-frame")[0]
    new, old = second.probabilities.argmax(0)[fresh], first.probabilities.argmax(0)[fresh]
    truth = whole.probabilities.argmax(0)[fresh]
    assert np.mean(new == truth) > max(0.85, np.mean(old == truth) + 0.05)
    assert (second.source, second.age_frames) == ("partial", 1)


def test_regional_infers_nothing_in_a_still_video(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, [drive[0]] * 5, Regional(max_age_frames=3))
    # All tiles reach the maximum age at once, and the whole frame is cheaper than all of them.
    assert [result.source for result in results] == ["inferred", "propagated", "propagated", "inferred", "propagated"]


def test_the_worker_gives_the_same_scores(sliced_bundle: Path, drive) -> None:
    """A still image: the worker's keyframe, fused with itself, is plain inference."""
    truth = scheduled(sliced_bundle, [drive[3]], "every-frame")[0]
    results = scheduled(sliced_bundle, [drive[3]] * 6, Async(lag_frames=2))
    assert [result.age_frames for result in results] == [0, 1, 2, 2, 3, 2]
    np.testing.assert_allclose(results[-1].probabilities, truth.probabilities, atol=1e-5)


def test_the_workers_keyframe_is_propagated_to_the_present(sliced_bundle: Path, drive) -> None:
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 256]) for n in range(8)]
    truth = scheduled(sliced_bundle, frames, "every-frame")[-1].labels
    late = scheduled(sliced_bundle, frames, Async(lag_frames=3))[-1].labels
    held = scheduled(sliced_bundle, frames, Fixed(period_frames=20, motion="still"))[-1].labels
    assert np.mean(late == truth) > np.mean(held == truth) + 0.05


class ThenHold:
    """Propagates once, then holds."""

    name, motion, needs = "then-hold", "dis", ""

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        if situation.age_frames is None:
            return Decision(actions=(Infer(),))
        return Decision(actions=(Propagate() if situation.frame_index == 1 else Hold(),))


def test_held_scores_match_the_held_labels(sliced_bundle: Path, drive) -> None:
    wide = np.concatenate([drive[0], drive[0][:, ::-1]], axis=1)
    frames = [np.ascontiguousarray(wide[:, 6 * n : 6 * n + 256]) for n in range(3)]
    _, carried, held = scheduled(sliced_bundle, frames, ThenHold())
    assert held.source == "held"
    np.testing.assert_array_equal(held.labels, carried.labels)
    np.testing.assert_array_equal(held.probabilities, carried.probabilities)


def test_results_do_not_share_memory_with_the_scheduler(sliced_bundle: Path, drive) -> None:
    with Segmenter.open(sliced_bundle, threads=1, policy=Fixed(period_frames=9), options=ticking()) as segmenter:
        results = [segmenter(image) for image in drive[:2]]
        with pytest.raises(ValueError, match="read-only"):
            results[1].probabilities[:] = 0
        results[1].drift_map[:] = 1
        touched = segmenter(drive[2]).drift_map
    untouched = scheduled(sliced_bundle, drive[:3], Fixed(period_frames=9))[2].drift_map
    np.testing.assert_array_equal(touched, untouched)


@pytest.mark.parametrize("name", ["fixed", "sliced", "feature", "async"])
def test_a_closed_segmenter_raises(name: str, sliced_bundle: Path, drive) -> None:
    segmenter = Segmenter.open(sliced_bundle, threads=1, policy=policy_named(name))
    segmenter(drive[0])
    segmenter.close()
    with pytest.raises(SessionError, match="closed"):
        segmenter(drive[1])


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


def test_closing_waits_for_the_worker(sliced_bundle: Path, drive) -> None:
    segmenter = Segmenter.open(sliced_bundle, threads=1, policy=Async())
    segmenter(drive[0])
    segmenter(drive[1])  # the worker has it now
    segmenter.close()
    segmenter.close()


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


def test_a_bundle_without_tiles_names_the_export_option(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours.evseg")
    with pytest.raises(OptionError, match="regional.*--tiles"):
        Segmenter.open(bundle, policy="regional")


@pytest.mark.parametrize("name", ["sliced", "feature", "clockwork"])
def test_a_bundle_without_slices_is_rejected_by_policies_that_need_them(name: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours.evseg")
    with pytest.raises(OptionError, match=f"{name}.*slices"):
        Segmenter.open(bundle, policy=name)


def test_other_policies_work_without_slices(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "colours.evseg")
    rng = np.random.default_rng(0)
    for policy in (Fixed(period_frames=2), Deadline(milliseconds=0.2)):
        with Segmenter.open(bundle, runtime="reference", policy=policy, options=ticking()) as segmenter:
            results = [segmenter(rng.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(6)]
        assert results[0].source == "inferred"
        assert len({result.source for result in results}) > 1


def test_frames_may_change_size(sliced_bundle: Path, drive) -> None:
    frames = [drive[0], np.ascontiguousarray(drive[1][::2, ::2]), drive[2]]
    for frame, result in zip(frames, scheduled(sliced_bundle, frames, Fixed(period_frames=9)), strict=True):
        assert result.labels.shape == frame.shape[:2]


def test_a_result_keeps_its_probabilities_however_late_they_are_read(sliced_bundle: Path, drive) -> None:
    """They are warped when they are read, from what was shown on their own frame."""
    results = scheduled(sliced_bundle, [*drive, *drive[::-1]], Fixed(period_frames=5))
    at_once = []
    with Segmenter.open(
        sliced_bundle, runtime="onnxruntime", threads=1, policy=Fixed(period_frames=5), options=ticking()
    ) as segmenter:
        for image in (*drive, *drive[::-1]):
            result = segmenter(image)
            at_once.append((result.probabilities.copy(), result.uncertainty.copy()))
    for late, (probabilities, uncertainty) in zip(results, at_once, strict=True):
        np.testing.assert_array_equal(late.probabilities, probabilities)
        np.testing.assert_allclose(late.uncertainty, uncertainty, atol=1e-6)


def test_the_network_gets_no_input_where_nothing_of_it_runs(sliced_bundle: Path, drive) -> None:
    for result in scheduled(sliced_bundle, drive[:8], Fixed(period_frames=4)):
        assert ("preprocess" in result.latency_ms) is (result.source == "inferred")
        assert ("labels" in result.latency_ms) is (result.source == "inferred")
        assert ("propagate" in result.latency_ms) is (result.source == "propagated")


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
