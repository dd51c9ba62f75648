"""Is what a command writes the old result or the new one, whole, whatever the disk does meanwhile?

    python benchmarks/write_faults.py                       # every command, every operation, every fault
    python benchmarks/write_faults.py --only bundle --every 5

Counts the file operations of each command, then runs it once for each operation and fault: no space, an error of the
disk, a read-only file system, each once and from then on, and the end of the process. After each the result must be
the old one or the new one, the error one that names the file, and the same command without a fault must leave nothing.
The operations are those of the system, so what FFmpeg and OpenCV write counts too; see ``file_faults.py``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import file_faults
import write_scenarios
from file_faults import Fault, Run
from write_scenario import Scenario

FAULTS = (
    Fault(at=0, effect="ENOSPC"),
    Fault(at=0, effect="ENOSPC", span="on"),
    Fault(at=0, effect="EIO"),
    Fault(at=0, effect="EROFS"),
    Fault(at=0, effect="EROFS", span="on"),
    Fault(at=0, effect="kill"),
)
VERDICTS = ("tried", "refused", "right", "killed", "wrong", "uncaught", "died", "hung")
LEFTOVER = re.compile(r"\.[^/]+\.[0-9a-z_]{8}\.part(ial)?(/.*)?|\.[^/]+\.replaced(/.*)?")
"""What a process that was killed may leave: the names that the page on troubleshooting lists."""

Verdict = Literal["refused", "right", "killed", "wrong", "uncaught", "died", "hung"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A case that went wrong."""

    scenario: str
    fault: str
    operation: str
    verdict: Verdict
    why: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one scenario."""

    operations: int
    hit: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def main() -> None:
    """Run the campaign, print the table, exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="scenarios, separated by semicolons")
    parser.add_argument("--quick", action="store_true", help="only those that take milliseconds")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th case only")
    parser.add_argument("--show", action="store_true", help="print the operations of each scenario")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    if reason := file_faults.missing():
        sys.exit(f"faults cannot be injected: {reason}")
    wanted = arguments.only.split(";") if arguments.only else None
    chosen = [
        s for s in write_scenarios.scenarios() if (s.name in wanted if wanted else s.quick or not arguments.quick)
    ]
    print(f"{'scenario':22}{'operations':>11}{'hit':>6}" + "".join(f"{name:>10}" for name in VERDICTS) + f"{'s':>8}")
    rows = []
    for scenario in chosen:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="edge-vseg-faults-") as scratch:
            tally = attack(scenario, Path(scratch), arguments.every, show=arguments.show)
        took_s = time.monotonic() - started
        shown = "".join(f"{tally.counts[name]:>10}" for name in VERDICTS)
        print(f"{scenario.name:22}{tally.operations:>11}{tally.hit:>6}{shown}{took_s:>8.1f}", flush=True)
        for found in tally.findings:
            print(f"  {found.verdict}: {found.fault} at {found.operation}: {found.why}", flush=True)
        rows.append(
            {"scenario": scenario.name, "operations": tally.operations, "hit": tally.hit, **tally.counts}
            | {"findings": [f"{f.verdict}: {f.fault} at {f.operation}: {f.why}" for f in tally.findings]}
        )
    total = sum((Counter({k: v for k, v in row.items() if k in VERDICTS}) for row in rows), Counter())
    print(f"{'all':39}" + "".join(f"{total[name]:>10}" for name in VERDICTS))
    if arguments.json:
        tree = {"rows": rows, "version": importlib.metadata.version("edge-vseg"), "every": arguments.every}
        arguments.json.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(row["findings"] for row in rows) else 0)


