"""``edge-vseg dataset check``, and where the other commands on datasets are listed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.datasets import find_dataset
from edge_vseg.analysis.datasets.checking import DatasetCheck, check_dataset
from edge_vseg.cli import console
from edge_vseg.cli.dataset_labels import label_by_teacher, propagate
from edge_vseg.cli.extras import require_report
from edge_vseg.cli.options import ForceOption, JsonOption, check_report
from edge_vseg.cli.spared import spare_inputs

_NOT_PRINTED = ("samples", "labels")

app = typer.Typer(no_args_is_help=True, help="Labelled datasets.")


@app.callback()
def _dataset() -> None:
    """Labelled datasets: look one over before you train on it, or make more labels from few."""


app.command()(propagate)
app.command("pseudo-label")(label_by_teacher)


@app.command()
def check(
    dataset: Annotated[
        str, typer.Argument(metavar="LAYOUT:DIR", help="LAYOUT:DIR, or LAYOUT:DIR:SPLIT for one split.")
    ],
    max_frames: Annotated[
        int | None, typer.Option(help="Read so many frames of each split at most, evenly spread.", min=1)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with a contact sheet.", metavar="FILE")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read every frame once: classes, sizes, unknown ids, broken files, copies, and frames that leak between splits.

    Exits with 3 if something has to be put right before training.
    """
    check_report(html, None, force=force)
    spare_inputs(html, [find_dataset(dataset).folder])
    if html is not None:
        require_report("a page")
    with console.counter("reading", quiet=as_json) as count:
        found = check_dataset(dataset, max_frames=max_frames, progress=lambda done: count(done, None))
    if as_json:
        console.print_json(_record(found))
    else:
        _show(found)
    if html is not None:
        from edge_vseg.analysis.datasets.checking.check_page import write_check_page

        write_check_page(html, found)
        if not as_json:
            console.out.print(f"page: [bold]{escape(str(html))}[/]")
    if found.problems:
        raise typer.Exit(console.EXIT_CHECK)


def _record(found: DatasetCheck) -> dict[str, Any]:
    splits = [{name: value for name, value in vars(each).items() if name not in _NOT_PRINTED} for each in found.splits]
    return {
        "dataset": found.address,
        "classes": list(found.classes),
        "splits": splits,
        "leaks": [asdict(each) for each in found.leaks],
        "problems": list(found.problems),
    }


def _show(found: DatasetCheck) -> None:
    table = Table("class", *(each.split for each in found.splits), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ("frames", "labelled"):
        table.add_row(f"[dim]{name}[/]", *(str(getattr(each, name)) for each in found.splits))
    table.add_row("[dim]clips[/]", *(str(len(each.clips)) for each in found.splits))
    table.add_row("[dim]without a class[/]", *(f"{each.unlabelled_share:.1%}" for each in found.splits))
    for name in found.classes:
        table.add_row(escape(name), *(f"{each.share(name):.2%}" for each in found.splits))
    console.out.print(table)
    for leak in found.leaks:
        if leak.clips:
            both = f"{leak.splits[0]} and {leak.splits[1]} share recordings: {', '.join(leak.clips[:5])}"
            console.out.print(escape(both), highlight=False)
    for line in found.problems:
        console.out.print(f"[yellow]{escape(line)}[/]", highlight=False)
    if not found.problems:
        console.out.print("nothing to put right", highlight=False)
