"""Read the file of ONNX Runtime's profiler: Chrome trace events, times in microseconds."""

from __future__ import annotations

import json
import statistics
from bisect import bisect_right
from collections import defaultdict
from typing import Any

from edge_vseg.errors import SessionError
from edge_vseg.runtimes.operator_times.record import Measured

KERNEL_TIME = "_kernel_time"
RUN = "model_run"


def read_onnx_trace(text: str, warm_ups: int) -> list[Measured]:
    """Times of the nodes over the complete runs of a profile (the profiler stops after a million events).

    Args:
        text: The file's contents.
        warm_ups: Runs to skip at the beginning.

    Raises:
        SessionError: If it is not a profile, or has no run after the warm-ups.
    """
    try:
        events = json.loads(text, strict=False)
        runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") == "Session" and e["name"] == RUN)
        nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(KERNEL_TIME)]
        return _means(nodes, runs[warm_ups:])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SessionError(
            f"onnxruntime's profile cannot be read: {exc}; check that the folder for temporary files has free space"
        ) from exc


def _means(nodes: list[dict[str, Any]], runs: list[tuple[int, int]]) -> list[Measured]:
    if not runs:
        raise ValueError("it has no run after the warm-ups")
    begins = [begin for begin, _ in runs]
    durations: defaultdict[tuple[str, str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for event in nodes:
        if begins[0] <= event["ts"] <= runs[-1][1]:
            args = event["args"]
            # Nodes of a graph may share a name; their indices differ.
            key = (event["name"].removesuffix(KERNEL_TIME), args["op_name"], args["node_index"], args["provider"])
            durations[key].append((bisect_right(begins, event["ts"]) - 1, event["dur"]))
    return [
        Measured(
            name=name,
            kind=kind,
            kernel=provider,
            ms=sum(duration for _, duration in each) / 1e3 / len(runs),
            calls=len(each),
            median_ms=_median_ms(each, len(runs)),
        )
        for (name, kind, _, provider), each in durations.items()
    ]


def _median_ms(durations: list[tuple[int, int]], runs: int) -> float:
    """Over the runs, in each of which a node may be called several times, or not at all."""
    by_run = [0] * runs
    for run, duration in durations:
        by_run[run] += duration
    return statistics.median(by_run) / 1e3
