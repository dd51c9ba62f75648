"""Two profiles, or two evaluations, side by side: ratios, and what got worse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_vseg.errors import OptionError

ROUNDING = 1e-9
"""Percent or points that arithmetic may add: what is exactly as bad as allowed is allowed."""
Unit = Literal["ms", "MB", "J", "points", "frames", "x"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure that both files have.

    Attributes:
        name: For people.
        path: Keys that lead to it.
        unit: Of what is shown; ``points`` are hundredths of a share.
        better: Which way is better.
        gated: Whether a regression of it counts.
        limit: Which of the limits it is held against.
    """

    name: str
    path: tuple[str, ...]
    unit: Unit
    better: Literal["less", "more"]
    gated: bool = True
    limit: Literal["regression", "drop", "missed"] = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """By how much figures may get worse; ``None`` for any.

    Attributes:
        regression: Percent, of milliseconds and memory.
        drop: Points, of shares such as mIoU.
        missed: Points, of deadline misses and dropped frames.
        different: Whether the two may come of other machines, videos or settings.
    """

    regression: float | None = None
    drop: float | None = None
    missed: float | None = None
    different: bool = False

    @property
    def gate(self) -> bool:
        """Whether anything is held against a limit."""
        return any(limit is not None for limit in (self.regression, self.drop, self.missed))


ANY = Limits()


def _quantiles(name: str, key: str, *, gated: tuple[str, ...] = ("p50", "p95", "p99")) -> list[Measure]:
    return [
        Measure(name=f"{name} {q.replace('_', '.')}", path=(key, q), unit="ms", better="less", gated=q in gated)
        for q in ("mean", "p50", "p95", "p99", "p99_9", "max")
    ]


def _share(name: str, *path: str, better: Literal["less", "more"] = "more") -> Measure:
    return Measure(name=name, path=path, unit="points", better=better, limit="drop")


def _missed(name: str, key: str) -> Measure:
    return Measure(name=name, path=(key,), unit="points", better="less", limit="missed")


