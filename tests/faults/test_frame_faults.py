"""A fault in one run, or in one frame: it is refused by name or answered rightly, and nothing of it is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from fault_campaign import POLICIES, Campaign, Case, Outcome, cases
from faulty_runtime import FAULTS, FaultPlan
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numbered_network import CLASSES, Network, make_profile
from numbered_video import Step, Video

from edge_vseg.decision import Action, Cancel, Collect, Decision, Detail, Infer
from edge_vseg.errors import EdgeVsegError
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.scheduling.state import EngineState
from edge_vseg.types import Result

KEYFRAMES = 6
"""After so many keyframes nothing of a fault is left, for fusion gives the older ones a share of 0.4 ** 6; a context
that no policy uses any more is left until it is as old as maps may be."""
GAP_MS = 50.0
FRAMES = CLASSES - 2
LAST_FAULT = 12


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"), frames=20)


def test_every_policy_meets_every_kind_of_fault(campaign: Campaign) -> None:
    """A twelfth of the campaign, in which each policy and fault has its turn; benchmarks/faults.py is the whole."""
    chosen = cases(campaign, live=False)[::12]
    assert {case.policy for case in chosen} == set(POLICIES)
    assert {case.fault for case in chosen} > {"NaN", "wrong shape", "out of memory", "output missing", "motion fails"}
    failed = [(str(case), outcome) for case in chosen if not _is_good(outcome := campaign.play(case))]
    assert failed == []


@pytest.mark.serial
@pytest.mark.parametrize("fault", ["runtime error", "NaN", "wrong shape", "hangs", "output missing"])
def test_a_fault_in_the_worker_is_told_once(campaign: Campaign, fault: str) -> None:
    case = Case(policy="async", fault=fault, graph="infer", lane="background", run=2, live=True)
    assert campaign.play(case).kind == "refused"


def _is_good(outcome: Outcome) -> bool:
    return outcome.kind in ("right", "refused")


def test_the_campaign_can_fail(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of what a graph gives, a wrong map is found out."""
    monkeypatch.setattr("edge_vseg.runtimes.checked_run._checked", lambda spec, given: given[spec.name])
    kinds = {
        fault: campaign.play(Case(policy="feature", fault=fault, graph="slice-0", run=2)).kind
        for fault in ("NaN", "output missing", "session error")
    }
    assert kinds == {"NaN": "wrong", "output missing": "uncaught", "session error": "refused"}


@dataclass(kw_only=True)
class Again:
    """Decides what was decided before, so that two engines do the same on the same frames."""

    decisions: list[Decision]
    motion: str
    needs: str
    name: str = "again"
    _next: Iterator[Decision] = field(init=False)

    def __post_init__(self) -> None:
        self._next = iter(self.decisions)

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        decision, actions = next(self._next), []
        under_way, context = situation.background_work is not None, situation.context_age_frames is not None
        if situation.age_frames is None:
            actions.append(Infer())
        for action in decision.actions:
            if isinstance(action, Collect | Cancel) and not under_way:
                continue
            actions.append(Infer() if isinstance(action, Detail) and not context else action)
        return Decision(actions=tuple(actions), next_motion=decision.next_motion)


@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(POLICIES)),
    faults=st.lists(
        st.tuples(st.sampled_from(sorted(set(FAULTS) - {"interrupt"})), st.integers(0, 4), st.integers(1, 6)),
        min_size=1,
        max_size=3,
    ),
    shifts=st.lists(st.integers(2, 6), min_size=FRAMES, max_size=FRAMES),
)
def test_after_some_keyframes_the_state_is_that_of_a_fresh_engine(
    name: str, faults: list[tuple[str, int, int]], shifts: list[int]
) -> None:
    """Both have seen the same frames since, and decided the same.

    The fresh engine is opened on the first frame after the faults on which nothing is under way in the frame lane.
    """
    policy, network = POLICIES[name], Network()
    video = _steady(Video(policy, make_profile(20.0), network))
    plans = _plant(network, faults)
    answers: list[Result | None] = []
    starts: list[int] = []
    for number, shift in enumerate(shifts):
        if number == LAST_FAULT:
            network.faults.clear()
        idle = _nothing_half_done(video.state)
        answers.append(_answer(video, Step(shift=shift, gap_ms=GAP_MS)))
        result = answers[-1]
        if number > LAST_FAULT and result is not None and idle and _takes_or_has_no_job(video.state, result):
            starts.append(number)
    assume(any(plan.hits for plan in plans))
    assert None not in answers[LAST_FAULT + 1 :], "only frames with a fault are refused"
    start = starts[0]
    fresh = _fresh(policy, video, start, [each for each in answers[start:] if each is not None])
    assert _keyframes(answers[start:]) >= KEYFRAMES
    _assert_same(video, fresh, answers[-1])


