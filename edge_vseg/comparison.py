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
    """

    name: str
    path: tuple[str, ...]
    unit: Unit
    better: Literal["less", "more"]
    gated: bool = True


def _quantiles(name: str, key: str, *, gated: tuple[str, ...] = ("p50", "p95", "p99")) -> list[Measure]:
    return [
        Measure(name=f"{name} {q.replace('_', '.')}", path=(key, q), unit="ms", better="less", gated=q in gated)
        for q in ("mean", "p50", "p95", "p99", "p99_9", "max")
    ]


def _share(name: str, *path: str, better: Literal["less", "more"] = "more") -> Measure:
    return Measure(name=name, path=path, unit="points", better=better)


MEASURES: dict[str, list[Measure]] = {
    "profile": [
        *_quantiles("latency", "latency_ms"),
        *_quantiles("capture to map", "age_ms", gated=()),
        Measure(name="first frame", path=("first_ms",), unit="ms", better="less", gated=False),
        _share("missed", "missed_share", better="less"),
        _share("dropped", "dropped_share", better="less"),
        Measure(name="oldest map", path=("oldest_frames",), unit="frames", better="less", gated=False),
        Measure(name="memory", path=("memory", "max"), unit="MB", better="less"),
    ],
    "evaluation": [
        _share("mIoU", "miou"),
        _share("pixels as every frame", "agreement"),
        _share("mIoU against every frame", "fidelity_miou"),
        _share("boundary F", "quality", "boundary_f"),
        _share("temporal consistency", "quality", "consistency"),
        _share("flicker", "quality", "flicker", better="less"),
        _share("streaming mIoU", "quality", "streaming_miou"),
        *(
            Measure(name=f"{q} ms", path=("timing", q), unit="ms", better="less", gated=q in ("p50", "p95", "p99"))
            for q in ("mean", "p50", "p95", "p99", "max")
        ),
        Measure(name="mean cost", path=("cost",), unit="x", better="less", gated=False),
        _share("missed", "misses", better="less"),
    ],
}
SAME = {
    "profile": ("bundle_sha256", "variant", "provider", "threads", "policy", "video", "rate", "machine.cpu"),
    "evaluation": ("bundle_sha256", "variant", "threads", "settings", "data", "frames", "machine.cpu"),
}
"""What the two should have in common for their figures to compare."""


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
        differences: What the two do not have in common, so that the figures may not compare.
        steps: Median milliseconds by step, before and after; ``None`` where there is none.
    """

    kind: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    steps: dict[str, tuple[float | None, float | None]]

    @property
    def regressions(self) -> tuple[Row, ...]:
        """The figures that got worse by more than is allowed."""
        return tuple(row for row in self.rows if row.regressed)


def compare_files(
    before: Path, after: Path, *, max_regression: float | None = None, max_drop: float | None = None
) -> Comparison:
    """Compare what ``edge-vseg profile --json`` or ``edge-vseg evaluate --json`` wrote.

    Args:
        before: The one to compare with.
        after: The one that is compared.
        max_regression: Percent by which milliseconds and memory may get worse; ``None`` for any.
        max_drop: Points by which shares such as mIoU or deadline misses may get worse; ``None`` for any.

    Raises:
        OptionError: If a file cannot be read, or the two are of different kinds.
    """
    old, new = _read(before), _read(after)
    kinds = [str(tree["kind"]) for tree in (old, new)]
    if kinds[0] != kinds[1]:
        raise OptionError(f"{before} is {_a(kinds[0])} and {after} {_a(kinds[1])}; compare two of a kind")
    rows = [_row(measure, old, new, max_regression, max_drop) for measure in MEASURES[kinds[0]]]
    return Comparison(
        kind=kinds[0],
        rows=tuple(row for row in rows if row is not None),
        differences=tuple(_differences(kinds[0], old, new)),
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
    if tree["kind"] == "profile" and (frames := _number(tree, ("frames",))):
        tree["dropped_share"] = (_number(tree, ("dropped",)) or 0) / (frames + (_number(tree, ("dropped",)) or 0))
        if tree.get("limit_ms") is not None:
            tree["missed_share"] = (_number(tree, ("missed",)) or 0) / max(1, frames - 1)
    return tree


def _row(
    measure: Measure,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    max_regression: float | None,
    max_drop: float | None,
) -> Row | None:
    old, new = _number(before, measure.path), _number(after, measure.path)
    if old is None or new is None:
        return None
    sign = 1 if measure.better == "less" else -1
    points = measure.unit == "points"
    if points:
        old, new = 100 * old, 100 * new
    worse = sign * (new - old) if points else 100 * sign * (new - old) / old if old else 0.0
    allowed = max_drop if points else max_regression
    return Row(
        name=measure.name,
        unit=measure.unit,
        before=old,
        after=new,
        ratio=None if points or not old else new / old,
        worse=worse,
        regressed=measure.gated and allowed is not None and worse > allowed + ROUNDING,
    )


def _differences(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for name in SAME[kind]:
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
