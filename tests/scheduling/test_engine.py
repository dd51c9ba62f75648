"""The engine on a real network: labels, carried state, ages and messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_bundle import write_bundle
from ticking_segmenter import scheduled, ticking

from edge_vseg import Segmenter
from edge_vseg.decision import Decision, Hold, Infer, InferTiles, Propagate
from edge_vseg.errors import OptionError, SessionError
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


def test_a_sliced_keyframe_is_as_old_as_its_image(sliced_bundle: Path, drive) -> None:
    results = scheduled(sliced_bundle, drive, Sliced(period_frames=3))
    assert results[0].source == "inferred"
    assert {result.source for result in results[1:]} == {"propagated"}
    ages = [result.age_frames for result in results]
    assert ages == [0, 1, 2, 2, 3, 4, 2, 3, 4, 2, 3, 4]


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


def test_closing_waits_for_the_worker(sliced_bundle: Path, drive) -> None:
    segmenter = Segmenter.open(sliced_bundle, threads=1, policy=Async())
    segmenter(drive[0])
    segmenter(drive[1])  # the worker has it now
    segmenter.close()
    segmenter.close()


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
