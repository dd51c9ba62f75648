"""``edge-vseg evaluate`` over several clips and device profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.evaluation.evaluations_summary import summary_of
from edge_vseg.analysis.evaluation.many_evaluations import (
    EvaluationJob,
    evaluate_job,
    evaluation_keys,
    other_records,
    read_record,
    write_record,
)
from edge_vseg.cli import console
from edge_vseg.cluster import JobFailure, open_workers
from edge_vseg.errors import OptionError
from edge_vseg.files import make_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where evaluations run, and where their records go.

    Attributes:
        cluster: Address of a Ray cluster; ``None`` for this machine.
        processes: Processes of this machine.
        results: Folder for a record of each; ``None`` for none.
    """

    cluster: str | None = None
    processes: int = 1
    results: Path | None = None

    def __bool__(self) -> bool:
        """Whether anything of it was asked for."""
        return self != Spread()

    def check(self, *, replayed: bool) -> None:
        """Check that evaluations do not measure each other.

        Raises:
            OptionError: If they would.
        """
        if not replayed and (self.cluster is not None or self.processes > 1):
            raise OptionError(
                "evaluations that run at the same time measure each other's load; give --replay PROFILE to spread them,"
                " or leave out --cluster and --processes"
            )
        if self.cluster not in (None, "local") and self.processes > 1:
            raise OptionError("--processes is for this machine; a cluster runs one evaluation on each of its cores")


def evaluate_many(jobs: Sequence[EvaluationJob], spread: Spread, *, as_json: bool) -> None:
    """Evaluate, print a table or one JSON object, and exit with 3 if an evaluation failed.

    Raises:
        OptionError: If two evaluations are the same, or something cannot be read.
        ClusterError: If the cluster cannot run them.
    """
    spread.check(replayed=all(job.options.replay is not None for job in jobs))
    keys = evaluation_keys(jobs)
    _refuse_repeated(jobs, keys)
    answers: dict[int, Any] = {}
    if spread.results is not None:
        make_folder(spread.results)
        found = {number: read_record(spread.results, key) for number, key in enumerate(keys)}
        answers = {number: record for number, record in found.items() if record is not None}
    if answers and not as_json:
        console.err.print(f"{len(answers)} of {len(jobs)} are in {spread.results} already", highlight=False)
    missing = [number for number in range(len(jobs)) if number not in answers]
    if missing and spread.results is not None and not as_json:
        others = other_records(spread.results, [jobs[number] for number in missing], keys)
        if others:
            said = "of other settings, files or versions of edge-vseg and runtimes, and do not count"
            console.err.print(f"{others} more in {spread.results} are {said}", highlight=False)
    with console.counter("evaluating", quiet=as_json) as count:
        count(len(answers), len(jobs))
        for number, answer in _run(jobs, missing, spread):
            answers[number] = answer
            if spread.results is not None and not isinstance(answer, JobFailure):
                write_record(spread.results, keys[number], jobs[number], answer)
            count(len(answers), len(jobs))
    _report(jobs, [answers[number] for number in range(len(jobs))], as_json=as_json)


def _run(jobs: Sequence[EvaluationJob], missing: Sequence[int], spread: Spread) -> Iterator[tuple[int, Any]]:
    if not missing:
        return
    inputs = list(dict.fromkeys(path for number in missing for path in jobs[number].paths))
    with open_workers(spread.cluster, spread.processes, inputs=inputs) as workers:
        for place, answer in workers.run(evaluate_job, [jobs[number] for number in missing]):
            yield missing[place], answer


def _refuse_repeated(jobs: Sequence[EvaluationJob], keys: Sequence[str]) -> None:
    seen: dict[str, EvaluationJob] = {}
    for job, key in zip(jobs, keys, strict=True):
        if key in seen:
            raise OptionError(f"{_title(job)} is the same as {_title(seen[key])}, by content; leave one of them out")
        seen[key] = job


def _title(job: EvaluationJob) -> str:
    return job.data.name if job.options.replay is None else f"{job.data.name} with {job.options.replay}"


def _report(jobs: Sequence[EvaluationJob], answers: Sequence[Any], *, as_json: bool) -> None:
    rows = [answer for answer in answers if not isinstance(answer, JobFailure)]
    failed: list[dict[str, Any]] = [
        {
            "data": job.data.name,
            "replay": None if job.options.replay is None else str(job.options.replay),
            "error": {"kind": answer.kind, "message": answer.message},
        }
        for job, answer in zip(jobs, answers, strict=True)
        if isinstance(answer, JobFailure)
    ]
    if as_json:
        console.print_json({"kind": "evaluations", "rows": rows, "failed": failed, "summary": summary_of(rows, failed)})
    else:
        console.out.print(_table(jobs, answers))
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, JobFailure):
                text = escape(f"{_title(job)}: {answer.kind}: {answer.message}")
                console.out.print(f"[bold red]failed[/] {text}", highlight=False)
    if failed:
        raise typer.Exit(console.EXIT_CHECK)


def _table(jobs: Sequence[EvaluationJob], answers: Sequence[Any]) -> Table:
    table = Table(
        "data", "profile", "mIoU, %", "fidelity, %", "cost", "p95 ms", "misses, %", box=None, header_style="bold"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for job, answer in zip(jobs, answers, strict=True):
        names = job.data.name, "" if job.options.replay is None else job.options.replay.name
        cells = ["failed", *[""] * 4] if isinstance(answer, JobFailure) else _cells(answer)
        table.add_row(*map(escape, (*names, *cells)))
    return table


def _cells(record: Mapping[str, Any]) -> list[str]:
    shares = {name: record[name] for name in ("miou", "fidelity_miou", "misses")}
    text = {name: "" if share is None else f"{100 * share:.2f}" for name, share in shares.items()}
    figures = f"{record['cost']:.2f}", f"{record['timing']['p95']:.2f}"
    return [text["miou"], text["fidelity_miou"], *figures, text["misses"]]
