"""Segment a video within a number of milliseconds a frame, and act only on what is fresh and sure.

    python examples/latency_budget.py street.evseg drive.mp4 --deadline-ms 15

Prints where each map comes from, how old it is and which share of it may be acted on, and at the end how well the
deadline was kept. `edge-vseg calibrate` makes the first frames better; without it the scheduler learns as it goes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.types import Result

MAX_AGE_MS = 250.0
MAX_UNCERTAINTY = 0.5


def trusted(result: Result) -> float:
    """Share of the picture that is both fresh and sure enough to steer by."""
    if result.uncertainty is None or result.age_ms_map is None:
        return 0.0
    return float(np.mean((result.age_ms_map <= MAX_AGE_MS) & (result.uncertainty <= MAX_UNCERTAINTY)))


def main() -> None:
    """Run the video through the deadline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, image folder, or number of a camera")
    parser.add_argument("--deadline-ms", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    policy = Deadline(milliseconds=arguments.deadline_ms)
    sources: Counter[str] = Counter()
    taken = []
    with (
        Segmenter.open(
            arguments.bundle, policy=policy, threads=arguments.threads, options=OpenOptions(precision="int8")
        ) as segmenter,
        open_source(arguments.video) as frames,
    ):
        for frame in frames:
            result = segmenter(frame)
            sources[result.source] += 1
            taken.append(result.latency_ms["total"])
            print(f"frame {result.seq}: {result.source}, {result.age_frames} frames old, {trusted(result):.0%} trusted")
    late = np.mean(np.array(taken[1:]) > arguments.deadline_ms) if len(taken) > 1 else 0.0
    print(f"{len(taken)} frames, {late:.1%} over {arguments.deadline_ms:g} ms: {dict(sources)}")


if __name__ == "__main__":
    main()
