"""What is compared, and by how much it may get worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["ms", "MB", "J", "points", "frames", "x"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure that both files have.

    Attributes:
        name: The name that is printed.
        path: Keys that lead to it in the JSON file.
        unit: Unit that is printed; ``points`` are hundredths of a share.
        better: Whether less or more is better.
        gated: Whether a regression of it fails the comparison.
        limit: Which field of :class:`Limits` applies.
    """

    name: str
    path: tuple[str, ...]
    unit: Unit
    better: Literal["less", "more"]
    gated: bool = True
    limit: Literal["regression", "drop", "missed"] = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """By how much figures may get worse; ``None`` for no limit.

    Attributes:
        regression: Percent, for milliseconds and memory.
        drop: Percentage points, for shares such as mIoU.
        missed: Percentage points, for deadline misses and dropped frames.
        different: Accept files from different machines, videos or settings.
    """

    regression: float | None = None
    drop: float | None = None
    missed: float | None = None
    different: bool = False

    @property
    def gate(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.regression, self.drop, self.missed))


NO_LIMITS = Limits()


def _latencies(
    name: str, key: str, percentiles: tuple[str, ...], *, gated: tuple[str, ...] = ("p50", "p95", "p99")
) -> list[Measure]:
    """A measure for each percentile; ``{}`` in the name stands for it."""
    return [
        Measure(name=name.format(p.replace("_", ".")), path=(key, p), unit="ms", better="less", gated=p in gated)
        for p in percentiles
    ]


def _share(name: str, *path: str, better: Literal["less", "more"] = "more") -> Measure:
    return Measure(name=name, path=path, unit="points", better=better, limit="drop")


def _missed(name: str, key: str) -> Measure:
    return Measure(name=name, path=(key,), unit="points", better="less", limit="missed")


def _cpu_shares() -> list[Measure]:
    """Not gated: a deadline policy uses what it is given, see ``cpu_share`` in docs/scheduler.md."""
    return [
        Measure(name=name, path=(key,), unit="points", better="less", gated=False)
        for name, key in (("CPU, both lanes", "cpu_share"), ("CPU, process", "process_cpu_share"))
    ]


MEASURES: dict[str, list[Measure]] = {
    "profile": [
        *_latencies("latency {}", "latency_ms", ("mean", "p50", "p95", "p99", "p99_9", "max")),
        *_latencies("capture to map {}", "age_ms", ("mean", "p50", "p95", "p99", "p99_9", "max"), gated=("p50", "p99")),
        Measure(name="first frame", path=("first_ms",), unit="ms", better="less", gated=False),
        _missed("missed", "missed_share"),
        _missed("dropped", "dropped_share"),
        Measure(name="oldest map", path=("oldest_frames",), unit="frames", better="less", gated=False),
        *_cpu_shares(),
        Measure(name="memory", path=("memory", "max"), unit="MB", better="less"),
        Measure(name="memory an hour", path=("memory", "slope_per_hour"), unit="MB", better="less", gated=False),
    ],
    "evaluation": [
        _share("mIoU", "miou"),
        _share("pixels as every frame", "agreement"),
        _share("mIoU against every frame", "fidelity_miou"),
        _share("boundary F", "quality", "boundary_f"),
        _share("temporal consistency", "quality", "consistency"),
        _share("flicker", "quality", "flicker", better="less"),
        # Not gated: it flatters a policy as soon as frames are dropped, see docs/metrics.md.
        Measure(name="streaming mIoU", path=("quality", "streaming_miou"), unit="points", better="more", gated=False),
        *_latencies("{} ms", "timing", ("mean", "p50", "p95", "p99", "max")),
        *_cpu_shares(),
        Measure(name="mean cost", path=("cost",), unit="x", better="less", gated=False),
        _missed("missed", "misses"),
    ],
}
"""By kind of file."""
SAME_CONDITIONS = {
    "profile": ("machine.cpu", "provider", "threads", "policy", "video", "pace", "rate"),
    "evaluation": (
        "machine.cpu",
        "provider",
        "threads",
        "settings",
        "data",
        "frames",
        "rate",
        "replay",
        "network_scale",
        "against",
    ),
}
"""Conditions that must be equal for a gated comparison, by kind of file."""
ADDED_CONDITIONS = {"profile": (), "evaluation": ("provider", "network_scale")}
"""Those of them that older files of the same schema lack, which is no difference."""
REPORTED_DIFFERENCES = ("bundle_sha256", "variant", "machine.versions")
"""What may differ, because it may be what is compared; it is reported."""
