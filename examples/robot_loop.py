"""A control loop at 50 Hz that slows down when the free space ahead is short, unsure or stale.

    python examples/robot_loop.py street.evseg 0 --free road pavement

The loop never waits for the camera or the network. Replace `print` by your motor driver. When the pipeline gives up,
the program ends with code 1: let its supervisor start it again, and let the motors stop without commands. With a
bundle of label maps without scores the robot stands: nothing says how sure they are. Export the network with scores.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from edge_vseg import Pipeline, Result, StaleError
from edge_vseg.navigation import class_ids, free_distance

PERIOD_S = 0.02
MAX_SPEED, SPEED_UP, SLOW_DOWN = 1.5, 0.5, 3.0  # m/s and m/s2
CLEAR_SHARE = 0.4  # of the image's height that must be free for full speed
MAX_UNCERTAINTY = 0.5


def allowed_speed(result: Result, free: frozenset[int], cut: int) -> tuple[float, str]:
    """Metres per second that a result allows, and why not more."""
    if result.uncertainty is None:
        return 0.0, "no scores"
    height, width = result.labels.shape
    ahead = free_distance(result.labels[: height - cut], free)[width // 3 : 2 * width // 3]
    clear = min(1.0, float(np.percentile(ahead, 10)) / (CLEAR_SHARE * height))
    rows, columns = result.uncertainty.shape
    near = result.uncertainty[rows // 2 :, columns // 3 : 2 * columns // 3]
    sure = float(np.mean(near <= MAX_UNCERTAINTY))
    reason = "clear" if min(clear, sure) > 0.9 else "short" if clear < sure else "unsure"
    return MAX_SPEED * clear * sure, reason


def main() -> None:
    """Drive until the source ends or Ctrl-C is pressed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("source", help="camera, stream, or a video to play like one")
    parser.add_argument("--free", nargs="+", required=True, help="classes that can be driven on")
    parser.add_argument("--deadline-ms", type=float, default=15.0)
    parser.add_argument("--cut", type=int, default=0, help="rows at the bottom in which the camera sees the robot")
    arguments = parser.parse_args()
    with Pipeline.open(arguments.bundle, arguments.source, deadline_ms=arguments.deadline_ms) as pipeline:
        free = class_ids(pipeline.labels, arguments.free)
        speed, last, due_s, ticks = 0.0, "", time.monotonic(), Counter[str]()
        while pipeline.active:
            try:
                allowed, reason = allowed_speed(pipeline.latest(), free, arguments.cut)
            except StaleError:
                allowed, reason = 0.0, "stale"
            speed = float(np.clip(allowed, speed - SLOW_DOWN * PERIOD_S, speed + SPEED_UP * PERIOD_S))
            ticks[reason] += 1
            if reason != last:
                print(f"{speed:.2f} m/s, {reason}; {pipeline.health.state} {pipeline.health.reason}", flush=True)
            last, due_s = reason, due_s + PERIOD_S
            time.sleep(max(0.0, due_s - time.monotonic()))
        print(f"{sum(ticks.values())} ticks: {dict(ticks)}; {pipeline.counts}")
        if pipeline.health.state == "failed":
            raise SystemExit(pipeline.health.reason)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