def _steady(video: Video) -> Video:
    """Costs are what they are: a fresh engine's first measurements would stop its slices earlier."""
    costs = make_profile(20.0).costs
    video.engine.meter.expected_ms = lambda step: costs[step].p50 if step in costs else 0.0
    return video


def _plant(network: Network, faults: list[tuple[str, int, int]]) -> list[FaultPlan]:
    graphs = ["infer", "tile", "slice 0", "slice 2", "slice 3"]
    plans = []
    for fault, graph, run in faults:
        plan = FaultPlan(fault=fault, graph=graphs[graph], run=run, armed=True, hang=lambda: None)
        network.faults[graphs[graph], "frame"] = lambda outputs, plan=plan: plan.apply(plan.graph, outputs)
        plans.append(plan)
    return plans


def _answer(video: Video, step: Step) -> Result | None:
    frame = video.next_frame(step)
    try:
        result = video.segmenter(frame)
    except EdgeVsegError:
        return None
    return video.check(result)


def _nothing_half_done(state: EngineState) -> bool:
    return state.keyframe is None and state.refresh is None


def _takes_or_has_no_job(state: EngineState, result: Result) -> bool:
    job = state.job
    return job is None or job.track.origin == state.now or any(isinstance(a, Collect) for a in result.decision.actions)


def _fresh(policy: Policy, video: Video, start: int, answers: list[Result]) -> Video:
    again = Again(decisions=[each.decision for each in answers], motion=policy.motion, needs=policy.needs)
    fresh = _steady(Video(again, make_profile(20.0)))
    for frame, old in zip(video.frames[start:], answers, strict=True):
        fresh.clock.advance_to(frame.capture_ns)
        result = fresh.segmenter(frame)
        assert result.seq == old.seq
    fresh.last = result
    return fresh


def _keyframes(answers: list[Result | None]) -> int:
    fresh = (Infer, Detail, Collect)
    actions: list[Action] = list(itertools.chain(*(each.decision.actions for each in answers if each is not None)))
    finished = sum(isinstance(action, fresh) for action in actions)
    return finished or len({each.seq - each.age_frames for each in answers if each is not None})


def _assert_same(video: Video, fresh: Video, last: Result | None) -> None:
    ours, theirs = video.state, fresh.state
    assert last is not None
    captures = [[origin.capture_ns for origin in state.shown.origins] for state in (ours, theirs)]
    assert captures[0] == captures[1]
    for one, other in zip(ours.tracks(), theirs.tracks(), strict=True):
        assert one.origin.capture_ns == other.origin.capture_ns
        np.testing.assert_array_equal(one.drift, other.drift)
        if one.motion is not None or other.motion is not None:
            np.testing.assert_array_equal(one.motion, other.motion)
    assert (ours.context is None) == (theirs.context is None)
    if ours.context is not None:
        np.testing.assert_array_equal(ours.context.tensors["context"], theirs.context.tensors["context"])
    np.testing.assert_array_equal(last.labels, fresh.last.labels)
    np.testing.assert_allclose(last.probabilities, fresh.last.probabilities, atol=0.4**KEYFRAMES * 2)
    np.testing.assert_array_equal(last.age_map, fresh.last.age_map)
