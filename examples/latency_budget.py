"""Segment a video under a deadline, and use only the pixels that are recent and certain.

    python examples/latency_budget.py street.evseg drive.mp4 --deadline-ms 15

Prints source and age of each label map and the share of its pixels to trust, and at the end how often the deadline was
missed. Run `edge-vseg calibrate` first for good decisions from the first frame; without it the scheduler learns the
costs while running.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from edge_vseg import Deadline, OpenOptions, Segmenter, open_source
from edge_vseg.types import Result

MAX_AGE_MS = 250.0
MAX_UNCERTAINTY = 0.5


def trusted_share(result: Result) -> float:
    """Share of the pixels that are recent and certain enough."""
    if result.uncertainty is None or result.age_ms_map is None:
        return 0.0
    return float(np.mean((result.age_ms_map <= MAX_AGE_MS) & (result.uncertainty <= MAX_UNCERTAINTY)))


def main() -> None:
    """Segment the video, print a line per frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, image folder or camera number")
    parser.add_argument("--deadline-ms", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    policy = Deadline(milliseconds=arguments.deadline_ms)
    sources: Counter[str] = Counter()
    times_ms = []
    with (
        Segmenter.open(
            arguments.bundle, policy=policy, threads=arguments.threads, options=OpenOptions(precision="int8")
        ) as segmenter,
        open_source(arguments.video) as frames,
    ):
        for frame in frames:
            result = segmenter(frame)
            sources[result.source] += 1
            times_ms.append(result.latency_ms["total"])
            trusted = trusted_share(result)
            print(f"frame {result.seq}: {result.source}, {result.age_frames} frames old, {trusted:.0%} trusted")
    late = np.mean(np.array(times_ms[1:]) > arguments.deadline_ms) if len(times_ms) > 1 else 0.0
    print(f"{len(times_ms)} frames, {late:.1%} over {arguments.deadline_ms:g} ms: {dict(sources)}")


if __name__ == "__main__":
    main()
