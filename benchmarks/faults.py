"""What becomes of frames when a runtime, the motion, a clock or the camera fails, under every policy?

Plays the cases of ``tests/faults/fault_campaign.py`` in a process of their own, counts them by fault, and prints those
that failed. A case is *right* if every frame was answered rightly, *refused* if frames with the fault, and no others,
were refused by a named error; all answers in between are checked against the frames themselves: map, ages and source.
It exits with 1 if one was wrong, raised anything else, killed the process or did not return::

    python benchmarks/faults.py --cases 500
    python benchmarks/faults.py --live --cases 200     # a real worker, in real time
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CHILD = ROOT / "tests" / "faults" / "fault_campaign.py"
OUTCOMES = ("right", "refused", "wrong", "uncaught", "died", "hung")
START_S = 300.0
"""Until the first case: it is found out first which graphs each policy runs."""
GOOD = ("right", "refused", "never met")


def main() -> int:
    """Play, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=0, help="so many of all, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--live", action="store_true", help="a real worker in real time, instead of replayed costs")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds after which a case counts as hung")
    parser.add_argument("--plant", action="store_true", help="add a case that dies and one that hangs: it has to fail")
    parser.add_argument("--json", type=Path, help="file for the counts and the failed cases")
    given = parser.parse_args()
    arguments = ["--cases", str(given.cases), "--seed", str(given.seed)]
    arguments += [option for option in ("--live", "--plant") if getattr(given, option[2:])]
    counts: dict[str, Counter[str]] = {}
    failed: list[dict[str, str]] = []
    for outcome in play(arguments, given.timeout):
        counts.setdefault(outcome["fault"], Counter())[outcome["kind"]] += 1
        if outcome["kind"] not in GOOD:
            failed.append({key: outcome[key] for key in ("case", "kind", "reason")})
            print(f"{outcome['case']}: {outcome['kind']} {outcome['reason']}", flush=True)
    print(table(counts))
    if given.json:
        said = {"counts": counts, "failed": failed, "arguments": arguments}
        given.json.write_text(json.dumps(said, indent=1), encoding="utf-8")
    return 1 if failed else 0


def play(arguments: list[str], timeout_s: float) -> Iterator[dict[str, Any]]:
    """The outcomes of all cases; after one that died or hung, the others are played by another process."""
    number, of = 0, 1
    while number < of:
        begun: dict[str, Any] = {}
        for line in _lines([*arguments, "--first", str(number)], timeout_s):
            if "kind" in line and not begun:  # how the process ended, between two cases
                if line["kind"] == "ended":
                    return
                raise SystemExit(f"the campaign itself {line['kind']}: {line['reason']}")
            if "kind" in line:
                kind = "died" if line["kind"] == "ended" else line["kind"]
                yield begun | {"kind": kind, "reason": line["reason"]}
                number, begun = begun["number"] + 1, {}
            else:
                begun, of = line, line["of"]


def _lines(arguments: list[str], timeout_s: float) -> Iterator[dict[str, Any]]:
    """What a process says, and at last how it ended."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, str(CHILD), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    wait_s = max(timeout_s, START_S)
    try:
        while line := lines.get(timeout=wait_s):
            wait_s = timeout_s
            yield json.loads(line)
        status = child.wait()
        yield {"kind": "died" if status else "ended", "reason": f"status {status}"}
    except queue.Empty:
        yield {"kind": "hung", "reason": f"for more than {timeout_s:g} s"}
    finally:
        child.kill()
        child.wait()


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts by fault, as text; cases that never met their fault were not tried."""
    wide = max(map(len, [*counts, "fault"])) + 2
    lines = [f"{'fault':{wide}}{'tried':>8}" + "".join(f"{kind:>10}" for kind in OUTCOMES)]
    total: Counter[str] = Counter()
    for name, count in [*sorted(counts.items()), ("all", total)]:
        tried = [count[kind] for kind in OUTCOMES]
        lines.append(f"{name:{wide}}{sum(tried):8}" + "".join(f"{each:10}" for each in tried))
        total.update(count)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
