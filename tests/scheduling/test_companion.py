"""A companion: fused into the answers of old maps, and never into what is carried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import reference_bundle
from numbered_network import make_profile
from reference_bundle import Recipe, write_bundle
from test_label_options import GUIDED
from ticking_segmenter import Ticks

from edge_vseg import Frame, OpenOptions, Segmenter
from edge_vseg.decision import Advance, Collect, Consult, Decision, Detail, Hold, Infer, Launch, Propagate, Work
from edge_vseg.errors import OptionError, SegmenterClosedError, SessionError
from edge_vseg.imaging.guided_filter import grey_of
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.scheduling.policies import POLICIES, Async, Deadline, Policy
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Result, Tensor

POLICY = Async(lag_frames=3)
PERIOD_NS = 66_000_000


def stamped(frames: list[np.ndarray]) -> list[Frame]:
    """Frames of a camera: answers take no part in how old a map is."""
    return [Frame(image=image, seq=seq, capture_ns=seq * PERIOD_NS) for seq, image in enumerate(frames)]


def answers(bundle: Path, frames: list[np.ndarray], policy: Policy | None = None, **options: object) -> list[Result]:
    with opened(bundle, policy, **options) as segmenter:
        return [segmenter(frame) for frame in stamped(frames)]


def opened(bundle: Path, policy: Policy | None = None, **options: object) -> Segmenter:
    rare = OpenOptions(clock=Ticks(), **options)  # type: ignore[arg-type]
    return Segmenter.open(bundle, runtime="reference", threads=1, policy=policy, options=rare)


@pytest.fixture
def frames(drive: list[np.ndarray]) -> list[np.ndarray]:
    return [cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA) for image in drive]


def soft(weight: float, **fields: object) -> Recipe:
    """Scores that leave room for doubt."""
    return Recipe(weight=weight * reference_bundle.WEIGHT, bias=weight * reference_bundle.BIAS, **fields)  # type: ignore[arg-type]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "large.evseg", soft(0.03))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With cells of half the size, and columns of its colours in another order: wrong labels nearly everywhere."""
    with monkeypatch.context() as patch:
        patch.setattr(reference_bundle, "STRIDE", 4)
        recipe = replace(soft(0.02), weight=0.02 * reference_bundle.WEIGHT[[1, 2, 0]])
        return write_bundle(tmp_path / "small.evseg", recipe)


def expected(carried: Result, own: Result) -> np.ndarray:
    """The carried probabilities and the companion's, whose four cells lie in one of the network's."""
    share = np.minimum(0.6, 0.000975 * carried.age_ms_map)
    classes, height, width = carried.probabilities.shape
    cells = own.probabilities.astype(np.float64).reshape(classes, height, 2, width, 2).mean(axis=(2, 4))
    return (1 - share) * carried.probabilities + share * cells


