"""Reading OpenVINO's performance counters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_vseg.runtimes.operator_times.record import Measured

EXECUTED = "EXECUTED"


def mean_times(before: Iterable[Any], after: Iterable[Any], *, warm_ups: int, runs: int) -> list[Measured]:
    """Mean times of the nodes over some runs, from the counters before and after them.

    The CPU's and the GPU's counters are means over all runs since the graph was compiled (measured with
    OpenVINO 2026.4 on the CPU; on the GPU read in its source), in whole microseconds. So what the warm-ups
    took is taken off, and a time is off by no more than about a microsecond. A device that told of its
    last run only would have that run counted here.

    Args:
        before: ``ProfilingInfo`` after ``warm_ups`` runs.
        after: The same after ``runs`` further ones.
        warm_ups: Runs before ``before``.
        runs: Runs between the two.
    """
    earlier = {(info.node_name, info.node_type): _ms(info) for info in before}
    means = []
    for info in after:
        if info.status.name != EXECUTED:  # fused into another, or nothing to do
            continue
        total = _ms(info) * (warm_ups + runs) - earlier.get((info.node_name, info.node_type), 0.0) * warm_ups
        means.append(
            Measured(
                name=info.node_name,
                kind=info.node_type,
                kernel=info.exec_type,
                ms=max(0.0, total / runs),
                calls=runs,
            )
        )
    return means


def _ms(info: Any) -> float:
    return float(info.real_time.total_seconds()) * 1e3
