"""A hand-made latency profile in which every figure is present and known, and times of operators."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from edge_vseg.analysis.operator_recording import OperatorRecording, RecordedVariant
from edge_vseg.analysis.percentiles import Percentiles
from edge_vseg.analysis.profiling.deadline_misses import LateFrame
from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, Machine, MemoryUse, OperatorLatency, Reading
from edge_vseg.analysis.profiling.timeline import Interval
from edge_vseg.runtimes.operator_times.measurement import OperatorTime


def quantiles(p50: float, count: int = 99) -> Percentiles:
    """Percentiles in proportion to the median."""
    return Percentiles(
        count=count, mean=1.1 * p50, p50=p50, p90=1.5 * p50, p95=2 * p50, p99=3 * p50, p99_9=3.5 * p50, max=4 * p50
    )


def reading(at_s: float, **changes: object) -> Reading:
    made = Reading(
        at_s=at_s,
        rss_mb=200.0 + at_s,
        cpu_percent=(80.0, 40.0),
        process_cpu_percent=120.0,
        frequency_mhz=(1800.0, 1500.0),
        temperature_c={"cpu": 50.0 + at_s},
        throttled=(),
        power_w={"all": 5.0},
    )
    return replace(made, **changes)


def interval(begin: float, end: float, p50: float | None = 10.0) -> Interval:
    return Interval(
        from_s=begin,
        to_s=end,
        latency_ms=None if p50 is None else quantiles(p50, 33),
        decisions={} if p50 is None else {"infer": 11, "propagate": 22},
        dropped=1,
        missed=2,
    )


def make_profile(**changes: object) -> LatencyProfile:
    made = LatencyProfile(
        bundle="bundles/street.evseg",
        bundle_sha256="ab" * 32,
        variant="onnxruntime/int8",
        provider="cpu",
        threads=2,
        policy="Deadline(milliseconds=25)",
        video="drive.mp4",
        pace="recording",
        rate=30.0,
        missing=0,
        deadline_ms=25.0,
        limit_ms=25.0,
        seconds=3.3,
        complete=True,
        stopped="",
        rounds=2,
        frames=100,
        dropped=25,
        open_ms=300.0,
        first_ms=80.0,
        latency_ms=quantiles(10.0),
        age_ms=quantiles(12.0),
        change_ms=quantiles(1.0, 98),
        steps_ms={"decode": quantiles(0.5, 130), "preprocess": quantiles(1.0), "infer": quantiles(8.0, 33)},
        sources={"inferred": 34, "propagated": 66},
        oldest_frames=4,
        missed=9,
        causes={"infer took longer than usual": 7, "planned: every step took about as long as usual": 2},
        worst=[
            LateFrame(
                seq=17,
                at_s=0.6,
                total_ms=40.0,
                cause="infer took longer than usual",
                decision="infer: fits <25 & more>",
                steps_ms={"preprocess": 1.0, "infer": 39.0},
            )
        ],
        minutes=[interval(0.0, 3.3)],
        timeline=[interval(0.0, 1.0), interval(1.0, 2.0, None), interval(2.0, 3.3, 20.0)],
        last=[("infer", 20.0), ("propagate", 4.0), ("propagate", 5.0)],
        curve=[(3.0, 0.0), (10.0, 0.5), (40.0, 1.0)],
        readings=[reading(0.0), reading(1.0, throttled=("too hot",)), reading(2.0, temperature_c={})],
        memory=MemoryUse(first=200.0, last=202.0, max=203.0, slope_per_hour=1.5),
        energy_j={"all": 0.165},
        operators=[
            OperatorLatency(part="whole", name="conv<1>", kind="Conv", ms=3.0, share=0.6),
            OperatorLatency(part="slice 0", name="conv<1>", kind="Conv", ms=2.0, share=0.9),
        ],
        without_operators="",
        overhead=0.01,
        lanes=[],
        cpu_share=0.4,
        process_cpu_share=0.3,
        machine=Machine(cpu="abacus", facts={"kernel": "6.1"}, versions={"python": "3.11"}),
        command="edge-vseg profile bundles/street.evseg drive.mp4",
    )
    return replace(made, **changes)


def operator_recording(*precisions: Any) -> OperatorRecording:
    """Of ONNX Runtime, one convolution in each of the given precisions."""
    operators = (OperatorTime(name="conv0", kind="Conv", ms=1.0, share=1.0, calls=20, median_ms=1.0),)
    return OperatorRecording(
        bundle="net",
        bundle_sha256="0" * 64,
        size_hw=(24, 32),
        macs=1000,
        cpu="Cortex-A76",
        threads=4,
        versions={"onnxruntime": "onnxruntime 1.27"},
        variants=tuple(
            RecordedVariant(id=f"onnxruntime/{each}", runtime="onnxruntime", precision=each, operators=operators)
            for each in precisions
        ),
        skipped={"tflite/int8": "no profiler"},
    )
