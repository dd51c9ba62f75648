"""Open variants, time them against each other, and close them: in this process, or in a child."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_vseg.bundle.manifest import Variant
from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import BackendCrashError, BackendError, OptionError, ProbeTimeoutError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.port import GraphSpec, Session, SessionOptions
from edge_vseg.runtimes.probing import FAILURES, VariantProbe
from edge_vseg.runtimes.selection.cache import CachedTiming
from edge_vseg.runtimes.timing import Runner, noise, race

log = logging.getLogger(__name__)

SEED = 0
GROUP_SLOWDOWN = 3
"""Timing several variants may take so many times what opening and running one may."""
BUDGET_S = 30.0
"""Seconds for the rounds: a network of several seconds a frame has fewer, and is not refused."""
LAST_RUN = 0.9
"""Share of what a child may take after which no run but a first one is to end."""


def time_group(
    group: Sequence[Variant],
    options: Mapping[str, SessionOptions],
    *,
    root: Path,
    rounds: int,
    seconds: float = math.inf,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, CachedTiming]:
    """Time variants in turns on noise; all are open meanwhile.

    Args:
        group: The variants.
        options: How each is opened, by id.
        root: The bundle's folder.
        rounds: Timed runs of each.
        seconds: What all may take, opening included; each runs once in any case.
        clock: Nanoseconds.

    Returns:
        The median of each, or the reason why it has none, by id.
    """
    rng = np.random.default_rng(SEED)
    rows: dict[str, CachedTiming] = {}
    runners: list[Runner] = []
    begin_ns = clock()
    with contextlib.ExitStack() as stack:
        for variant in group:
            try:
                session, spec = _open(variant, root, options[variant.id])
            except (BackendError, OptionError) as exc:
                rows[variant.id] = CachedTiming(variant_id=variant.id, median_ms=None, reason=str(exc))
                continue
            stack.callback(_close, session)
            feed = {spec.input.name: noise(spec.input, rng)}
            runners.append(Runner(key=variant.id, session=session, feed=feed))
        left_s = LAST_RUN * seconds - (clock() - begin_ns) / 1e9
        race(runners, rounds=rounds, clock=clock, budget_s=BUDGET_S, limit_s=left_s)
    for runner in runners:
        rows[runner.key] = CachedTiming(variant_id=runner.key, median_ms=runner.median_ms, reason=runner.failure)
    return rows


def time_in_child(
    group: Sequence[Variant], options: Mapping[str, SessionOptions], *, probe: VariantProbe, rounds: int
) -> dict[str, CachedTiming]:
    """Time variants as :func:`time_group` does, in a child process, whose memory is given back with it.

    If it dies or takes too long, each variant is timed in a child of its own, so that the others have their times.
    """
    root, seconds = probe.bundle.root, probe.rule.seconds
    try:
        together_s = GROUP_SLOWDOWN * seconds
        with _child(together_s) as child:
            rows = child.call(time_group, group, options, root=root, rounds=rounds, seconds=together_s)
    except (BackendCrashError, ProbeTimeoutError) as exc:
        log.warning("variants are timed one by one, because together %s", exc)
        rows = {}
        for variant in group:
            try:
                with _child(seconds) as child:
                    alone = [variant]
                    rows |= child.call(time_group, alone, options, root=root, rounds=rounds, seconds=seconds)
            except (BackendCrashError, ProbeTimeoutError) as death:
                rows[variant.id] = CachedTiming(variant_id=variant.id, median_ms=None, reason=str(death), deaths=1)
    for variant in group:
        if rows[variant.id].median_ms is not None:
            probe.knows(variant, options[variant.id])
    return rows


def _close(session: Session) -> None:
    try:
        session.close()
    except BackendError as exc:  # its times are good, and others are still open
        log.warning("%s", exc)


def _child(seconds: float) -> ChildProcess:
    return ChildProcess("the process that timed them", ProcessLimits(seconds=seconds), FAILURES)


def _open(variant: Variant, root: Path, options: SessionOptions) -> tuple[Session, GraphSpec]:
    spec = GraphSpec.of(input=variant.input, output=variant.output)
    return get_runtime(variant.runtime).open(root / variant.entry, spec, options), spec
