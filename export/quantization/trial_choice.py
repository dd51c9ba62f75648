"""Which of several int8 graphs is taken, by agreement with float and by time, neither of which is known exactly.

The cost of a graph is its disagreement with float times its duration: half of the disagreement is worth no more than
twice the time. On a logarithmic scale both terms are sums, and so are their errors:

- all graphs run on the same frames, so the error of a difference in disagreement comes from differences by frame;
- all are timed in turns, so the error of a difference in time comes from differences by turn: their median is taken,
  and its error from the median absolute deviation, since a busy machine gives outliers.

Where any graph that agrees well enough is as fast as int8 should be (1.8 times as fast as float, by default), the
others do not count: whoever allows a drop of agreement does so for speed.

Taken is the graph with the fewest nodes in float whose cost is within one standard error of the least cost: what cannot
be told from noise is not paid for with nodes in float. Graphs for another machine are not timed, for their times here
say nothing about it: the one with the fewest nodes in float that agrees well enough is taken.

Reference: the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import PrecisionTrial
from edge_vseg.export.export_thresholds import ExportThresholds

Graph = TypeVar("Graph")
_EQUAL = 1e-4
"""Disagreement that is as good as none."""
_ERROR_OF_MEDIAN = 1.2533 * 1.4826
"""Standard error of a median of n normal values, times the square root of n, over their median absolute deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an int8 graph must reach.

    Attributes:
        agreement: Share of cells in which it must agree with float to be accepted.
        enough: Share at which nothing better is looked for.
        speedup: How many times as fast as float it must be; ``None`` for ``fast`` or else no slower, if that can be.
        fast: How many times as fast as float it should be, unless ``speedup`` says what it must be.
    """

    agreement: float = 0.985
    enough: float = 0.992
    speedup: float | None = None
    fast: float = 1.8

    @classmethod
    def of(cls, limits: ExportThresholds, max_drop: float = 0.02, min_speedup: float | None = None) -> Wanted:
        """What the options of an export ask for."""
        derived = 1 - limits.int8_margin * max_drop
        agreement = derived if limits.int8_accepted is None else limits.int8_accepted
        return cls(
            agreement=agreement,
            enough=max(limits.int8_agreement, derived),
            speedup=min_speedup,
            fast=limits.int8_speedup,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial(Generic[Graph]):
    """An int8 graph, how well it agrees with float, and how long it takes.

    Attributes:
        graph: The graph, in its runtime's form.
        float_nodes: Names of the nodes kept in float.
        disagreement: ``(frames,)`` share of cells that are not of the float graph's class.
        ms: ``(turns,)`` milliseconds of a frame; no turns if it was made for another machine.
        float_ms: ``(turns,)`` of the float graph in the same turns.
    """

    graph: Graph
    float_nodes: tuple[str, ...]
    disagreement: NDArray[np.float64]
    ms: NDArray[np.float64]
    float_ms: NDArray[np.float64]

    @property
    def agreement(self) -> float:
        """Share of cells of all frames that are of the float graph's class."""
        return 1 - float(self.disagreement.mean())

    @property
    def speedup(self) -> float | None:
        """How many times as fast as float it is; ``None`` if it was not timed."""
        return float(np.median(self.float_ms / self.ms)) if self.ms.size else None


def choose_trial(trials: Sequence[Trial[Graph]], wanted: Wanted) -> Trial[Graph]:
    """The trial to take.

    Those that agree well enough and are fast enough count; if there are none, those that agree well enough; if there
    are none of these either, the one that agrees best is taken.

    Args:
        trials: Fewest nodes in float first; at least one.
        wanted: What they must reach.
    """
    agreeing = [trial for trial in trials if trial.agreement >= wanted.agreement]
    if not agreeing:
        return max(trials, key=lambda trial: trial.agreement)
    if not all(trial.ms.size for trial in agreeing):
        return agreeing[0]
    able = _fast_ones(agreeing, wanted) or agreeing
    best = min(able, key=_cost)
    return next(trial for trial in able if _is_as_good(trial, best))


