"""What does a frame cost on which nothing of the network runs? A table of its steps, on one core.

The first frame is inferred, all others are propagated: motion, warped label map, bookkeeping.

    taskset -c 0 python benchmarks/frame_cost.py street.evseg drive.mp4 --json frame_cost.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
from harness import provenance, write_json

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.types import Frame, Size

SIZES_HW: tuple[Size, ...] = ((360, 480), (360, 640), (720, 1280))
MOTIONS = ("dis-fine", "dis", "dis-coarse", "codec", "still")
WARM_UP_FRAMES = 20


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video", help="H.264 video, for the motion vectors")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for size_hw in SIZES_HW:
        for motion in MOTIONS:
            with open_source(arguments.video, codec_motion=motion == "codec") as source:
                frames = [
                    replace(frame, image=resize_image(frame.image, size_hw))
                    for frame in islice(source, arguments.frames)
                ]
            steps = measure(arguments.bundle, arguments.runtime, motion, frames)
            rows.append({"size_hw": size_hw, "motion": motion, "steps_ms": steps})
            others = ", ".join(f"{name} {ms:.2f}" for name, ms in steps.items() if name != "total")
            print(f"{size_hw[1]:>5}x{size_hw[0]:<5}{motion:12}{steps['total']:>7.2f} ms: {others}", flush=True)
    write_json(arguments.json, {"rows": rows, "provenance": provenance(1)})


def measure(bundle: Path, runtime: str, motion: str, frames: Sequence[Frame]) -> dict[str, float]:
    """Median milliseconds of each step of propagated frames."""
    policy, options = Fixed(period_frames=10**6, motion=motion), OpenOptions(precision="int8")
    with Segmenter.open(bundle, runtime=runtime, threads=1, policy=policy, options=options) as segmenter:
        latencies = [segmenter(frame).latency_ms for frame in frames][WARM_UP_FRAMES:]
    names = dict.fromkeys(name for latency in latencies for name in latency)
    return {name: statistics.median(latency.get(name, 0.0) for latency in latencies) for name in names}


if __name__ == "__main__":
    main()