def test_answers_are_fused_and_what_is_carried_is_not(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    """All frames against a run without companion, whose maps are fused over four keyframes meanwhile."""
    without, own = answers(large, frames, POLICY), answers(small, frames)
    together = answers(large, frames, POLICY, companion=small)
    assert [result.source for result in together] == ["inferred", *["partial"] * (len(frames) - 1)]
    assert {result.age_frames for result in together[4:]} == {3, 4, 5}
    changed = 0
    for ours, theirs, fresh in zip(together[1:], without[1:], own[1:], strict=True):
        mixed = expected(theirs, fresh)
        np.testing.assert_allclose(ours.probabilities, mixed, atol=1e-6)
        np.testing.assert_array_equal(ours.labels, LabelMapper((48, 64))(ours.probabilities))
        changed += int((ours.labels != theirs.labels).sum())
        # The companion makes no part of the map older or younger.
        assert ours.age_frames == theirs.age_frames
        np.testing.assert_array_equal(ours.age_map, theirs.age_map)
        np.testing.assert_array_equal(ours.drift_map, theirs.drift_map)
        assert ours.logits is None
        assert ours.latency_ms["companion"] > 0
        assert "propagate" not in ours.latency_ms, "nothing is warped, and no warp may look cheap"
    assert changed > 1000


def test_a_network_on_a_real_runtime_with_itself(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    """Guided borders follow the present image then, for the map is of this frame."""

    def run(policy: Policy | None, options: OpenOptions) -> list[Result]:
        given = replace(options, clock=Ticks())
        with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=policy, options=given) as segmenter:
            return [segmenter(frame) for frame in stamped(drive)]

    without, own = run(POLICY, OpenOptions()), run(None, OpenOptions())
    together = run(POLICY, replace(GUIDED, companion=sliced_bundle))
    for image, ours, theirs, fresh in zip(drive[1:], together[1:], without[1:], own[1:], strict=True):
        share = np.minimum(0.6, 0.000975 * theirs.age_ms_map)
        mixed = (1 - share) * theirs.probabilities + share * fresh.probabilities
        np.testing.assert_allclose(ours.probabilities, mixed, atol=1e-6)
        labels = LabelMapper(image.shape[:2])(ours.probabilities, grey_of(image))
        np.testing.assert_array_equal(ours.labels, labels)


def test_a_file_that_is_read_fast_is_as_old_as_it_was_filmed(
    large: Path, small: Path, frames: list[np.ndarray]
) -> None:
    """Weights go by presentation times where there are some, or a faster machine would give other maps."""

    def run(period_ns: int) -> list[Result]:
        with opened(large, POLICY, companion=small) as segmenter:
            return [
                segmenter(Frame(image=image, seq=seq, capture_ns=seq * period_ns, pts_ns=seq * PERIOD_NS))
                for seq, image in enumerate(frames)
            ]

    for slow, fast, live in zip(run(PERIOD_NS), run(PERIOD_NS // 9), answers(large, frames, POLICY, companion=small),
                                strict=True):  # fmt: skip
        np.testing.assert_array_equal(slow.probabilities, fast.probabilities)
        np.testing.assert_array_equal(slow.probabilities, live.probabilities)
        assert slow.age_ms_map.max() == pytest.approx(9 * fast.age_ms_map.max(), rel=1e-4)


class Once:
    """Consults on the second frame, and holds from then on."""

    name, needs, motion, consults = "once", "", "dis", True

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        actions = {0: (Infer(),), 1: (Consult(),)}.get(situation.frame_index, (Hold(),))
        return Decision(actions=actions, reason="a test")


def test_what_was_shown_last_is_held(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    """Also where that was a companion's, and although the picture has moved: to hold costs nothing."""
    _, consulted, *held = answers(large, frames, Once(), companion=small)
    assert {result.source for result in held} == {"held"}
    for result in held:
        np.testing.assert_array_equal(result.labels, consulted.labels)
        assert not {"labels", "propagate"} & set(result.latency_ms)


class Faulty:
    """A session that fails once."""

    def __init__(self, session: object, run: int) -> None:
        self.session, self.left = session, run

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck")
        return self.session.run(inputs)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self.session.close()  # type: ignore[attr-defined]


def test_a_failure_costs_one_frame(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    fresh = answers(large, frames, POLICY, companion=small)
    with opened(large, POLICY, companion=small) as segmenter:
        companion = segmenter._engine._parts.frame_lane._companion
        assert companion is not None
        companion._session = Faulty(companion._session, run=5)  # type: ignore[assignment]
        for number, (frame, right) in enumerate(zip(stamped(frames), fresh, strict=True)):
            if number == 5:
                with pytest.raises(SessionError, match=r"the companion .*small\.evseg failed: .*out of luck"):
                    segmenter(frame)
                continue
            result = segmenter(frame)
            np.testing.assert_array_equal(result.labels, right.labels)
            np.testing.assert_array_equal(result.probabilities, right.probabilities)
            assert result.age_frames == right.age_frames


def test_both_are_closed_together(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    segmenter = opened(large, POLICY, companion=small)
    segmenter(frames[0])
    companion = segmenter._engine._parts.frame_lane._companion
    assert companion is not None
    segmenter.close()
    with pytest.raises(SessionError, match="closed"):
        companion.probabilities(frames[0])
    with pytest.raises(SegmenterClosedError):
        segmenter(frames[0])


COSTS = Costs(infer_ms=90.0, fixed_ms=3.0, propagate_ms=1.0, background_ms=100.0, companion_ms=6.0)
NOW = Situation(
    frame_index=9,
    age_frames=6,
    age_ms=396.0,
    scene_age_ms=396.0,
    drift=0.05,
    background=True,
    idle_share=0.8,
    period_ms=66.0,
    background_work=Work.KEYFRAME,
    background_age_frames=3,
    background_scene_age_ms=200.0,
    background_drift=0.02,
    companion=True,
)
KEYED = replace(NOW, background_done=True)


@pytest.mark.parametrize(
    ("situation", "milliseconds", "actions"),
    [
        pytest.param(NOW, 10.0, (Consult(),), id="an old map"),
        pytest.param(NOW, 8.9, (Propagate(),), id="no time"),
        pytest.param(replace(NOW, companion=False), 10.0, (Propagate(),), id="none"),
        pytest.param(replace(NOW, scene_age_ms=200.0), 10.0, (Propagate(),), id="a young map"),
        pytest.param(replace(NOW, drift=0.001), 10.0, (Propagate(),), id="nothing has moved"),
        pytest.param(replace(NOW, age_frames=None, scene_age_ms=0.0), 10.0, (Infer(),), id="first frame"),
        pytest.param(KEYED, 10.0, (Collect(), Launch(), Propagate()), id="a young keyframe comes"),
        pytest.param(
            replace(KEYED, background_scene_age_ms=264.0),
            10.0,
            (Collect(), Launch(), Consult()),
            id="an old keyframe comes",
        ),
        pytest.param(
            replace(KEYED, background_work=Work.CONTEXT), 10.0, (Collect(), Launch(), Consult()), id="a context comes"
        ),
        pytest.param(
            replace(NOW, background=False, background_work=None), 10.0, (Consult(),), id="no background, no slices"
        ),
    ],
)
def test_deadline_runs_it_on_old_maps_where_it_fits(
    situation: Situation, milliseconds: float, actions: tuple[object, ...]
) -> None:
    decision = Deadline(milliseconds=milliseconds).decide(situation, COSTS)
    assert decision.actions == actions
    assert ("companion" in decision.reason) == (Consult() in actions)


def test_slices_in_the_frame_and_fresh_details_go_first() -> None:
    cut = replace(NOW, background=False, background_work=None, slice_count=8)
    costs = replace(COSTS, slices_ms=(2.0,) * 8)
    actions = Deadline(milliseconds=20.0).decide(cut, costs).actions
    assert any(isinstance(action, Advance) for action in actions)
    assert Consult() not in actions
    detailed = replace(cut, context_slices=(1, 7), context_age_frames=2, background=True)
    actions = Deadline(milliseconds=20.0).decide(detailed, costs).actions
    assert Detail() in actions
    assert Consult() not in actions


def test_what_does_not_fit_is_not_run(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    """The clock ticks by 0.1 ms: a companion takes that long, and a label map after it as long again."""
    results = answers(large, frames, Deadline(milliseconds=1e-3), companion=small)
    assert not any("companion" in result.latency_ms for result in results)
    assert all("consult" not in result.decision.summary for result in results)


class Consulting:
    """A policy of the caller's own."""

    name, motion, needs = "consulting", "dis", ""

    def __init__(self, *, consults: bool) -> None:
        self.consults = consults

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        return Decision(actions=(Consult(),))


def test_what_is_not_there_is_named(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    with opened(large, Consulting(consults=True)) as segmenter, pytest.raises(OptionError, match="not a companion"):
        segmenter(frames[0])
    with (
        opened(large, Consulting(consults=True), companion=small) as segmenter,
        pytest.raises(OptionError, match="not a map"),
    ):
        segmenter(frames[0])


@pytest.mark.parametrize("name", [None, *(name for name in POLICIES if name not in ("async", "deadline"))])
def test_policies_without_a_use_for_one(name: str | None, large: Path, small: Path) -> None:
    policy = None if name is None or POLICIES[name]().needs else POLICIES[name]()
    with pytest.raises(OptionError, match="no use for a companion; choose async or deadline"):
        opened(large, policy, companion=small)
    with pytest.raises(OptionError, match="'consulting' has no use for a companion"):
        opened(large, Consulting(consults=False), companion=small)


def test_bundles_that_do_not_go_together(large: Path, small: Path, sliced_bundle: Path) -> None:
    with pytest.raises(OptionError, match=r"street\.evseg cannot accompany .*large\.evseg: their classes differ"):
        opened(large, POLICY, companion=sliced_bundle)
    box = {"kind": "letterbox", "border_rgb": [0, 0, 0]}
    change(small, lambda tree: (tree.update(schema_version=4), tree["frame"].update(resize=box)))
    with pytest.raises(OptionError, match=r"small\.evseg cannot accompany .*large\.evseg: frames lie elsewhere"):
        opened(large, POLICY, companion=small)
    change(large, lambda tree: (tree.update(schema_version=4), tree["frame"].update(resize=box)))
    opened(large, POLICY, companion=small).close()


def test_a_companion_has_the_border_that_it_was_made_for(
    large: Path, small: Path, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The colour is what a network takes for zero, so two networks with other means have other ones."""
    for bundle, rgb in ((large, [120, 110, 100]), (small, [30, 20, 10])):
        box = {"kind": "letterbox", "border_rgb": rgb}
        change(bundle, lambda tree, box=box: (tree.update(schema_version=4), tree["frame"].update(resize=box)))
    tall = [np.ascontiguousarray(image[:, 16:48]) for image in frames[:6]]
    seen: list[np.ndarray] = []
    with opened(large, POLICY, companion=small) as segmenter:
        companion = segmenter._engine._parts.frame_lane._companion
        assert companion is not None
        preprocess = companion._preprocess
        monkeypatch.setattr(companion, "_preprocess", lambda image: (seen.append(image.copy()), preprocess(image))[1])
        for frame in stamped(tall):
            segmenter(frame)
    assert len(seen) >= 3
    for image, original in zip(seen, tall[-len(seen) :], strict=True):
        expected = np.full_like(frames[0], (10, 20, 30))  # BGR
        expected[:, 16:48] = original
        np.testing.assert_array_equal(image, expected)


def change(bundle: Path, edit: object) -> None:
    path = bundle / "manifest.json"
    tree = json.loads(path.read_bytes())
    edit(tree)  # type: ignore[operator]
    path.write_text(json.dumps(tree))


def test_costs_are_replayed_where_the_profile_has_them(large: Path, small: Path, frames: list[np.ndarray]) -> None:
    with opened(large) as segmenter:
        whose = {"bundle_sha256": segmenter.bundle.sha256, "variant": segmenter.variant.id}
    profile = make_profile(20.0, **whose)
    with pytest.raises(OptionError, match="the device profile has no costs of it"):
        opened(large, POLICY, companion=small, replay=profile)
    profile.costs["companion"] = profile.costs["fuse"]
    results = answers(large, frames, POLICY, companion=small, replay=profile)
    assert results[3].latency_ms["companion"] == pytest.approx(0.25)
    slower = profile.with_slower_network(4.0).costs
    assert slower["companion"] == profile.costs["companion"]
    assert slower["infer"].p50 == 80.0
