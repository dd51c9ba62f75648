"""Two files side by side: ratios, differences and regressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vseg.analysis.comparison.measurement_file import MIN_FIGURE, number_at, read_measurement, value_at
from edge_vseg.analysis.comparison.measures import (
    ADDED_CONDITIONS,
    MEASURES,
    NO_LIMITS,
    REPORTED_DIFFERENCES,
    SAME_CONDITIONS,
    Limits,
    Measure,
    Unit,
)
from edge_vseg.errors import OptionError

ROUNDING_TOLERANCE = 1e-9
"""Percent or points of floating-point error: a figure that is exactly as bad as allowed passes."""
MAX_VALUE_LENGTH = 60
"""Characters of a value that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of both files.

    Attributes:
        name: Its name.
        unit: Unit of ``before`` and ``after``.
        before: Value in the first file.
        after: Value in the second file.
        ratio: After over before; ``None`` for points, and if before is 0.
        worse: By how much it got worse: percent of before, or points; negative if it got better.
        regressed: Whether that is more than the limit.
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
        rows: The figures that both files have.
        differences: Conditions that differ.
        failures: Why the second file fails whatever its figures are: its run was cut short, it lacks a figure that the
            first file has, or its conditions differ. Empty without limits.
        steps: Median milliseconds by step, before and after; ``None`` where a file lacks the step.
    """

    kind: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    failures: tuple[str, ...]
    steps: dict[str, tuple[float | None, float | None]]

    @property
    def regressions(self) -> tuple[Row, ...]:
        """The figures that got worse by more than their limit."""
        return tuple(row for row in self.rows if row.regressed)


def compare_files(before: Path, after: Path, limits: Limits = NO_LIMITS) -> Comparison:
    """Compare two files of ``edge-vseg profile --json``, or of ``edge-vseg evaluate --json``.

    Args:
        before: The file to compare with.
        after: The file to judge.
        limits: By how much figures may get worse.

    Raises:
        OptionError: If a file cannot be read, or one is a profile and the other an evaluation.
    """
    old, new = read_measurement(before), read_measurement(after)
    kind, other = str(old["kind"]), str(new["kind"])
    if kind != other:
        raise OptionError(
            f"{before} is {_with_article(kind)} and {after} {_with_article(other)}; compare two of a kind"
        )
    rows = [row for measure in MEASURES[kind] if (row := _row(measure, old, new, limits)) is not None]
    if not rows:
        raise OptionError(f"{before} and {after} have no figure in common; measure again")
    added = [name for name in ADDED_CONDITIONS[kind] if name not in old or name not in new]
    conditions = _differences([name for name in SAME_CONDITIONS[kind] if name not in added], old, new)
    return Comparison(
        kind=kind,
        rows=tuple(rows),
        differences=(*conditions, *_differences(REPORTED_DIFFERENCES, old, new)),
        failures=tuple(_failures(kind, old, new, conditions, limits)) if limits.gate else (),
        steps=_steps(old, new),
    )


def _row(measure: Measure, before: Mapping[str, Any], after: Mapping[str, Any], limits: Limits) -> Row | None:
    old, new = number_at(before, measure.path), number_at(after, measure.path)
    if old is None or new is None:
        return None
    sign = 1 if measure.better == "less" else -1
    points = measure.unit == "points"
    if points:
        old, new = 100 * old, 100 * new
    some = abs(old) >= MIN_FIGURE
    worse = sign * (new - old) if points else 100 * sign * (new - old) / old if some else 0.0
    limit = {"regression": limits.regression, "drop": limits.drop, "missed": limits.missed}[measure.limit]
    return Row(
        name=measure.name,
        unit=measure.unit,
        before=old,
        after=new,
        ratio=None if points or not some else new / old,
        worse=worse,
        regressed=measure.gated and limit is not None and worse > limit + ROUNDING_TOLERANCE,
    )


def _failures(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any], conditions: list[str], limits: Limits
) -> list[str]:
    failures = [] if limits.different else [f"not comparable: {text}" for text in conditions]
    if after.get("complete") is False:
        failures.append(f"the second run was cut short: {_shortened(after.get('stopped', ''))}")
    for measure in MEASURES[kind]:
        known = [number_at(tree, measure.path) is not None for tree in (before, after)]
        if measure.gated and known == [True, False]:
            failures.append(f"the second file has no {measure.name}")
    return failures


def _differences(names: Iterable[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    differences = []
    for name in names:
        old, new = (value_at(tree, tuple(name.split("."))) for tree in (before, after))
        if old != new:
            differences.append(f"{name}: {_shortened(old)} before, {_shortened(new)} after")
    return differences


def _steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    both = (tree.get("steps_ms") for tree in (before, after))
    old, new = (steps if isinstance(steps, Mapping) else {} for steps in both)
    names = dict.fromkeys((*old, *new))
    return {name: (number_at(old, (name, "p50")), number_at(new, (name, "p50"))) for name in names}


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 3] + "..."


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
