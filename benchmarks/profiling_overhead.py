"""What ``edge-vseg profile`` adds to a frame: blocks of frames in turns, with and without recording.

    python benchmarks/profiling_overhead.py --bundle street.evseg --video drive.mp4 --deadline-ms 15

Recording covers quantiles of every step, timelines, causes of deadline misses, and sensor readings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

from harness import provenance, summary, write_json

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.analysis.profiling.recorder import Recorder
from edge_vseg.analysis.profiling.sensor_monitor import SensorMonitor
from edge_vseg.analysis.profiling.sensors import Sensors
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.types import Frame

BLOCK, ROUNDS_OF_BLOCK = 30, 3
SENSOR_PERIOD_S = 0.5
"""Half the period of a profile, so that every block has readings."""


def main() -> None:
    """Time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--deadline-ms", type=float, help="use the policy deadline; by default every frame is inferred")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20, help="blocks of 90 frames, with and without")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with open_source(arguments.video) as source:
        frames = list(islice(source, BLOCK))
    policy = Deadline(milliseconds=arguments.deadline_ms) if arguments.deadline_ms else ""
    with Segmenter.open(
        arguments.bundle,
        runtime=arguments.runtime,
        policy=policy,
        threads=arguments.threads,
        options=OpenOptions(precision="int8"),
    ) as segmenter:
        tree = measure(segmenter, frames, arguments.rounds, arguments.deadline_ms)
    print(
        f"{tree['variant']}: a frame {tree['bare']['median_ms']:.3f} ms, recorded {tree['counted']['median_ms']:.3f} ms"
    )
    print(f"ratio of the medians {tree['ratio']:.4f}, of the means {tree['ratio_of_means']:.4f}")
    print(f"recording takes {tree['recorder_share']:.2%} of a frame")
    write_json(
        arguments.json, tree | {"deadline_ms": arguments.deadline_ms, "provenance": provenance(arguments.threads)}
    )


def measure(segmenter: Segmenter, frames: list[Frame], rounds: int, limit_ms: float | None) -> dict:
    """Medians of a frame with and without recording, in turns."""
    recorder, sensors = Recorder(limit_ms, seconds=3600.0), Sensors()
    bare: list[float] = []
    counted: list[float] = []
    for number in range(-1, rounds):
        plain = [_timed(segmenter, frame, None) for frame in frames * ROUNDS_OF_BLOCK]
        with SensorMonitor(sensors, interval_s=SENSOR_PERIOD_S):
            recorded = [_timed(segmenter, frame, recorder) for frame in frames * ROUNDS_OF_BLOCK]
        if number >= 0:
            bare += plain
            counted += recorded
    recorder.flush()
    share = recorder.overhead_ms / recorder.frames / statistics.mean(bare)
    return {
        "variant": segmenter.variant.id,
        "bare": summary(bare),
        "counted": summary(counted),
        "ratio": statistics.median(counted) / statistics.median(bare),
        "ratio_of_means": statistics.mean(counted) / statistics.mean(bare),
        "recorder_share": share,
    }


def _timed(segmenter: Segmenter, frame: Frame, recorder: Recorder | None) -> float:
    start_ns = time.perf_counter_ns()
    result = segmenter(frame)
    if recorder is not None:
        recorder.add(frame.image, result, start_ns / 1e9 % 3600)
    return (time.perf_counter_ns() - start_ns) / 1e6


if __name__ == "__main__":
    main()
