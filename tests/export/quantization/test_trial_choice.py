"""Which int8 graph is taken, by scripted agreements and times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_vseg.bundle.manifest import PrecisionTrial
from edge_vseg.errors import OptionError
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.quantization.trial_choice import Trial, Wanted, choose_trial, tried, way_out

FRAMES, TURNS = 12, 15
LIMITS = ExportThresholds()


def untimed(nodes: int, agreement: float) -> Trial[str]:
    """One for another machine."""
    return replace(trial(nodes, agreement, 1.0), ms=np.empty(0), float_ms=np.empty(0))


def trial(nodes: int, agreement: float, ms: float, *, frames=0.0, turns=0.0, float_ms: float = 40.0) -> Trial[str]:
    """One whose disagreement by frame and time by turn have the given deviations around what is asked for."""
    disagreement = np.full(FRAMES, 1 - agreement) + np.asarray(frames)
    times = np.full(TURNS, ms) + np.asarray(turns)
    names = tuple(f"n{i}" for i in range(nodes))
    return Trial(
        graph=f"{nodes}", float_nodes=names, disagreement=disagreement, ms=times, float_ms=np.full(TURNS, float_ms)
    )


def alternating(size: int, amount: float) -> np.ndarray:
    """Deviations of mean and median 0 for an even size: half above, half below."""
    return amount * np.where(np.arange(size) % 2, 1.0, -1.0)


@pytest.mark.parametrize(
    ("trials", "taken"),
    [
        pytest.param([(0.986, 10), (0.988, 19)], 0, id="a little better, twice as long"),
        pytest.param([(0.986, 10), (0.990, 11)], 1, id="a third less disagreement in a tenth more time"),
        pytest.param([(0.90, 10), (0.986, 30)], 1, id="too little agreement at any speed"),
        pytest.param([(0.90, 10), (0.95, 30), (0.94, 39)], 1, id="none is good enough: the best"),
        pytest.param([(0.985, 10)], 0, id="one alone"),
        pytest.param([(0.986, 10), (0.999, 50)], 0, id="better, but slower than float"),
        pytest.param([(0.986, 50), (0.999, 60)], 1, id="all slower than float: the least cost"),
    ],
)
def test_half_of_the_disagreement_is_worth_twice_the_time(trials: list[tuple[float, float]], taken: int) -> None:
    made = [trial(nodes, *each) for nodes, each in enumerate(trials)]
    assert choose_trial(made, Wanted()) is made[taken]


def test_noise_in_the_time_is_not_paid_for_with_nodes_in_float() -> None:
    """The second is 3 % faster in the median, of turns that differ by 20 %: the first, with fewer nodes, is taken."""
    noisy = alternating(TURNS, 2.0)
    assert choose_trial(made := [trial(2, 0.99, 10.0, turns=noisy), trial(9, 0.99, 9.7)], Wanted()) is made[0]
    assert choose_trial(made := [trial(2, 0.99, 10.0), trial(9, 0.99, 9.7)], Wanted()) is made[1], "no noise, no doubt"


def test_noise_that_both_have_in_the_same_turn_does_not_matter() -> None:
    shared = np.where(np.arange(TURNS) < 7, 10.0, 0.0)
    made = [trial(2, 0.99, 10.0, turns=shared), trial(9, 0.99, 9.0, turns=0.9 * shared)]
    assert np.ptp(made[0].ms) > 9
    assert choose_trial(made, Wanted()) is made[1], "in each turn it was a tenth faster"


def test_an_outlier_in_one_turn_does_not_decide() -> None:
    spike = np.where(np.arange(TURNS) == 3, 500.0, 0.0)
    made = [trial(2, 0.99, 8.0, turns=spike), trial(9, 0.99, 10.0)]
    assert choose_trial(made, Wanted()) is made[0]


def test_a_gain_on_some_frames_and_a_loss_on_others_is_no_gain() -> None:
    """0.1 % better on average: on each frame by as much, or by half a percent more or less."""
    unsure = alternating(FRAMES, 0.005)
    assert choose_trial(made := [trial(2, 0.988, 10.0), trial(9, 0.989, 10.0, frames=unsure)], Wanted()) is made[0]
    assert choose_trial(made := [trial(2, 0.988, 10.0), trial(9, 0.989, 10.0)], Wanted()) is made[1]
    both = alternating(FRAMES, 0.005)
    made = [trial(2, 0.988, 10.0, frames=both), trial(9, 0.989, 10.0, frames=both * 0.011 / 0.012)]
    assert choose_trial(made, Wanted()) is made[1], "frames that are hard for both say nothing about the difference"


def test_the_same_as_a_bootstrap_would_say() -> None:
    """The error to first order against 4000 resamples of frames and turns: within a fifth of each other."""
    rng = np.random.default_rng(5)
    ours, theirs = (0.012 + rng.normal(0, 0.003, FRAMES) for _ in range(2))
    fast, slow = (10 + rng.normal(0, 0.4, TURNS) for _ in range(2))
    costs = []
    for _ in range(4000):
        frames, turns = rng.integers(0, FRAMES, FRAMES), rng.integers(0, TURNS, TURNS)
        costs.append(np.log(ours[frames].mean() / theirs[frames].mean()) + np.median(np.log(fast[turns] / slow[turns])))
    error = np.std(costs)

    def taken(excess: float) -> bool:
        """Whether the first is taken although it costs more by so many standard errors."""
        level = np.exp(excess * error) * 10 / np.median(fast) * np.mean(theirs) / np.mean(ours)
        # The floor of the disagreement is far below these values.
        first = Trial(
            graph="a", float_nodes=(), disagreement=ours, ms=fast * level * np.median(slow) / 10, float_ms=slow * 9
        )
        second = Trial(graph="b", float_nodes=("n",), disagreement=theirs, ms=slow, float_ms=slow * 9)
        return choose_trial([first, second], Wanted(agreement=0.5)) is first

    assert taken(0.6)
    assert not taken(1.6)


def test_speed_that_is_asked_for_goes_before_agreement() -> None:
    made = [trial(0, 0.986, 20.0), trial(4, 0.999, 30.0)]
    assert choose_trial(made, Wanted(fast=1)) is made[1]
    assert choose_trial(made, Wanted(speedup=1.8)) is made[0]
    assert choose_trial(made, Wanted(speedup=2.5)) is made[1], "none reaches it: as if it had not been asked for"


def test_a_graph_as_fast_as_int8_should_be_goes_before_one_that_agrees_better() -> None:
    """A PSPNet on TFLite: 98.9 % of the cells at 3.2 times float's speed, or 99.8 % at 1.4 times."""
    made = [trial(0, 0.989, 12.4), trial(43, 0.998, 28.4)]
    assert choose_trial(made, Wanted()) is made[0]
    assert choose_trial(made, Wanted(agreement=0.99)) is made[1], "only among those that agree well enough"
    assert choose_trial(made, Wanted(speedup=1.2)) is made[1], "the user says what is fast enough"
    assert choose_trial(made, Wanted.of(ExportThresholds(int8_speedup=4))) is made[1], "none is so fast"
    both = [trial(0, 0.987, 20.0), trial(4, 0.994, 21.0)]
    assert choose_trial(both, Wanted()) is both[1], "among the fast ones, the least cost"
    with pytest.raises(OptionError, match=r"int8_speedup must be 1 or more, got 0\.5"):
        ExportThresholds(int8_speedup=0.5)