def attack(scenario: Scenario, scratch: Path, every: int = 1, *, show: bool = False) -> Tally:
    """All faults at all operations of one scenario."""
    for name in scenario.imports:
        importlib.import_module(name)
    folder, before = scratch / "place", scratch / "before"
    before.mkdir()
    prepared = file_faults.run(lambda: scenario.prepare(before), Path("/nowhere"), timeout_s=600)
    if prepared.ending != "returned":
        raise RuntimeError(f"{scenario.name} cannot be prepared: {prepared.message}")
    plain = _once(scenario, before, folder)
    if plain.ending != "returned" or plain.code or set(scenario.state(folder).values()) != {"new"}:
        raise RuntimeError(f"{scenario.name} fails without a fault: {plain} {scenario.state(folder)}")
    if show:
        print("\n".join(f"  {number:4} {operation}" for number, operation in enumerate(plain.operations)))
    tally = Tally(operations=len(plain.operations))
    hit = set()
    for fault in _faults(len(plain.operations))[::every]:
        run = _once(scenario, before, folder, fault)
        if len(run.operations) > fault.at:
            hit.add(fault.at)
        verdict, why = _judge(scenario, folder, run, fault)
        if verdict != "wrong" and (rest := _rest_of_next(scenario, folder)):
            verdict, why = "wrong", rest
        tally.counts.update(["tried", verdict])
        if verdict not in ("refused", "right", "killed"):
            at = str(run.operations[fault.at]) if len(run.operations) > fault.at else "?"
            tally.findings.append(
                Finding(
                    scenario=scenario.name, fault=str(fault), operation=f"{fault.at} {at}", verdict=verdict, why=why
                )
            )
    tally.hit = len(hit)
    return tally


def _faults(operations: int) -> list[Fault]:
    """Every fault at every operation, in an order of which each part has some of all."""
    cases = [replace(fault, at=at) for at in range(operations) for fault in FAULTS]
    random.Random(0).shuffle(cases)
    return cases


def _once(scenario: Scenario, before: Path, folder: Path, fault: Fault | None = None) -> Run:
    """Run it in a fresh copy of what was there before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(before, folder, symlinks=True)
    return file_faults.run(
        lambda: scenario.act(folder), folder, fault, exchange=scenario.exchange, stdout=scenario.stdout(folder)
    )


def _judge(scenario: Scenario, folder: Path, run: Run, fault: Fault) -> tuple[Verdict, str]:
    """What became of the result, and what was said."""
    if run.ending in ("died", "hung"):
        return run.ending, run.message[-300:]
    if run.error.startswith("uncaught") or "Traceback" in run.message:
        return "uncaught", run.message[-600:]
    if run.ending == "killed":
        scenario.recover(folder)
    states = scenario.state(folder)
    if broken := {name: state for name, state in states.items() if state not in ("old", "new")}:
        return "wrong", f"half a result: {broken}"
    if fault.effect == "kill" and run.ending == "killed":
        return "killed", ""
    failed = run.ending == "raised" or run.code != 0
    if not failed and "old" in states.values() and not scenario.may_do_without:
        return "wrong", f"reported as done, but {states}"
    if failed and "old" not in states.values():
        return "wrong", f"reported as failed, but the result is in place: {run.message[-300:]}"
    if failed and not any(name in run.message for name in scenario.names):
        return "wrong", f"the error does not name the file: {run.message[-300:]}"
    may_stay = (fault.span == "on" and fault.effect == "EROFS") or scenario.keeps
    rest = _rest(scenario, folder)
    removing = run.operations[fault.at].kind in ("unlink", "rmdir") if len(run.operations) > fault.at else False
    if rest and not may_stay and not removing:
        return "wrong", f"left {rest}; it said {run.message[-200:]}"
    return ("refused" if failed else "right"), ""


def _rest(scenario: Scenario, folder: Path) -> list[str]:
    """What lies about that is no result."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return [name for name in found if LEFTOVER.fullmatch(name) or LEFTOVER.fullmatch(name.rpartition("/")[2])]


def _rest_of_next(scenario: Scenario, folder: Path) -> str:
    """What is wrong after the command was run again without a fault; empty if all is well."""
    scenario.make_way(folder)
    again = file_faults.run(
        lambda: scenario.act(folder), folder, exchange=scenario.exchange, stdout=scenario.stdout(folder)
    )
    states: dict[str, str] = scenario.state(folder)
    if again.ending != "returned" or again.code or set(states.values()) != {"new"}:
        return f"the next run fails: {again.ending} {again.code} {again.message[-300:]} {states}"
    rest = _rest(scenario, folder)
    strange = sorted(_names(folder) - scenario.expected(folder))
    return f"the next run leaves {rest or strange}" if rest or strange else ""


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


if __name__ == "__main__":
    main()
