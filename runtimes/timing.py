"""Time open sessions against each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.errors import BackendError
from edge_vseg.runtimes.port import Session
from edge_vseg.types import Tensor

WARM_UPS = 2
MAX_SLOWDOWN = 3.0
"""Sessions that are this many times slower than the fastest after warm-up are not timed further."""


@dataclass(slots=True, kw_only=True, eq=False)
class Runner:
    """A session to time.

    Attributes:
        key: The caller's name for it.
        session: The open session.
        feed: Its inputs.
        samples_ns: Durations of its timed runs.
        failure: Its error; empty if it has not failed.
    """

    key: str
    session: Session
    feed: Mapping[str, Tensor]
    samples_ns: list[int] = field(default_factory=list)
    failure: str = ""

    @property
    def median_ms(self) -> float | None:
        """Median of its timed runs in milliseconds; ``None`` if it failed or did not run."""
        if self.failure or not self.samples_ns:
            return None
        return statistics.median(self.samples_ns) / 1e6


def race(
    runners: Sequence[Runner],
    *,
    rounds: int,
    clock: Callable[[], int],
    max_slowdown: float = MAX_SLOWDOWN,
    budget_s: float = math.inf,
    limit_s: float = math.inf,
) -> None:
    """Time sessions in turns, so that heat and other processes affect all alike.

    All are warmed up, for the first run of some compiles for minutes and tells nothing: the second runs are made
    however slow the sessions are, the fastest first. Those that are ``max_slowdown`` times slower than the fastest at
    the second keep that one sample; the others run once per round. A session that fails is dropped, with the error in
    its ``failure``.

    Slow sessions have fewer rounds: none is begun that would end after the budget. Nor is anything but first runs begun
    that would end after the limit; a session whose second run would has the first as its sample.

    Args:
        runners: The sessions; changed in place.
        rounds: Timed runs of each, at least 1.
        clock: Nanoseconds, such as :func:`time.perf_counter_ns`.
        max_slowdown: Slowdown beyond which a session is not timed further; infinity times all.
        budget_s: Seconds for the rounds.
        limit_s: Seconds for all runs together.
    """
    end_ns = clock() + limit_s * 1e9
    for runner in runners:
        _run(runner, clock)
    warm: list[Runner] = []
    for runner in sorted(_alive(runners), key=lambda runner: runner.samples_ns[0]):
        if _fits([runner], end_ns, clock):
            runner.samples_ns.clear()
            _run(runner, clock)
            warm.append(runner)
    alive = _alive(runners)
    if not alive:
        return
    best = min(runner.samples_ns[0] for runner in alive)
    contenders = [runner for runner in alive if runner in warm and runner.samples_ns[0] <= max_slowdown * best]
    end_ns = min(end_ns, clock() + budget_s * 1e9)
    for number in range(rounds):
        if not _fits(contenders, end_ns, clock):
            return
        for runner in contenders:
            if number == 0:
                runner.samples_ns.clear()
            _run(runner, clock)


def _alive(runners: Sequence[Runner]) -> list[Runner]:
    return [runner for runner in runners if not runner.failure]


def _fits(runners: Sequence[Runner], end_ns: float, clock: Callable[[], int]) -> bool:
    """Whether another run of each is over by then, if it takes as long as the one before."""
    return clock() + sum(runner.samples_ns[-1] for runner in runners if not runner.failure) <= end_ns


def noise(spec: TensorSpec, rng: np.random.Generator) -> Tensor:
    """A random input of a graph, over the value range of frames."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        info = np.iinfo(np.int8 if dtype == np.int8 else np.uint8)
        return rng.integers(info.min, info.max, spec.shape, dtype=dtype, endpoint=True)
    pixels = rng.integers(0, 255, spec.shape, endpoint=True).astype(dtype)
    if not spec.mean:
        return pixels
    per_channel = (1, -1, 1, 1) if spec.layout == "NCHW" else (-1,)
    mean, scale = (np.asarray(values).reshape(per_channel) for values in (spec.mean, spec.scale))
    normalized: Tensor = ((pixels - mean) / scale).astype(dtype)
    return normalized


def _run(runner: Runner, clock: Callable[[], int]) -> None:
    if runner.failure:
        return
    begin = clock()
    try:
        runner.session.run(runner.feed)
    except BackendError as exc:
        runner.failure = str(exc)
        return
    runner.samples_ns.append(clock() - begin)
