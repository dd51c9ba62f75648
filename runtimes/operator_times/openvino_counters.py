"""Read OpenVINO's performance counters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_vseg.runtimes.operator_times.record import Measured

EXECUTED = "EXECUTED"


def mean_times(before: Iterable[Any], after: Iterable[Any], *, warm_ups: int, runs: int) -> list[Measured]:
    """Mean times of the nodes, from the counters before and after some runs.

    The counters of CPU and GPU are means over all runs since compilation, in whole microseconds (measured with OpenVINO
    2026.4 on the CPU; read in its source for the GPU). The warm-ups are subtracted; the error is about a microsecond.
    For a device that counts its last run only, the result would be that run.

    Args:
        before: ``ProfilingInfo`` after ``warm_ups`` runs.
        after: The same after ``runs`` further ones.
        warm_ups: Runs before ``before``.
        runs: Runs between the two.
    """
    earlier = {(info.node_name, info.node_type): _ms(info) for info in before}
    means = []
    for info in after:
        if info.status.name != EXECUTED:  # fused or optimized out
            continue
        total = _ms(info) * (warm_ups + runs) - earlier.get((info.node_name, info.node_type), 0.0) * warm_ups
        mean_ms = max(0.0, total / runs)
        means.append(
            Measured(
                name=info.node_name,
                kind=info.node_type,
                kernel=info.exec_type,
                ms=mean_ms,
                calls=runs,
                median_ms=mean_ms,
            )
        )
    return means


def _ms(info: Any) -> float:
    return float(info.real_time.total_seconds()) * 1e3
