"""Terminal output: text on stdout and stderr, or one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, Protocol, cast

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edge_vseg.cli.plain_text import PlainConsole
from edge_vseg.cli.tool_output import Terminal, collected, log_above
from edge_vseg.progress_lines import ProgressLines

# Without a terminal Rich assumes 80 columns, which would cut tables in logs and pipes.
out = PlainConsole(width=None if sys.stdout.isatty() else 160)
terminal = Terminal()
err = PlainConsole(file=cast("IO[str]", terminal), stderr=True)

EXIT_ERROR, EXIT_USAGE, EXIT_CHECK, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 3, 130, 143


def print_json(tree: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; NaN raises ValueError, because JSON has none."""
    sys.stdout.write(json.dumps(tree, indent=1, allow_nan=False) + "\n")


def tool_output_collected() -> AbstractContextManager[None]:
    """Keep what other tools print off the terminal; see :func:`~edge_vseg.cli.tool_output.collected`."""
    return collected(terminal)


class StepTimes(Protocol):
    """Estimates the time left; see :class:`edge_vseg.export.time_left.TimeLeft`."""

    def begin(self, line: str) -> None:
        """A step begins."""

    @property
    def text(self) -> str:
        """The time left, in words; empty while nothing is known."""


class _TimeLeftColumn(ProgressColumn):
    def __init__(self, times: StepTimes) -> None:
        super().__init__()
        self._times = times

    def render(self, task: Task) -> Text:
        """The words of the moment."""
        return Text(self._times.text, style="progress.remaining")


@contextmanager
def steps(title: str, *, quiet: bool, expected: int | None = None, time_left: StepTimes | None = None) -> Iterator[Any]:
    """Show the current step and the elapsed time; yields a function to call with the name of each step.

    Where standard error is no terminal, plain lines say so now and then.

    Args:
        title: What the steps do together.
        quiet: Show nothing.
        expected: Approximate number of steps, for a progress bar; ``None`` if unknown.
        time_left: Is told each step, and says how long it all still takes.
    """
    bar = () if expected is None else (BarColumn(), MofNCompleteColumn())
    left = () if time_left is None else (_TimeLeftColumn(time_left),)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *bar, TimeElapsedColumn(), *left)
    now = ""

    def described() -> str:
        left = "" if time_left is None else time_left.text
        return now and ", ".join(filter(None, (now, left)))

    # Python's streams are left alone: what is not ours belongs to what tool_output_collected keeps off the terminal.
    with (
        Progress(
            *columns,
            console=err,
            transient=True,
            disable=quiet or not err.is_interactive,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress,
        log_above(err, terminal) if err.is_interactive else nullcontext(),
        _lines(described, quiet=quiet),
    ):
        task = progress.add_task(title, total=expected)
        started = 0

        def step(name: str) -> None:
            nonlocal started, now
            if time_left is not None:
                time_left.begin(name)
            total = None if expected is None else max(expected, started + 1)
            now = f"{title}: {name}"
            progress.update(task, description=now, completed=started, total=total)
            started += 1

        yield step


@contextmanager
def counter(title: str, *, quiet: bool, slow: bool = False) -> Iterator[Any]:
    """Show a progress bar over frames; yields a function to call with (done, total or ``None``).

    Where standard error is no terminal, plain lines say so now and then, if there is a total: a camera has no end.

    Args:
        title: What is done with them.
        quiet: Show nothing.
        slow: Show the time left, too, for what takes minutes.
    """
    done: int = 0
    total: int | None = None
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *((TextColumn("left"), TimeRemainingColumn()) if slow else ()),
        console=err,
        transient=True,
        disable=quiet or not err.is_interactive,
    )
    with bar as progress, _lines(lambda: "" if total is None else f"{title}: {done} of {total}", quiet=quiet):
        task = progress.add_task(title, total=None)

        def count(now: int, of: int | None) -> None:
            nonlocal done, total
            done, total = now, of
            progress.update(task, completed=now, total=of)

        yield count


def _lines(describe: Callable[[], str], *, quiet: bool) -> AbstractContextManager[object]:
    """Plain lines on standard error where it is no terminal."""
    if quiet or err.is_interactive:
        return nullcontext()
    return ProgressLines(lambda line: err.print(line, soft_wrap=True, markup=False, highlight=False), describe)
