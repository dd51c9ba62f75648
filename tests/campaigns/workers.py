"""Run cases in a process of their own, so that one that dies, hangs or eats memory is counted and not fatal."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["refused", "right", "other", "wrong", "uncaught", "died", "hung"]
OUTCOMES: tuple[Outcome, ...] = ("refused", "right", "other", "wrong", "uncaught", "died", "hung")
BAD: frozenset[Outcome] = frozenset({"wrong", "uncaught", "died", "hung"})
START_TIMEOUT_S = 120.0
REPORT_EVERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a case.

    Attributes:
        kind: Kind of damage.
        outcome: ``refused`` by a named error, ``right``, ``other``: a sound bundle of another network, ``wrong``
            without a word, ``uncaught`` exception, ``died`` with the process, or ``hung``.
        detail: The error, or what was wrong.
    """

    kind: str
    outcome: Outcome
    detail: str = ""


Judge: TypeAlias = Callable[[int], Verdict]
Prepare: TypeAlias = Callable[[Path, int], Judge]


@dataclass(slots=True)
class Tally:
    """Counts by kind of damage, and every bad case.

    Attributes:
        counts: By kind and outcome.
        bad: Number and verdict.
        peak_mb: Largest resident memory of a worker.
        slowest_s: Longest case.
    """

    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    bad: list[tuple[int, Verdict]] = field(default_factory=list)
    peak_mb: float = 0.0
    slowest_s: float = 0.0

    def add(self, number: int, verdict: Verdict) -> None:
        """Count a case."""
        self.counts[verdict.kind, verdict.outcome] += 1
        if verdict.outcome in BAD:
            self.bad.append((number, verdict))

    def table(self) -> str:
        """A line for each kind, and one for all."""
        kinds = sorted({kind for kind, _ in self.counts})
        lines = [" ".join(["kind".ljust(16), *(name.rjust(9) for name in ("tried", *OUTCOMES))])]
        for kind in (*kinds, "all"):
            row = [sum(n for (k, o), n in self.counts.items() if kind in (k, "all") and o == each) for each in OUTCOMES]
            lines.append(" ".join([kind.ljust(16), *(str(n).rjust(9) for n in (sum(row), *row))]))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a case may take."""

    seconds: float = 20.0
    memory_gb: float = 6.0


def run_cases(prepare: Prepare, folder: Path, seed: int, numbers: Iterable[int], limits: Limits) -> Tally:
    """Judge every case in a worker; a worker that died or hung is replaced.

    Args:
        prepare: Called once in each worker with its folder and the seed; gives the function that judges a case.
        folder: For files.
        seed: Of all cases.
        numbers: Which cases; Ctrl-C ends them early.
        limits: For each.
    """
    tally, number = Tally(), -1
    worker: _Worker | None = None
    try:
        for number in numbers:
            worker = worker or _Worker(prepare, folder, seed, limits)
            started = time.monotonic()
            verdict, peak_mb = worker.judge(number)
            tally.slowest_s = max(tally.slowest_s, time.monotonic() - started)
            tally.peak_mb = max(tally.peak_mb, peak_mb)
            tally.add(number, verdict)
            if verdict.outcome in ("died", "hung"):
                worker.stop()
                worker = None
            if sum(tally.counts.values()) % REPORT_EVERY == 0:
                print(f"{tally.table()}\nafter case {number}, {len(tally.bad)} bad", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"stopped after case {number}")
    finally:
        if worker is not None:
            worker.stop()
    return tally


class _Worker:
    def __init__(self, prepare: Prepare, folder: Path, seed: int, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self._limits = limits
        self._note = folder / "kind.txt"
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(prepare, folder, seed, limits, theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = self._pipe.poll(START_TIMEOUT_S) and self._pipe.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            raise RuntimeError("the worker did not start; CAMPAIGN_LOG=FILE keeps what it prints")

    def judge(self, number: int) -> tuple[Verdict, float]:
        try:
            self._pipe.send(number)
            if self._pipe.poll(self._limits.seconds):
                verdict, peak_mb = self._pipe.recv()
                if isinstance(verdict, str):
                    raise RuntimeError(f"case {number} cannot be judged: {verdict}")
                return verdict, peak_mb
        except (EOFError, OSError):
            self._process.join(5)
            return Verdict(kind=self._kind(), outcome="died", detail=f"exit code {self._process.exitcode}"), 0.0
        return Verdict(kind=self._kind(), outcome="hung", detail=f"more than {self._limits.seconds:g} s"), 0.0

    def _kind(self) -> str:
        return self._note.read_text() if self._note.exists() else "?"

    def stop(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _work(prepare: Prepare, folder: Path, seed: int, limits: Limits, pipe: Connection) -> None:
    size = int(limits.memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sink = os.open(os.environ.get("CAMPAIGN_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(sink, stream)
    judge = prepare(folder, seed)
    pipe.send("ready")
    for number in iter(pipe.recv, None):
        verdict: Verdict | str
        try:
            verdict = judge(number)
        except Exception:
            verdict = traceback.format_exc()
        pipe.send((verdict, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def note_kind(folder: Path, kind: str) -> str:
    """Leave the kind of the case for the parent, in case this process does not come back."""
    (folder / "kind.txt").write_text(kind)
    return kind


def command_line(description: str, cases: int) -> argparse.Namespace:
    """The options that all campaigns have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first case; a case depends on seed and number"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="that a case may take")
    parser.add_argument("--memory-gb", type=float, default=6.0, help="address space of the worker")
    parser.add_argument("--kinds", default="", help="kinds of damage, divided by commas; all by default")
    return parser.parse_args()


def report(tally: Tally, shown: int = 40) -> int:
    """Print the counts and the bad cases; 1 if there is a bad one."""
    print(tally.table())
    print(f"peak of a worker {tally.peak_mb:.0f} MB, slowest case {tally.slowest_s:.1f} s")
    for number, verdict in tally.bad[:shown]:
        print(f"case {number} {verdict.kind}: {verdict.outcome}: {verdict.detail}")
    sys.stdout.flush()
    return 1 if tally.bad else 0


def several(first: int, count: int) -> Iterator[int]:
    """The numbers of the cases."""
    return iter(range(first, first + count))
