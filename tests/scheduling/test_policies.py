"""Policies as pure functions of situation and costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.decision import (
    Advance,
    Collect,
    Decision,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
    Work,
)
from edge_vseg.errors import OptionError
from edge_vseg.pipeline.options import schedule_of
from edge_vseg.scheduling.policies import (
    POLICIES,
    Adaptive,
    Async,
    Clockwork,
    Deadline,
    Feature,
    Fixed,
    Regional,
    Sliced,
    as_policy,
    make_policy,
)
from edge_vseg.scheduling.situation import Costs, Situation

COSTS = Costs(
    infer_ms=10.0,
    slices_ms=(1.5,) * 8,
    fixed_ms=1.5,
    propagate_ms=0.3,
    fuse_ms=0.5,
    carry_ms=0.2,
)
milliseconds = st.floats(0.01, 20)
costs = st.builds(
    lambda infer, slices, fixed, propagate, fuse, carry, tile: Costs(
        infer_ms=infer,
        slices_ms=tuple(slices),
        tile_ms=tile,
        fixed_ms=fixed,
        motion_ms=fixed / 4,
        motions_ms={"dis": fixed / 4, "dis-coarse": fixed / 8},
        propagate_ms=propagate,
        fuse_ms=fuse,
        carry_ms=carry,
    ),
    milliseconds,
    st.lists(milliseconds, min_size=8, max_size=8),
    milliseconds,
    milliseconds,
    milliseconds,
    milliseconds,
    milliseconds,
)
TILES = 6
drifts = st.one_of(st.just(()), st.lists(st.sampled_from([0.0, 0.001, 0.1]), min_size=TILES, max_size=TILES).map(tuple))


def fitting(slices: tuple[float, ...], left: range, count: int, spent: float, until: float, fresh: float) -> int:
    """Number of slices that the engine would run."""
    steps = 0
    for number in left[:count]:
        spent += slices[number]
        if spent + (fresh if number == len(slices) - 1 else 0) > until:
            break
        steps += 1
    return steps


def simulate(
    policy: object, frames: int, prices: list[Costs], context: tuple[int, int] | None, hot: tuple[float, ...] = ()
) -> list:
    """Execute decisions on paper: (situation, decision, milliseconds spent) for each frame.

    ``hot`` is how much the drift of each tile grows per frame.
    """
    still = (0.0,) * len(hot)
    now = Situation(frame_index=0, slice_count=8, context_slices=context, tile_drift=still, tile_age_frames=still)
    log = []
    for number in range(frames):
        price = prices[number % len(prices)]
        decision = policy.decide(now, price)
        spent, stem_done = price.fixed_ms, False
        for action in decision.actions:
            match action:
                case Infer():
                    spent += price.infer_ms + price.fuse_ms
                    now = replace(now, tile_drift=still, tile_age_frames=still)
                case InferTiles(tiles=chosen):
                    assert set(chosen) <= set(range(len(hot)))
                    spent += price.tile_ms * len(chosen) + price.propagate_ms
                    drift, ages = list(now.tile_drift), list(now.tile_age_frames)
                    for number in chosen:
                        drift[number] = ages[number] = 0.0
                    now = replace(now, tile_drift=tuple(drift), tile_age_frames=tuple(ages), age_frames=int(max(ages)))
                case Advance(slices=count, until_ms=until):
                    steps = fitting(
                        price.slices_ms, range(now.keyframe_slices_done, 8), count, spent, until, price.fuse_ms
                    )
                    spent += sum(price.slices_ms[now.keyframe_slices_done : now.keyframe_slices_done + steps])
                    done = now.keyframe_slices_done + steps == 8
                    spent += price.fuse_ms if done else 0
                    now = replace(now, keyframe_slices_done=0 if done else now.keyframe_slices_done + steps)
                    if done:
                        now = replace(now, context_age_frames=now.keyframe_age_frames if context else None)
                        old = tuple(float(now.keyframe_age_frames) for _ in hot)
                        now = replace(
                            now,
                            age_frames=now.keyframe_age_frames,
                            keyframe_age_frames=0,
                            tile_drift=still,
                            tile_age_frames=old,
                        )
                case Refresh(slices=count, until_ms=until):
                    begin, end = context
                    if not now.refresh_slices_done and not stem_done:
                        spent += sum(price.slices_ms[:begin])
                        stem_done = True
                    left = range(begin + now.refresh_slices_done, end)
                    steps = fitting(price.slices_ms, left, count, spent, until, price.fuse_ms)
                    spent += sum(price.slices_ms[left.start : left.start + steps])
                    done = steps == len(left)
                    now = replace(now, refresh_slices_done=0 if done else now.refresh_slices_done + steps)
                    if done:
                        now = replace(now, context_age_frames=now.refresh_age_frames, refresh_age_frames=0)
                case Detail():
                    begin, end = context
                    assert now.context_age_frames is not None
                    spent += sum(price.slices_ms[end:]) + price.carry_ms + price.fuse_ms
                    spent += 0 if stem_done else sum(price.slices_ms[:begin])
                    stem_done = True
                    now = replace(now, age_frames=0, tile_drift=still, tile_age_frames=still)
                case Propagate():
                    spent += price.propagate_ms
                case Hold():
                    pass
        if any(isinstance(action, Infer) for action in decision.actions):
            now = replace(now, age_frames=0)
        log.append((now, decision, spent))
        now = replace(
            now,
            frame_index=number + 1,
            age_frames=None if now.age_frames is None else now.age_frames + 1,
            context_age_frames=None if now.context_age_frames is None else now.context_age_frames + 1,
            keyframe_age_frames=now.keyframe_age_frames + 1 if now.keyframe_slices_done else 0,
            refresh_age_frames=now.refresh_age_frames + 1 if now.refresh_slices_done else 0,
            tile_drift=tuple(min(1.0, drift + more) for drift, more in zip(now.tile_drift, hot, strict=True)),
            tile_age_frames=tuple(age + 1 for age in now.tile_age_frames),
        )
    return log


@settings(max_examples=200, deadline=None)
@given(
    deadline=st.floats(0.5, 60),
    prices=st.lists(costs, min_size=1, max_size=4),
    context=st.sampled_from([None, (2, 6), (1, 7)]),
    hot=drifts,
)
def test_decisions_fit_the_deadline_unless_they_say_so(
    deadline: float, prices: list[Costs], context: object, hot: tuple[float, ...]
) -> None:
    policy = Deadline(milliseconds=deadline)
    for _, decision, spent in simulate(policy, 40, prices, context, hot)[1:]:
        if not decision.over_budget:
            assert spent <= deadline * (1 + 1e-9) + 1e-9, decision


@settings(max_examples=150, deadline=None)
@given(deadline=st.floats(0.5, 60), price=costs, context=st.sampled_from([None, (2, 6)]), hot=drifts)
def test_deadline_bounds_the_age_of_a_map(
    deadline: float, price: Costs, context: object, hot: tuple[float, ...]
) -> None:
    """Whatever the costs, a map is renewed slice by slice: maximum age, plus 8 slices, plus their own age."""
    policy = Deadline(milliseconds=deadline, max_age_frames=10)
    log = simulate(policy, 120, [price], context, hot)
    assert max(now.age_frames for now, _, _ in log) <= 10 + 2 * 8 + 2
    assert all(age <= 10 + 2 * 8 + 2 for now, _, _ in log for age in now.tile_age_frames)


@settings(max_examples=100, deadline=None)
@given(bad=costs, context=st.sampled_from([None, (2, 6)]))
def test_deadline_recovers_when_costs_fall(bad: Costs, context: object) -> None:
    policy = Deadline(milliseconds=14.0)
    log = simulate(policy, 30, [bad], context)
    last = replace(log[-1][0], frame_index=30)
    decision = policy.decide(last, COSTS)
    assert decision.actions == (Infer(),)


def test_the_order_in_which_deadline_degrades() -> None:
    """The same situation with shorter and shorter deadlines."""
    now = Situation(frame_index=8, age_frames=2, slice_count=8, context_slices=(1, 7), context_age_frames=3)
    thin = replace(COSTS, slices_ms=(0.5, *(1.8,) * 6, 0.5))  # a thin per-frame path
    seen = [Deadline(milliseconds=ms).decide(now, thin) for ms in (13, 6, 4, 2, 1)]
    kinds = ["+".join(type(a).__name__ for a in decision.actions) for decision in seen]
    assert kinds == ["Infer", "Detail+Refresh", "Advance+Propagate", "Propagate", "Hold"]


def test_deadline_prefers_keyframes_where_the_detail_path_is_slow() -> None:
    now = Situation(frame_index=8, age_frames=2, slice_count=8, context_slices=(3, 5), context_age_frames=3)
    assert isinstance(Deadline(milliseconds=10).decide(now, COSTS).actions[0], Advance)


@pytest.mark.parametrize("period", [1, 2, 5])
def test_fixed_infers_every_period(period: int) -> None:
    log = simulate(Fixed(period_frames=period), 20, [COSTS], None)
    keys = [number for number, (_, decision, _) in enumerate(log) if decision.actions == (Infer(),)]
    assert keys == list(range(0, 20, period))


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_sliced_finishes_a_keyframe_every_period(frames: int) -> None:
    log = simulate(Sliced(period_frames=frames), 4 * frames + 1, [COSTS], None)
    advanced = [
        (now.keyframe_slices_done, any(isinstance(action, Advance) for action in decision.actions))
        for now, decision, _ in log[1:]
    ]
    finished = [number for number, (done, ran) in enumerate(advanced) if ran and done == 0]
    assert finished[:3] == [frames - 1 + turn * frames for turn in range(3)]


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_clockwork_spreads_the_context_evenly(frames: int) -> None:
    log = simulate(Clockwork(period_frames=frames), 6 * frames + 1, [COSTS], (2, 6))
    assert all(any(isinstance(a, Detail) for a in decision.actions) for _, decision, _ in log)
    assert max(now.context_age_frames for now, _, _ in log) <= 2 * frames - 1
    spent = [cost for _, _, cost in log[1:]]
    assert max(spent) - min(spent) <= max(COSTS.slices_ms) + 1e-9


def test_feature_renews_the_context_every_period() -> None:
    log = simulate(Feature(period_frames=4), 13, [COSTS], (2, 6))
    fresh = [number for number, (now, _, _) in enumerate(log) if now.context_age_frames == 0]
    assert fresh == [0, 4, 8, 12]


def test_adaptive_infers_when_the_drift_exceeds_its_maximum() -> None:
    policy = Adaptive(max_drift=0.05, max_age_frames=9)
    assert policy.decide(Situation(frame_index=3, age_frames=2, drift=0.04), COSTS).actions == (Propagate(),)
    assert policy.decide(Situation(frame_index=3, age_frames=2, drift=0.06), COSTS).actions == (Infer(),)
    assert policy.decide(Situation(frame_index=30, age_frames=9, drift=0.0), COSTS).actions == (Infer(),)


def test_regional_infers_drifted_and_old_tiles() -> None:
    policy, price = Regional(max_drift=0.1, max_age_frames=5), replace(COSTS, tile_ms=3.0)
    now = Situation(frame_index=9, age_frames=4, tile_drift=(0.0, 0.3, 0.05), tile_age_frames=(2, 2, 2))
    assert policy.decide(now, price).actions == (InferTiles((1,)),)
    assert policy.decide(replace(now, tile_drift=(0.0, 0.0, 0.0)), price).actions == (Propagate(),)
    assert policy.decide(replace(now, tile_age_frames=(5, 2, 2)), price).actions == (InferTiles((0, 1)),)
    assert policy.decide(replace(now, age_frames=None), price).actions == (Infer(),)


def test_regional_infers_the_whole_frame_if_cheaper_and_the_worst_tiles_if_limited() -> None:
    price = replace(COSTS, tile_ms=4.0)
    now = Situation(frame_index=9, age_frames=4, tile_drift=(0.3, 0.2, 0.5), tile_age_frames=(2, 2, 2))
    assert Regional(max_drift=0.1).decide(now, price).actions == (Infer(),)
    assert Regional(max_drift=0.1, max_tiles=2).decide(now, price).actions == (InferTiles((0, 2)),)


def test_regional_bounds_the_age_of_a_tile() -> None:
    log = simulate(Regional(max_age_frames=7, max_tiles=2), 60, [COSTS], None, (0.2, 0.2, 0.2, 0.0, 0.0, 0.0))
    assert max(max(now.tile_age_frames) for now, _, _ in log) <= 7 + TILES


def test_async_keeps_the_worker_busy() -> None:
    policy = Async()
    assert policy.decide(Situation(frame_index=0), COSTS).actions == (Infer(),)
    now = Situation(frame_index=5, age_frames=2, background=True)
    assert policy.decide(now, COSTS).actions == (Launch(), Propagate())
    busy = replace(now, background_work=Work.KEYFRAME, background_age_frames=2)
    assert policy.decide(busy, COSTS).actions == (Propagate(),)
    assert policy.decide(replace(busy, background_done=True), COSTS).actions == (Collect(), Launch())


def test_async_with_a_lag_waits_for_its_frame() -> None:
    policy, now = (
        Async(lag_frames=3),
        Situation(
            frame_index=5,
            age_frames=2,
            background=True,
            background_work=Work.KEYFRAME,
            background_age_frames=2,
            background_done=True,
        ),
    )
    assert policy.decide(now, COSTS).actions == (Propagate(),)
    assert policy.decide(replace(now, background_age_frames=3, background_done=False), COSTS).actions == (
        Collect(),
        Launch(),
    )
    other = replace(now, background=False, background_age_frames=3)
    assert policy.decide(other, COSTS).actions == (Collect(),), "the lane is another camera's for now"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nonsense", {}, "fixed"),
        ("fixed", {"period_frames": 0}, "period_frames"),
        ("fixed", {"interval": 3}, "interval"),
        ("deadline", {"milliseconds": -1.0}, "positive"),
        ("adaptive", {"max_drift": 2.0}, "max_drift"),
        ("sliced", {"period_frames": 0}, "period_frames"),
        ("sliced", {"period_frames": 2.5}, "int"),
        ("sliced", {"needs": ""}, "it has: period_frames, motion"),
        ("adaptive", {"max_drift": "much"}, "float"),
        ("deadline", {}, "needs milliseconds"),
        ("regional", {"max_drift": 0.0}, "max_drift"),
        ("async", {"lag_frames": -1}, "lag_frames"),
        ("deadline", {"milliseconds": 9.0, "min_drift_share": 0.0}, "min_drift_share"),
    ],
)
def test_bad_parameters_are_refused(name: str, options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_policy(name, **options)


def test_a_policy_that_lacks_a_number_says_how_to_give_it() -> None:
    with pytest.raises(OptionError, match=r"needs milliseconds; give Deadline\(milliseconds=…\)"):
        make_policy("deadline")


@pytest.mark.parametrize("given", [15, 15.0, Deadline], ids=repr)
def test_what_is_no_policy_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match=r"object such as Deadline\(milliseconds=15.0\), got "):
        as_policy(given)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="object such as"):
        schedule_of(given, None)  # type: ignore[arg-type]


def test_budget_is_the_old_name_of_deadline() -> None:
    assert make_policy("budget", milliseconds=9) == Deadline(milliseconds=9)


def test_policies_have_the_name_they_are_registered_by() -> None:
    for name, maker in POLICIES.items():
        made = maker(milliseconds=10.0) if name == "deadline" else maker()
        assert made.name == name


def test_a_decision_as_text() -> None:
    assert (
        str(Decision(actions=(Advance(2), Propagate()), reason="slice 4 of 8")) == "advance 2, propagate: slice 4 of 8"
    )