def test_what_is_accepted_follows_the_drop_that_is_allowed() -> None:
    assert Wanted.of(LIMITS) == Wanted(agreement=pytest.approx(0.985), enough=0.992)
    assert Wanted.of(LIMITS, max_drop=0.004).enough == pytest.approx(0.997), "the search goes on until it is met"
    fixed = ExportThresholds(int8_accepted=0.9)
    assert Wanted.of(fixed, max_drop=0.001).agreement == 0.9


def test_for_another_machine_agreement_alone_decides() -> None:
    """Timed here, the second would be taken: it disagrees half as much, in as much time."""
    made = [untimed(0, 0.987), untimed(40, 0.9935)]
    assert choose_trial(made, Wanted()) is made[0]
    assert choose_trial(made, Wanted(agreement=0.99)) is made[1]
    assert choose_trial(made, Wanted(agreement=0.999)) is made[1], "none is good enough: the best"
    assert choose_trial(timed := [trial(0, 0.987, 50.0), trial(40, 0.9935, 39.0)], Wanted()) is timed[1]
    said = tried(made[0], made[0])
    assert (said.latency_ms, said.quartiles_ms, said.speedup, said.taken) == (None, None, None, True)


def test_a_way_out_for_another_machine_is_not_a_speed() -> None:
    made = [untimed(0, 0.96), untimed(5, 0.97)]
    trials = [tried(each, made[1]) for each in made]
    assert way_out(trials, Wanted(), LIMITS) == "tried: 97.0% (5 nodes in float); give --max-drop 0.04"
    assert way_out([tried(untimed(0, 0.99), made[0])], Wanted(), LIMITS) == ""


def listed(*trials: tuple[int, float, float]) -> list[PrecisionTrial]:
    made = [trial(*each) for each in trials]
    return [tried(each, made[0]) for each in made]


def test_a_way_out_of_a_contradiction() -> None:
    trials = listed((0, 0.971, 40 / 1.9), (27, 0.989, 40 / 1.06))
    wanted = Wanted.of(LIMITS, 0.02, 1.8)
    assert way_out(trials, wanted, LIMITS) == (
        "tried: 98.9% at 1.06x (27 nodes in float), or 97.1% at 1.90x (all in int8);"
        " give --min-speedup 1.05 or --max-drop 0.039"
    )
    # What it says is true: with either, a trial is accepted.
    for drop, speedup in ((0.02, 1.05), (0.039, 1.8)):
        eased = Wanted.of(LIMITS, drop, speedup)
        assert any(each.agreement >= eased.agreement and each.speedup >= eased.speedup for each in trials)
        assert way_out(trials, eased, LIMITS) == ""


def test_a_way_out_where_only_one_thing_can_give() -> None:
    bad = listed((0, 0.96, 20.0), (5, 0.97, 25.0))
    assert way_out(bad, Wanted(), LIMITS) == "tried: 97.0% at 1.60x (5 nodes in float); give --max-drop 0.04"
    slow = listed((0, 0.99, 20.0))
    assert way_out(slow, Wanted(speedup=3.0), LIMITS) == "tried: 99.0% at 2.00x (all in int8); give --min-speedup 2"
    assert way_out([], Wanted(), LIMITS) == ""


def test_what_the_manifest_says() -> None:
    made = trial(3, 0.99, 10.0, turns=np.arange(TURNS) - 7)
    found = tried(made, made)
    assert (found.float_nodes, found.taken, found.latency_ms) == (3, True, 10.0)
    assert found.quartiles_ms == (6.5, 13.5)
    assert found.speedup == pytest.approx(4.0)
    assert found.agreement == pytest.approx(0.99)
