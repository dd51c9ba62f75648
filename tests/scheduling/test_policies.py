"""Policies as pure functions: what they decide for any costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import (
    POLICIES,
    Adaptive,
    Advance,
    Async,
    Clockwork,
    Collect,
    Costs,
    Deadline,
    Decision,
    Detail,
    Feature,
    Fixed,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
    Regional,
    Situation,
    Sliced,
    make_policy,
)

COSTS = Costs(whole=10.0, slices=(1.5,) * 8, every=1.5, before=1.0, propagate=0.3, fresh=0.5, carry=0.2)
milliseconds = st.floats(0.01, 20)
costs = st.builds(
    lambda whole, slices, every, propagate, fresh, carry, tile: Costs(
        whole=whole,
        slices=tuple(slices),
        tile=tile,
        every=every,
        before=every / 2,
        motion=every / 4,
        motions={"dis": every / 4, "dis-coarse": every / 8},
        propagate=propagate,
        fresh=fresh,
        carry=carry,
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
    """Slices that are begun, one after the other, as the executor does it."""
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
    """Carry decisions out on paper: (situation, decision, milliseconds that it takes at its prices).

    ``hot`` is what each tile's drift grows by a frame.
    """
    still = (0.0,) * len(hot)
    now = Situation(number=0, slices=8, context=context, tiles=still, tile_ages=still)
    log = []
    for number in range(frames):
        price = prices[number % len(prices)]
        decision = policy.decide(now, price)
        spent, stem_done = price.every, False
        after = price.every - price.before  # what of that comes after the actions
        for action in decision.actions:
            match action:
                case Infer():
                    spent += price.whole + price.fresh
                    now = replace(now, tiles=still, tile_ages=still)
                case InferTiles(tiles=chosen):
                    assert set(chosen) <= set(range(len(hot)))
                    spent += price.tile * len(chosen) + price.propagate
                    drift, ages = list(now.tiles), list(now.tile_ages)
                    for number in chosen:
                        drift[number] = ages[number] = 0.0
                    now = replace(now, tiles=tuple(drift), tile_ages=tuple(ages), age=int(max(ages)))
                case Advance(slices=count, until_ms=until):
                    steps = fitting(price.slices, range(now.key_done, 8), count, spent - after, until, price.fresh)
                    spent += sum(price.slices[now.key_done : now.key_done + steps])
                    done = now.key_done + steps == 8
                    spent += price.fresh if done else 0
                    now = replace(now, key_done=0 if done else now.key_done + steps)
                    if done:
                        now = replace(now, context_age=now.key_age if context else None)
                        old = tuple(float(now.key_age) for _ in hot)
                        now = replace(now, age=now.key_age, key_age=0, tiles=still, tile_ages=old)
                case Refresh(slices=count, until_ms=until):
                    begin, end = context
                    if not now.refresh_done and not stem_done:
                        spent += sum(price.slices[:begin])
                        stem_done = True
                    left = range(begin + now.refresh_done, end)
                    steps = fitting(price.slices, left, count, spent - after, until, price.fresh)
                    spent += sum(price.slices[left.start : left.start + steps])
                    done = steps == len(left)
                    now = replace(now, refresh_done=0 if done else now.refresh_done + steps)
                    if done:
                        now = replace(now, context_age=now.refresh_age, refresh_age=0)
                case Detail():
                    begin, end = context
                    assert now.context_age is not None
                    spent += sum(price.slices[end:]) + price.carry + price.fresh
                    spent += 0 if stem_done else sum(price.slices[:begin])
                    stem_done = True
                    now = replace(now, age=0, tiles=still, tile_ages=still)
                case Propagate():
                    spent += price.propagate
                case Hold():
                    pass
        if any(isinstance(action, Infer) for action in decision.actions):
            now = replace(now, age=0)
        log.append((now, decision, spent))
        now = replace(
            now,
            number=number + 1,
            age=None if now.age is None else now.age + 1,
            context_age=None if now.context_age is None else now.context_age + 1,
            key_age=now.key_age + 1 if now.key_done else 0,
            refresh_age=now.refresh_age + 1 if now.refresh_done else 0,
            tiles=tuple(min(1.0, drift + more) for drift, more in zip(now.tiles, hot, strict=True)),
            tile_ages=tuple(age + 1 for age in now.tile_ages),
        )
    return log


@settings(max_examples=200, deadline=None)
@given(
    deadline=st.floats(0.5, 60),
    prices=st.lists(costs, min_size=1, max_size=4),
    context=st.sampled_from([None, (2, 6), (1, 7)]),
    hot=drifts,
)
def test_a_budget_is_never_planned_over_unless_it_says_so(
    deadline: float, prices: list[Costs], context: object, hot: tuple[float, ...]
) -> None:
    policy = Deadline(milliseconds=deadline)
    for _, decision, spent in simulate(policy, 40, prices, context, hot)[1:]:
        if "over deadline" not in decision.reason:
            assert spent <= deadline * (1 + 1e-9) + 1e-9, decision


@settings(max_examples=150, deadline=None)
@given(deadline=st.floats(0.5, 60), price=costs, context=st.sampled_from([None, (2, 6)]), hot=drifts)
def test_a_map_never_starves(deadline: float, price: Costs, context: object, hot: tuple[float, ...]) -> None:
    """Whatever things cost, a map is renewed slice by slice: 8 slices on top of the oldest age, and their own age."""
    policy = Deadline(milliseconds=deadline, oldest=10)
    log = simulate(policy, 120, [price], context, hot)
    assert max(now.age for now, _, _ in log) <= 10 + 2 * 8 + 2
    assert all(age <= 10 + 2 * 8 + 2 for now, _, _ in log for age in now.tile_ages)


@settings(max_examples=100, deadline=None)
@given(bad=costs, context=st.sampled_from([None, (2, 6)]))
def test_it_recovers_when_things_get_cheap_again(bad: Costs, context: object) -> None:
    policy = Deadline(milliseconds=14.0)
    log = simulate(policy, 30, [bad], context)
    last = replace(log[-1][0], number=30)
    decision = policy.decide(last, COSTS)
    assert decision.actions == (Infer(),)


def test_the_order_in_which_a_budget_degrades() -> None:
    """As the deadline shrinks, the same situation gets less and less."""
    now = Situation(number=8, age=2, slices=8, context=(1, 7), context_age=3)
    thin = replace(COSTS, slices=(0.5, *(1.8,) * 6, 0.5))  # a thin per-frame path
    seen = [Deadline(milliseconds=ms).decide(now, thin) for ms in (13, 6, 4, 2, 1)]
    kinds = ["+".join(type(a).__name__ for a in decision.actions) for decision in seen]
    assert kinds == ["Infer", "Detail+Refresh", "Advance+Propagate", "Propagate", "Hold"]


def test_a_budget_prefers_keyframes_where_the_per_frame_path_is_thick() -> None:
    now = Situation(number=8, age=2, slices=8, context=(3, 5), context_age=3)
    assert isinstance(Deadline(milliseconds=10).decide(now, COSTS).actions[0], Advance)


@pytest.mark.parametrize("period", [1, 2, 5])
def test_fixed_keys_come_every_period(period: int) -> None:
    log = simulate(Fixed(period=period), 20, [COSTS], None)
    keys = [number for number, (_, decision, _) in enumerate(log) if decision.actions == (Infer(),)]
    assert keys == list(range(0, 20, period))


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_sliced_keys_finish_in_so_many_frames(frames: int) -> None:
    log = simulate(Sliced(frames=frames), 4 * frames + 1, [COSTS], None)
    advanced = [
        (now.key_done, any(isinstance(action, Advance) for action in decision.actions)) for now, decision, _ in log[1:]
    ]
    finished = [number for number, (done, ran) in enumerate(advanced) if ran and done == 0]
    assert finished[:3] == [frames - 1 + turn * frames for turn in range(3)]


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_clockwork_spreads_the_context(frames: int) -> None:
    log = simulate(Clockwork(frames=frames), 6 * frames + 1, [COSTS], (2, 6))
    assert all(any(isinstance(a, Detail) for a in decision.actions) for _, decision, _ in log)
    assert max(now.context_age for now, _, _ in log) <= 2 * frames - 1
    spent = [cost for _, _, cost in log[1:]]
    assert max(spent) - min(spent) <= max(COSTS.slices) + 1e-9


def test_feature_renews_the_context_every_period() -> None:
    log = simulate(Feature(period=4), 13, [COSTS], (2, 6))
    fresh = [number for number, (now, _, _) in enumerate(log) if now.context_age == 0]
    assert fresh == [0, 4, 8, 12]


def test_adaptive_infers_when_the_drift_passes_its_limit() -> None:
    policy = Adaptive(limit=0.05, longest=9)
    assert policy.decide(Situation(number=3, age=2, drift=0.04), COSTS).actions == (Propagate(),)
    assert policy.decide(Situation(number=3, age=2, drift=0.06), COSTS).actions == (Infer(),)
    assert policy.decide(Situation(number=30, age=9, drift=0.0), COSTS).actions == (Infer(),)


def test_a_budget_prefers_few_regions_that_hold_the_drift() -> None:
    price = replace(COSTS, tile=2.0)
    now = Situation(
        number=8, age=2, slices=8, tiles=(0, 0, 0.2, 0, 0, 0.1), tile_ages=(2,) * 6, context=(2, 6), context_age=3
    )
    decision = Deadline(milliseconds=8).decide(now, price)
    assert decision.actions == (InferTiles((2, 5)),) or set(decision.actions[0].tiles) >= {2, 5}
    spread = replace(now, tiles=(0.1,) * 6)
    assert not isinstance(Deadline(milliseconds=8).decide(spread, price).actions[0], InferTiles)


def test_a_budget_looks_less_closely_before_it_stops_looking() -> None:
    motions = {"dis-fine": 2.0, "dis": 1.5, "dis-coarse": 1.0, "still": 0.1}
    price = replace(COSTS, every=3.0, motion=2.0, motions=motions)
    now = Situation(number=8, age=2, slices=8)
    seen = [Deadline(milliseconds=ms).decide(now, price).next_motion for ms in (6.4, 5.9, 5.4, 4.0, 2.4, 1.0)]
    assert seen == ["dis-fine", "dis", "dis-coarse", "dis-coarse", "dis-coarse", "still"]
    now, price = replace(now, slices=0), replace(price, slices=())
    whole = [Deadline(milliseconds=ms).decide(now, price).next_motion for ms in (3.4, 2.9, 1.0)]
    assert whole == ["dis-fine", "dis", "still"]


@pytest.mark.parametrize(
    ("motion", "expected"),
    [("still", ["still", "still", "still"]), ("dis-coarse", ["dis-coarse", "dis-coarse", "still"])],
)
def test_a_coarse_motion_is_never_exchanged_for_a_dearer_one(motion: str, expected: list[str]) -> None:
    motions = {"dis-fine": 2.0, "dis": 1.5, "dis-coarse": 1.0, "still": 0.1}
    price = replace(COSTS, every=1.0, motion=0.0, motions=motions)
    now = Situation(number=8, age=2, slices=8)
    seen = [Deadline(milliseconds=ms, motion=motion).decide(now, price).next_motion for ms in (9.0, 2.5, 1.5)]
    assert seen == expected


def test_regional_infers_what_drifted_and_what_is_old() -> None:
    policy, price = Regional(limit=0.1, oldest=5), replace(COSTS, tile=3.0)
    now = Situation(number=9, age=4, tiles=(0.0, 0.3, 0.05), tile_ages=(2, 2, 2))
    assert policy.decide(now, price).actions == (InferTiles((1,)),)
    assert policy.decide(replace(now, tiles=(0.0, 0.0, 0.0)), price).actions == (Propagate(),)
    assert policy.decide(replace(now, tile_ages=(5, 2, 2)), price).actions == (InferTiles((0, 1)),)
    assert policy.decide(replace(now, age=None), price).actions == (Infer(),)


def test_regional_takes_the_whole_frame_where_that_is_cheaper_and_the_worst_where_few_are_allowed() -> None:
    price = replace(COSTS, tile=4.0)
    now = Situation(number=9, age=4, tiles=(0.3, 0.2, 0.5), tile_ages=(2, 2, 2))
    assert Regional(limit=0.1).decide(now, price).actions == (Infer(),)
    assert Regional(limit=0.1, most=2).decide(now, price).actions == (InferTiles((0, 2)),)


def test_regional_never_starves_a_region() -> None:
    log = simulate(Regional(oldest=7, most=2), 60, [COSTS], None, (0.2, 0.2, 0.2, 0.0, 0.0, 0.0))
    assert max(max(now.tile_ages) for now, _, _ in log) <= 7 + TILES


def test_async_gives_the_worker_one_frame_after_the_other() -> None:
    policy = Async()
    assert policy.decide(Situation(number=0), COSTS).actions == (Infer(),)
    now = Situation(number=5, age=2)
    assert policy.decide(now, COSTS).actions == (Launch(), Propagate())
    busy = replace(now, launched_age=2)
    assert policy.decide(busy, COSTS).actions == (Propagate(),)
    assert policy.decide(replace(busy, launched_done=True), COSTS).actions == (Collect(), Launch())


def test_async_with_a_lag_waits_for_its_frame() -> None:
    policy, now = Async(lag=3), Situation(number=5, age=2, launched_age=2, launched_done=True)
    assert policy.decide(now, COSTS).actions == (Propagate(),)
    assert policy.decide(replace(now, launched_age=3, launched_done=False), COSTS).actions == (Collect(), Launch())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nonsense", {}, "fixed"),
        ("fixed", {"period": 0}, "period"),
        ("fixed", {"interval": 3}, "interval"),
        ("deadline", {"milliseconds": -1.0}, "positive"),
        ("adaptive", {"limit": 2.0}, "limit"),
        ("sliced", {"frames": 0}, "frames"),
        ("sliced", {"frames": 2.5}, "int"),
        ("sliced", {"needs": ""}, "it has: frames, motion"),
        ("adaptive", {"limit": "much"}, "float"),
        ("deadline", {}, "needs milliseconds"),
        ("regional", {"limit": 0.0}, "limit"),
        ("async", {"lag": -1}, "lag"),
        ("deadline", {"milliseconds": 9.0, "share": 0.0}, "share"),
    ],
)
def test_bad_policies_are_refused(name: str, options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_policy(name, **options)


def test_every_policy_says_what_it_is_called() -> None:
    for name, maker in POLICIES.items():
        made = maker(milliseconds=10.0) if name == "deadline" else maker()
        assert made.name == name


def test_a_decision_reads_well() -> None:
    assert (
        str(Decision(actions=(Advance(2), Propagate()), reason="slice 4 of 8")) == "advance 2, propagate: slice 4 of 8"
    )
