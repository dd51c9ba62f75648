"""Open and close every variant of a bundle many times: does memory stay within 10 %?

python benchmarks/openings.py street.evseg --count 1000
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from harness import write_json
from soak_process import Holdings

from edge_vseg import OpenOptions, Segmenter, open_bundle
from edge_vseg.runtimes.probing import ProbeRule
from edge_vseg.scheduling.policies import Deadline

SETTLED_SHARE = 0.2
"""Share of the openings after which memory must have settled."""
MAX_GROWTH = 0.1


def measure(bundle: Path, variant: str, count: int) -> dict[str, object]:
    """Open, segment two frames under a deadline, close; in this process."""
    height, width = open_bundle(bundle).manifest.frame.size_hw
    image = np.zeros((height, width, 3), np.uint8)
    options = OpenOptions(variant=variant, probe=ProbeRule(when="never"))
    samples, started_s = [], time.monotonic()
    for _ in range(count):
        with Segmenter.open(bundle, policy=Deadline(milliseconds=15.0), threads=1, options=options) as segmenter:
            segmenter(image)
            segmenter(image)
        samples.append(Holdings.now(started_s))
    settled, last = samples[int(SETTLED_SHARE * count)], samples[-1]
    return {
        "variant": variant,
        "count": count,
        "settled_mib": round(settled.mib, 1),
        "last_mib": round(last.mib, 1),
        "growth": round(last.mib / settled.mib - 1, 4),
        "descriptors": [settled.descriptors, last.descriptors],
        "threads": [settled.threads, last.threads],
        "ok": last.mib <= (1 + MAX_GROWTH) * settled.mib
        and (last.descriptors, last.threads) == (settled.descriptors, settled.threads),
    }


def main() -> int:
    """Each variant in a process of its own, so that none hides behind another's memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--variant", help="this one only, in this process")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    if arguments.variant:
        logging.disable(logging.WARNING)
        print(json.dumps(measure(arguments.bundle, arguments.variant, arguments.count)))
        return 0
    rows = []
    for variant in open_bundle(arguments.bundle).manifest.variants:
        command = [sys.executable, __file__, str(arguments.bundle), "--count", str(arguments.count)]
        done = subprocess.run([*command, "--variant", variant.id], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{variant.id}: {done.stderr.strip().splitlines()[-1:]}")
            continue
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    write_json(arguments.json, {"rows": rows})
    return 0 if rows and all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
