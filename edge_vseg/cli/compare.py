"""``edge-vseg compare``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.comparison import Comparison, Limits, Row, compare_files
from edge_vseg.cli import console
from edge_vseg.cli.options import JsonOption

DEFAULT_MAX_DROP_POINTS = 0.5
DEFAULT_MAX_MISSED_POINTS = 0.1
MIN_SHOWN_CHANGE = 0.005
"""Percent or points; less is printed as no change."""


def compare(
    before: Annotated[Path, typer.Argument(help="JSON of profile or evaluate to compare with.", metavar="A.json")],
    after: Annotated[Path, typer.Argument(help="JSON of the same kind to judge.", metavar="B.json")],
    max_regression: Annotated[
        float | None,
        typer.Option(
            help="Exit with 3 if latency or memory got worse by more than this many percent. Also sets --max-drop to"
            f" {DEFAULT_MAX_DROP_POINTS} and --max-missed to {DEFAULT_MAX_MISSED_POINTS} unless given.",
            min=0,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Exit with 3 if a share, such as mIoU, got worse by more percentage points.", min=0),
    ] = None,
    max_missed: Annotated[
        float | None,
        typer.Option(help="Exit with 3 if deadline misses or dropped frames rose by more percentage points.", min=0),
    ] = None,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Accept different machines, videos or settings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two latency profiles, or two evaluations; --max-regression makes it a gate for your CI."""
    if max_regression is not None:
        max_drop = DEFAULT_MAX_DROP_POINTS if max_drop is None else max_drop
        max_missed = DEFAULT_MAX_MISSED_POINTS if max_missed is None else max_missed
    limits = Limits(regression=max_regression, drop=max_drop, missed=max_missed, different=allow_different)
    comparison = compare_files(before, after, limits)
    if as_json:
        tree = asdict(comparison) | {"regressions": [row.name for row in comparison.regressions]}
        console.print_json(tree)
    else:
        _show(comparison)
    if comparison.regressions or comparison.failures:
        raise typer.Exit(console.EXIT_CHECK)


def _show(comparison: Comparison) -> None:
    for difference in comparison.differences:
        console.out.print(f"[yellow]different[/] {escape(difference)}", highlight=False)
    table = Table("", "before", "after", "ratio", "", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in comparison.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        table.add_row(f"{row.name} [dim]{row.unit}[/]", f"{row.before:.2f}", f"{row.after:.2f}", ratio, _verdict(row))
    for name, (old, new) in comparison.steps.items():
        ratio = f"{new / old:.3f}" if old and new else ""
        cells = ["" if value is None else f"{value:.2f}" for value in (old, new)]
        table.add_row(f"{escape(name)} p50 [dim]ms[/]", *cells, ratio, "")
    console.out.print(table)
    for failure in comparison.failures:
        console.out.print(f"[bold red]fails[/]: {escape(failure)}", highlight=False)
    if comparison.regressions:
        names = ", ".join(row.name for row in comparison.regressions)
        console.out.print(f"[bold red]worse than allowed[/]: {escape(names)}", highlight=False)


def _verdict(row: Row) -> str:
    unit = " points" if row.unit == "points" else " %"
    if abs(row.worse) < MIN_SHOWN_CHANGE:
        return ""
    text = f"{abs(row.worse):.2f}{unit} {'worse' if row.worse > 0 else 'better'}"
    return f"[bold red]{text}[/]" if row.regressed else text
