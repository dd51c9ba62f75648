"""What commands print: people's lines on stderr and stdout, or one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Rich takes 80 columns where there is no terminal, which cuts tables in logs and pipes.
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)

EXIT_ERROR, EXIT_USAGE, EXIT_CHECK, EXIT_INTERRUPTED = 1, 2, 3, 130


def print_json(tree: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; never NaN, which is no JSON."""
    sys.stdout.write(json.dumps(tree, indent=1, allow_nan=False) + "\n")


@contextmanager
def steps(title: str, *, quiet: bool, expected: int | None = None) -> Iterator[Any]:
    """The current step and the time since the first; gives a function to call with each step's name.

    Args:
        title: What is done in these steps.
        quiet: Show nothing.
        expected: About how many steps there will be, for a bar; ``None`` if nobody knows.
    """
    bar = () if expected is None else (BarColumn(), MofNCompleteColumn())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *bar, TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task(title, total=expected)
        begun = 0

        def step(name: str) -> None:
            nonlocal begun
            total = None if expected is None else max(expected, begun + 1)
            progress.update(task, description=f"{title}: {name}", completed=begun, total=total)
            begun += 1

        yield step


@contextmanager
def counter(title: str, *, quiet: bool) -> Iterator[Any]:
    """A bar over frames; gives a function to call with (done, total or ``None``)."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet,
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