MEASURES: dict[str, list[Measure]] = {
    "profile": [
        *_quantiles("latency", "latency_ms"),
        *_quantiles("capture to map", "age_ms", gated=("p50", "p99")),
        Measure(name="first frame", path=("first_ms",), unit="ms", better="less", gated=False),
        _missed("missed", "missed_share"),
        _missed("dropped", "dropped_share"),
        Measure(name="oldest map", path=("oldest_frames",), unit="frames", better="less", gated=False),
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
        # Of a policy it flatters as soon as frames are dropped: see the page on metrics.
        Measure(name="streaming mIoU", path=("quality", "streaming_miou"), unit="points", better="more", gated=False),
        *(
            Measure(name=f"{q} ms", path=("timing", q), unit="ms", better="less", gated=q in ("p50", "p95", "p99"))
            for q in ("mean", "p50", "p95", "p99", "max")
        ),
        Measure(name="mean cost", path=("cost",), unit="x", better="less", gated=False),
        _missed("missed", "misses"),
    ],
}
SAME = {
    "profile": ("machine.cpu", "provider", "threads", "policy", "video", "pace", "rate"),
    "evaluation": ("machine.cpu", "threads", "settings", "data", "frames", "rate", "replay", "against"),
}
"""What the two have to have in common for their figures to compare."""
TOLD = ("bundle_sha256", "variant", "machine.versions")
"""What may differ, since it may be what is compared, and is told."""
SCHEMAS = {"profile": 2, "evaluation": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure of both.

    Attributes:
        name: What it is.
        unit: Of ``before`` and ``after``.
        before: Of the first file.
        after: Of the second.
        ratio: After over before; ``None`` for points, and where before is 0.
        worse: By how much it got worse: percent of before, or points; negative if it got better.
        regressed: Whether that is more than is allowed.
    """

    name: str
    unit: Unit
    before: float
    after: float
    ratio: float | None
    worse: float
    regressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two files side by side.

    Attributes:
        kind: ``profile`` or ``evaluation``.
        rows: The figures that both have.
        differences: What the two do not have in common.
        failures: Why the second one fails whatever its figures are: it broke off, lacks a figure that the first one
            has, or does not compare. Empty if nothing is held against a limit.
        steps: Median milliseconds by step, before and after; ``None`` where there is none.
    """

    kind: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    failures: tuple[str, ...]
    steps: dict[str, tuple[float | None, float | None]]

    @property
    def regressions(self) -> tuple[Row, ...]:
        """The figures that got worse by more than is allowed."""
        return tuple(row for row in self.rows if row.regressed)


def compare_files(
    before: Path,
    after: Path,
    limits: Limits = ANY,
) -> Comparison:
    """Compare what ``edge-vseg profile --json`` or ``edge-vseg evaluate --json`` wrote.

    Args:
        before: The one to compare with.
        after: The one that is compared.
        limits: By how much figures may get worse.

    Raises:
        OptionError: If a file cannot be read, or the two are of different kinds.
    """
    old, new = _read(before), _read(after)
    kinds = [str(tree["kind"]) for tree in (old, new)]
    if kinds[0] != kinds[1]:
        raise OptionError(f"{before} is {_a(kinds[0])} and {after} {_a(kinds[1])}; compare two of a kind")
    kind = kinds[0]
    rows = [row for measure in MEASURES[kind] if (row := _row(measure, old, new, limits)) is not None]
    if not rows:
        raise OptionError(f"{before} and {after} have no figure in common; make them anew")
    unlike = _differences(SAME[kind], old, new)
    return Comparison(
        kind=kind,
        rows=tuple(rows),
        differences=(*unlike, *_differences(TOLD, old, new)),
        failures=tuple(_failures(kind, old, new, unlike, limits)) if limits.gate else (),
        steps=_steps(old, new),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise OptionError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(tree, dict) or tree.get("kind") not in tuple(MEASURES):
        raise OptionError(
            f"{path} is neither a profile nor an evaluation;"
            " make it with edge-vseg profile --json FILE, or edge-vseg evaluate --json > FILE"
        )
    if tree.get("schema") != SCHEMAS[tree["kind"]]:
        raise OptionError(f"{path} has schema {tree.get('schema')}, this version reads {SCHEMAS[tree['kind']]}")
    if tree["kind"] == "profile" and (frames := _number(tree, ("frames",))):
        tree["dropped_share"] = (_number(tree, ("dropped",)) or 0) / (frames + (_number(tree, ("dropped",)) or 0))
        if tree.get("limit_ms") is not None:
            tree["missed_share"] = (_number(tree, ("missed",)) or 0) / frames
    return tree


def _row(
    measure: Measure,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    limits: Limits,
) -> Row | None:
    old, new = _number(before, measure.path), _number(after, measure.path)
    if old is None or new is None:
        return None
    sign = 1 if measure.better == "less" else -1
    points = measure.unit == "points"
    if points:
        old, new = 100 * old, 100 * new
    worse = sign * (new - old) if points else 100 * sign * (new - old) / old if old else 0.0
    allowed = {"regression": limits.regression, "drop": limits.drop, "missed": limits.missed}[measure.limit]
    return Row(
        name=measure.name,
        unit=measure.unit,
        before=old,
        after=new,
        ratio=None if points or not old else new / old,
        worse=worse,
        regressed=measure.gated and allowed is not None and worse > allowed + ROUNDING,
    )


def _failures(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any], unlike: list[str], limits: Limits
) -> list[str]:
    found = [] if limits.different else [f"not comparable: {text}" for text in unlike]
    if after.get("complete") is False:
        found.append(f"the second one broke off: {_short(after.get('stopped', ''))}")
    for measure in MEASURES[kind]:
        known = [_number(tree, measure.path) is not None for tree in (before, after)]
        if measure.gated and known == [True, False]:
            found.append(f"the second one has no {measure.name}")
    return found


def _differences(names: tuple[str, ...], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for name in names:
        old, new = (_at(tree, tuple(name.split("."))) for tree in (before, after))
        if old != new:
            found.append(f"{name}: {_short(old)} before, {_short(new)} after")
    return found


def _steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    found = (tree.get("steps_ms") for tree in (before, after))
    old, new = (steps if isinstance(steps, Mapping) else {} for steps in found)
    names = dict.fromkeys((*old, *new))
    return {name: (_number(old, (name, "p50")), _number(new, (name, "p50"))) for name in names}


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _number(tree: Any, path: tuple[str, ...]) -> float | None:
    value = _at(tree, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
