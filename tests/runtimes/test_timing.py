from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from tiny_network import tensor

from edge_vseg.errors import SessionError
from edge_vseg.runtimes.timing import WARM_UPS, Runner, noise, race


class World:
    """A clock that only runs of scripted sessions move, and a diary of who ran."""

    def __init__(self) -> None:
        self.now = 0
        self.diary: list[str] = []

    def clock(self) -> int:
        return self.now


class ScriptedSession:
    """Takes the next duration of its script at each run, the last one for ever; fails where it says 0."""

    provider = "cpu"

    def __init__(self, world: World, name: str, script: list[int]) -> None:
        self.world, self.name, self.script = world, name, script

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        duration = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if duration == 0:
            raise SessionError(f"{self.name} broke")
        self.world.now += duration * 1_000_000
        self.world.diary.append(self.name)
        return inputs

    def close(self) -> None: ...


def run_race(
    rounds: int, budget_s: float = math.inf, limit_s: float = math.inf, **scripts: list[int]
) -> tuple[dict[str, Runner], str]:
    world = World()
    runners = [Runner(key=k, session=ScriptedSession(world, k, s), feed={}) for k, s in scripts.items()]
    race(runners, rounds=rounds, clock=world.clock, budget_s=budget_s, limit_s=limit_s)
    return {r.key: r for r in runners}, "".join(world.diary)


def test_sessions_take_turns_after_warm_up() -> None:
    runners, diary = run_race(3, a=[10], b=[20])
    assert diary == "ab" * WARM_UPS + "ababab"
    assert (runners["a"].median_ms, runners["b"].median_ms) == (10, 20)


def test_warm_up_does_not_count() -> None:
    runners, _ = run_race(3, a=[900, 10, 11, 12, 13])
    assert runners["a"].samples_ns == [11_000_000, 12_000_000, 13_000_000]
    assert runners["a"].median_ms == 12


def test_median_not_mean() -> None:
    runners, _ = run_race(3, a=[1, 10, 10, 1000, 12])
    assert runners["a"].median_ms == 12


def test_a_slow_session_keeps_its_warm_up_sample() -> None:
    runners, diary = run_race(5, fast=[10], slow=[31], near=[30])
    assert diary.count("slow") == WARM_UPS
    assert diary.count("near") == WARM_UPS + 5
    assert runners["slow"].median_ms == 31


@pytest.mark.parametrize(
    ("budget_s", "diary", "median_ms"),
    [
        pytest.param(0.0, "abba", 6000, id="warm-up only"),
        pytest.param(8.0, "abbaab", 4000, id="a round"),
        pytest.param(18.0, "abba" + "ab" * 3, 4000, id="fewer rounds"),
        pytest.param(999.0, "abba" + "ab" * 5, 4000, id="all rounds"),
    ],
)
def test_slow_sessions_have_fewer_rounds(budget_s: float, diary: str, median_ms: float) -> None:
    runners, seen = run_race(5, budget_s, a=[9000, 6000, 4000], b=[4000, 2000])
    assert seen == diary
    assert runners["a"].median_ms == median_ms


@pytest.mark.parametrize(
    ("limit_s", "diary", "times_ms"),
    [
        pytest.param(-1.0, "ab", (9000, 4000), id="opening took it all"),
        pytest.param(16.0, "ab", (9000, 4000), id="one run each"),
        pytest.param(23.0, "abb" + "bbbb", (9000, 2000), id="the faster one runs on"),
        pytest.param(24.0, "abba", (6000, 2000), id="warm-up"),
        pytest.param(32.0, "abbaab", (4000, 2000), id="a round"),
    ],
)
def test_the_limit_is_for_all_but_first_runs(limit_s: float, diary: str, times_ms: tuple[float, float]) -> None:
    runners, seen = run_race(5, limit_s=limit_s, a=[9000, 6000, 4000], b=[4000, 2000])
    assert seen == diary
    assert (runners["a"].median_ms, runners["b"].median_ms) == times_ms


@pytest.mark.parametrize("first_ms", [12_000, 25_000, 40_000, 400_000])
def test_a_first_run_that_compiles_tells_nothing(first_ms: int) -> None:
    runners, _ = run_race(20, 30.0, cpu=[80], tensorrt=[first_ms, 10])
    assert (runners["tensorrt"].median_ms, len(runners["tensorrt"].samples_ns)) == (10, 20)
    assert runners["cpu"].median_ms == 80


def test_a_slow_session_takes_no_rounds_from_the_others() -> None:
    runners, diary = run_race(15, 30.0, warm=[400, 50], cold=[100, 90], slow=[16_000])
    assert [runner.median_ms for runner in runners.values()] == [50, 90, 16_000]
    assert (diary.count("warm"), diary.count("slow")) == (WARM_UPS + 15, WARM_UPS)


def test_the_budget_is_not_kept_for_those_that_failed() -> None:
    runners, diary = run_race(2, 1.2, a=[1000, 0], b=[500])
    assert (runners["a"].failure, diary) == ("a broke", "abbbb")


@pytest.mark.parametrize("script", [[0], [10, 10, 10, 0]], ids=["warm-up", "later"])
def test_failing_session_drops_out_with_its_reason(script: list[int]) -> None:
    runners, diary = run_race(4, broken=script, good=[10])
    assert runners["broken"].median_ms is None
    assert runners["broken"].failure == "broken broke"
    assert runners["good"].median_ms == 10
    assert diary.count("good") == WARM_UPS + 4


def test_all_fail_and_none_at_all() -> None:
    runners, _ = run_race(2, a=[0], b=[0])
    assert [r.median_ms for r in runners.values()] == [None, None]
    race([], rounds=1, clock=lambda: 0)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        pytest.param(tensor("x", (1, 32, 32, 3), "uint8", "NHWC"), 0, 255, id="uint8"),
        pytest.param(tensor("x", (1, 32, 32, 3), "int8", "NHWC"), -128, 127, id="int8"),
        pytest.param(tensor("x", (1, 32, 32, 3), "int32", "NHWC"), 0, 255, id="int32"),
        pytest.param(tensor("x", (1, 32, 32, 3), "float32", "NHWC"), 0, 255, id="plain-float"),
        pytest.param(
            tensor("x", (1, 32, 32, 3), "float32", "NHWC", mean=(127.5,) * 3, scale=(127.5,) * 3), -1, 1, id="nhwc"
        ),
        pytest.param(
            tensor("x", (1, 3, 32, 32), "float16", "NCHW", mean=(127.5,) * 3, scale=(127.5,) * 3), -1, 1, id="nchw"
        ),
    ],
)
def test_noise_spans_the_range_of_frames(spec: object, low: float, high: float) -> None:
    array = noise(spec, np.random.default_rng(0))
    assert (array.shape, array.dtype) == (spec.shape, spec.dtype)
    assert (array.min(), array.max()) == (low, high)


def test_noise_normalises_by_channel() -> None:
    spec = tensor("x", (1, 3, 64, 64), "float32", "NCHW", mean=(0, 255, 0), scale=(255, 255, 1))
    array = noise(spec, np.random.default_rng(0))
    assert [(c.min(), c.max()) for c in array[0]] == [(0, 1), (-1, 0), (0, 255)]
