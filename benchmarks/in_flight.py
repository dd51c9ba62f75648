"""What do two requests in flight gain? OpenVINO's AsyncInferQueue with two requests against one request at a time.

The same graph and as many threads for both; the queue's graph is compiled for throughput, in two streams. A queue is
how programs hide a slow network: maps come more often where cores are free, and each takes longer where they are not.
``slowdown`` is what ``deadline.py`` models that rival with.

    python benchmarks/in_flight.py street.evseg --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import provenance, write_json

from edge_vseg import open_bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendMissingError
from edge_vseg.runtimes.backends.openvino_runtime import import_openvino
from edge_vseg.runtimes.packages import require_package

REQUESTS = 2
ROUNDS, RUNS = 8, 16
"""Turns of one request and of two, and inferences in each."""


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.bundle, arguments.threads, arguments.rounds)
    if found is None:
        raise SystemExit(f"{arguments.bundle} has no OpenVINO variant, or openvino is not installed")
    print(describe(found))
    write_json(arguments.json, found | {"provenance": provenance(arguments.threads)})


def measure(bundle: Path, threads: int, rounds: int = ROUNDS) -> dict[str, Any] | None:
    """Latency and throughput of one request and of two, in turns; ``None`` without openvino or a variant for it."""
    opened = open_bundle(bundle)
    variants = [each for each in opened.manifest.variants if each.runtime == "openvino"]
    try:
        package = require_package("openvino", ("openvino",), runtime="openvino", extra="openvino")
    except BackendMissingError:
        return None
    if not variants:
        return None
    openvino = import_openvino(package)
    variant = min(variants, key=lambda each: each.precision != "int8")
    core, path = openvino.Core(), opened.entry(variant)
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    one = core.compile_model(path, "CPU", config | {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    two = core.compile_model(path, "CPU", config | {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": REQUESTS})
    request, queue, tensor = one.create_infer_request(), openvino.AsyncInferQueue(two, REQUESTS), _tensor(variant)
    alone_ms: list[float] = []
    in_flight_ms: list[float] = []
    seconds = 0.0
    for number in range(-1, rounds):  # the first turn warms up
        alone, (beside, took_s) = _alone(request, tensor), _in_flight(queue, tensor)
        if number >= 0:
            alone_ms += alone
            in_flight_ms += beside
            seconds += took_s
    latency_ms, beside_ms = statistics.median(alone_ms), statistics.median(in_flight_ms)
    return {
        "variant": variant.id,
        "threads": threads,
        "one_ms": latency_ms,
        "one_per_second": len(alone_ms) / (sum(alone_ms) / 1e3),
        "two_ms": beside_ms,
        "two_per_second": len(in_flight_ms) / seconds,
        "slowdown": max(1.0, beside_ms / latency_ms),
    }


def describe(found: dict[str, Any]) -> str:
    """One line."""
    return (
        f"{found['variant']}, {found['threads']} threads: one request {found['one_ms']:.1f} ms,"
        f" {found['one_per_second']:.0f} maps a second; two in flight {found['two_ms']:.1f} ms each,"
        f" {found['two_per_second']:.0f} maps a second: {found['slowdown']:.2f} times as slow"
    )


def _tensor(variant: Variant) -> np.ndarray:
    spec = variant.input
    values = np.random.default_rng(0).uniform(0, 255, spec.shape)
    return values.astype(spec.dtype)


def _alone(request: Any, tensor: np.ndarray) -> list[float]:
    samples = []
    for _ in range(RUNS):
        start_ns = time.perf_counter_ns()
        request.infer([tensor])
        samples.append((time.perf_counter_ns() - start_ns) / 1e6)
    return samples


def _in_flight(queue: Any, tensor: np.ndarray) -> tuple[list[float], float]:
    """Milliseconds of each inference from its start, and the seconds of all together."""
    samples: list[float] = []
    queue.set_callback(lambda request, start_ns: samples.append((time.perf_counter_ns() - start_ns) / 1e6))
    begin = time.perf_counter()
    for _ in range(RUNS):
        queue.get_idle_request_id()  # waits for one
        queue.start_async([tensor], time.perf_counter_ns())
    queue.wait_all()
    return samples, time.perf_counter() - begin


if __name__ == "__main__":
    main()
