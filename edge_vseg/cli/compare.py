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

DEFAULT_DROP, DEFAULT_MISSED = 0.5, 0.1


def compare(
    before: Annotated[Path, typer.Argument(help="JSON by profile or evaluate, to compare with.", metavar="A.json")],
    after: Annotated[Path, typer.Argument(help="JSON of the same kind, that is compared.", metavar="B.json")],
    max_regression: Annotated[
        float | None,
        typer.Option(
            help="Exit with 3 if milliseconds or memory got worse by more than so many percent, or shares by more than"
            f" --max-drop ({DEFAULT_DROP}) or --max-missed ({DEFAULT_MISSED}) points.",
            min=0,
        ),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Exit with 3 if a share, such as mIoU, got worse by more points.", min=0)
    ] = None,
    max_missed: Annotated[
        float | None,
        typer.Option(help="Exit with 3 if more frames, by more points, miss the limit or are dropped.", min=0),
    ] = None,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Let other machines, videos or settings pass.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put two profiles, or two evaluations, side by side; gate your own CI with --max-regression."""
    if max_regression is not None:
        max_drop = DEFAULT_DROP if max_drop is None else max_drop
        max_missed = DEFAULT_MISSED if max_missed is None else max_missed
    limits = Limits(regression=max_regression, drop=max_drop, missed=max_missed, different=allow_different)
    found = compare_files(before, after, limits)
    if as_json:
        tree = asdict(found) | {"regressions": [row.name for row in found.regressions]}
        console.print_json(tree)
    else:
        _show(found)
    if found.regressions or found.failures:
        raise typer.Exit(console.EXIT_CHECK)


def _show(found: Comparison) -> None:
    for difference in found.differences:
        console.out.print(f"[yellow]not the same[/] {escape(difference)}", highlight=False)
    table = Table("", "before", "after", "ratio", "", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        table.add_row(f"{row.name} [dim]{row.unit}[/]", f"{row.before:.2f}", f"{row.after:.2f}", ratio, _verdict(row))
    for name, (old, new) in found.steps.items():
        ratio = f"{new / old:.3f}" if old and new else ""
        cells = ["" if value is None else f"{value:.2f}" for value in (old, new)]
        table.add_row(f"{name} p50 [dim]ms[/]", *cells, ratio, "")
    console.out.print(table)
    for failure in found.failures:
        console.out.print(f"[bold red]fails[/]: {escape(failure)}", highlight=False)
    if found.regressions:
        names = ", ".join(row.name for row in found.regressions)
        console.out.print(f"[bold red]worse than allowed[/]: {escape(names)}", highlight=False)


def _verdict(row: Row) -> str:
    unit = " points" if row.unit == "points" else " %"
    if abs(row.worse) < 0.005:
        return ""
    text = f"{abs(row.worse):.2f}{unit} {'worse' if row.worse > 0 else 'better'}"
    return f"[bold red]{text}[/]" if row.regressed else text
