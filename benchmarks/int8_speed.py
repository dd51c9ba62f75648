"""How much faster int8 is than float on each runtime, timed in turns in one run.

python benchmarks/int8_speed.py --json benchmarks/results/int8_speed.json
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import make_bundle, parse_arguments, provenance, summary, write_json

from edge_vseg import open_bundle
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.runtimes.timing import Runner, noise, race

RUNTIMES = ("onnxruntime", "openvino", "tflite")


def main() -> None:
    """Time, print, write JSON."""
    arguments = parse_arguments(__doc__ or "")
    with TemporaryDirectory() as folder:
        path = arguments.bundle or make_bundle(Path(folder), arguments.network, RUNTIMES)
        bundle = open_bundle(path)
        rows = {}
        for runtime in RUNTIMES:
            runners = []
            for variant in bundle.manifest.variants:
                if variant.runtime != runtime:
                    continue
                spec = GraphSpec.of(input=variant.input, output=variant.output)
                session = get_runtime(runtime).open(
                    bundle.entry(variant), spec, SessionOptions(threads=arguments.threads)
                )
                feed = {spec.input.name: noise(spec.input, np.random.default_rng(0))}
                runners.append(Runner(key=variant.id, session=session, feed=feed))
            race(runners, rounds=arguments.rounds, clock=time.perf_counter_ns, max_slowdown=math.inf)
            rows |= {r.key: summary([ns / 1e6 for ns in r.samples_ns]) for r in runners}
            for runner in runners:
                runner.session.close()
    macs = bundle.manifest.source.macs
    print(
        f"{bundle.manifest.source.name.rpartition('/')[2]}: {(macs or 0) / 1e9:.2f} GMAC, {arguments.threads} threads"
    )
    for key, row in rows.items():
        row["speedup"] = rows[f"{key.split('/')[0]}/float"]["median_ms"] / row["median_ms"]
        print(f"{key:28} {row['median_ms']:8.2f} ms  {row['speedup']:.2f} x float")
    write_json(arguments.json, {"macs": macs, "variants": rows, "provenance": provenance(arguments.threads)})


if __name__ == "__main__":
    main()
