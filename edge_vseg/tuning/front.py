"""The Pareto front of a study, and the settings to recommend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.wish import Figures, Wish

GOOD_ENOUGH = 1.0
"""Points of quality that the thriftiest recommendation may be below the best."""
RECOMMENDED_NAMES = ("best", "balanced", "thrifty")
"""What a study recommends, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTrial:
    """A trial that has been done.

    Attributes:
        number: Its number in the study.
        setting: What it ran.
        figures: What it gave; ``None`` if it failed.
        failure: Why it failed; empty if it did not.
        default: Whether it is what a user gets who tunes nothing.
    """

    number: int
    setting: Setting
    figures: Figures | None
    failure: str = ""
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A setting to take.

    Attributes:
        name: ``best``, ``balanced`` or ``thrifty``.
        why: In words.
        trial: The trial.
        also: The other names, if the same trial is more than one of the three.
    """

    name: str
    why: str
    trial: StudyTrial
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it goes by."""
        return (self.name, *self.also)


_Item = TypeVar("_Item")


def pareto_front(items: Sequence[_Item], objectives: Callable[[_Item], Sequence[float]]) -> list[_Item]:
    """Items that no other one beats: at least as good in every objective and better in one.

    Args:
        items: Items.
        objectives: What is minimized.
    """
    if not items:
        return []
    values = np.array([objectives(item) for item in items], np.float64)
    return [item for index, item in enumerate(items) if not _is_beaten(values, index)]


def allowed(trials: Sequence[StudyTrial], wish: Wish) -> list[StudyTrial]:
    """The trials that keep all limits."""
    return [trial for trial in trials if trial.figures is not None and wish.allows(trial.figures)]


def front_of(trials: Sequence[StudyTrial], wish: Wish) -> list[StudyTrial]:
    """The front of the trials that keep all limits, the best quality first; of equal ones the first."""
    front = pareto_front(allowed(trials, wish), _minimized)
    found = {_minimized(trial): trial for trial in sorted(front, key=lambda trial: -trial.number)}
    return [found[figures] for figures in sorted(found)]


def recommend(trials: Sequence[StudyTrial], wish: Wish) -> list[Recommendation]:
    """Up to three settings: the best, the one at the bend of the front, and the thriftiest that is good enough.

    A setting comes once, under the first of the three names that it is, and knows the others.
    """
    front = front_of(trials, wish)
    if not front:
        return []
    best = front[0]
    least = _figures(best).quality - GOOD_ENOUGH
    good = [trial for trial in front if _figures(trial).quality >= least]
    thrifty = min(good, key=lambda trial: (_figures(trial).cpu_share, _figures(trial).p99_ms, trial.number))
    reasons = {
        "best": (best, "the highest quality within the limits"),
        "balanced": (_bend(front), "the bend of the front: all three figures are near their best"),
        "thrifty": (thrifty, f"the smallest share of the cores within {GOOD_ENOUGH:g} point of the best"),
    }
    named: dict[int, Recommendation] = {}
    for name in RECOMMENDED_NAMES:
        trial, why = reasons[name]
        if (known := named.get(trial.number)) is not None:
            named[trial.number] = replace(known, also=(*known.also, name))
        else:
            named[trial.number] = Recommendation(name=name, why=why, trial=trial)
    return list(named.values())


def dominated_volume(
    points: Sequence[Sequence[float]], worst: Sequence[float], best: Sequence[float], samples: int = 100_000
) -> float:
    """Share of the box between ``best`` and ``worst`` that minimized points dominate, 0 to 1.

    By Monte Carlo with a fixed seed: good to about 0.002, for any number of objectives.

    Reference: Zitzler and Thiele, Multiobjective Optimization Using Evolutionary Algorithms, PPSN 1998, who call it
    the size of the dominated space.
    """
    low, high = np.asarray(best, np.float64), np.asarray(worst, np.float64)
    drawn = np.random.default_rng(0).uniform(low, high, (samples, len(low)))
    dominated = np.zeros(samples, np.bool_)
    for point in points:
        dominated |= (drawn >= np.asarray(point)).all(axis=1)
    return float(dominated.mean())


def _bend(front: Sequence[StudyTrial]) -> StudyTrial:
    """The trial nearest to the ideal corner, each objective scaled to its range on the front."""
    values = np.array([_minimized(trial) for trial in front], np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    return front[int(np.argmin((scaled**2).sum(axis=1)))]


def _minimized(trial: StudyTrial) -> tuple[float, float, float]:
    quality, p99_ms, cpu_share = _figures(trial).objectives
    return -quality, p99_ms, cpu_share


def _figures(trial: StudyTrial) -> Figures:
    assert trial.figures is not None
    return trial.figures


def _is_beaten(values: NDArray[np.float64], index: int) -> bool:
    mine = values[index]
    return bool(((values <= mine).all(axis=1) & (values < mine).any(axis=1)).any())