def _fast_ones(trials: Sequence[Trial[Graph]], wanted: Wanted) -> list[Trial[Graph]]:
    """Those that are as fast as they must be, or should be; else those that are no slower than float."""
    for least in (wanted.fast, 1.0) if wanted.speedup is None else (wanted.speedup,):
        found = [trial for trial in trials if trial.speedup is not None and trial.speedup >= least]
        if found:
            return found
    return []


def tried(trial: Trial[Graph], taken: Trial[Graph]) -> PrecisionTrial:
    """What the manifest says of a trial."""
    low, median, high = np.percentile(trial.ms, (25, 50, 75)) if trial.ms.size else (None, None, None)
    return PrecisionTrial(
        float_nodes=len(trial.float_nodes),
        agreement=trial.agreement,
        latency_ms=None if median is None else float(median),
        quartiles_ms=None if low is None or high is None else (float(low), float(high)),
        speedup=trial.speedup,
        taken=trial is taken,
    )


def way_out(trials: Sequence[PrecisionTrial], wanted: Wanted, limits: ExportThresholds) -> str:
    """What would have to give where no trial both agrees and is as fast as asked; else empty.

    Args:
        trials: What was tried.
        wanted: What it was to reach.
        limits: What relates an agreement to a ``--max-drop``.
    """
    known = [(trial, trial.speedup) for trial in trials if trial.speedup is not None]
    least = wanted.speedup
    fast = list(trials) if least is None else [trial for trial, speedup in known if speedup >= least]
    agreeing = [(trial, speedup) for trial, speedup in known if trial.agreement >= wanted.agreement]
    if not (known or fast) or any(trial.agreement >= wanted.agreement for trial in fast):
        return ""
    offers, options = [], []
    if agreeing:
        trial, speedup = max(agreeing, key=lambda pair: pair[1])
        offers.append(_offer(trial))
        options.append(f"--min-speedup {math.floor(speedup * 20) / 20:g}")
    if fast:
        trial = max(fast, key=lambda each: each.agreement)
        offers.append(_offer(trial))
        options.append(f"--max-drop {limits.max_drop_for(trial.agreement):g}")
    if not offers:
        offers = [_offer(max((trial for trial, _ in known), key=lambda each: each.agreement))]
        options = ["both, lower"]
    return f"tried: {', or '.join(offers)}; give {' or '.join(options)}"


def _offer(trial: PrecisionTrial) -> str:
    kept = f"{trial.float_nodes} nodes in float" if trial.float_nodes else "all in int8"
    speed = "" if trial.speedup is None else f" at {trial.speedup:.2f}x"
    return f"{trial.agreement:.1%}{speed} ({kept})"


def _cost(trial: Trial[Graph]) -> float:
    return float(np.log(np.median(trial.ms)) + np.log(_counted(trial).mean()))


def _is_as_good(trial: Trial[Graph], best: Trial[Graph]) -> bool:
    """Whether a trial costs no more than the best one, give or take a standard error of the difference."""
    time = np.log(trial.ms / best.ms)
    ours, theirs = _counted(trial), _counted(best)
    excess = float(np.median(time)) + math.log(ours.mean() / theirs.mean())
    time_error = _ERROR_OF_MEDIAN * float(np.median(np.abs(time - np.median(time)))) / math.sqrt(len(time))
    # The error of the logarithm of a ratio of means, to first order.
    differences = ours / ours.mean() - theirs / theirs.mean()
    frames = len(differences)
    agreement_error = float(differences.std(ddof=1)) / math.sqrt(frames) if frames > 1 else 0.0
    return excess <= math.hypot(time_error, agreement_error)


def _counted(trial: Trial[Graph]) -> NDArray[np.float64]:
    return trial.disagreement + _EQUAL
