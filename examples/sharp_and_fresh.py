"""Helpers of a slow network side by side: borders along the edges of the image, things that are followed, a companion.

    python examples/sharp_and_fresh.py middle.evseg drive.mp4 --companion small.evseg --follow car pedestrian

Prints how much of each map each of them changes, and what they cost. A companion pays where it takes a small part of
the deadline and the network takes several frame periods.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_vseg import Deadline, OpenOptions, Segmenter, open_source


def main() -> None:
    """Segment the video in each way at once, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video")
    parser.add_argument("--companion", type=Path, help="bundle of a fast network with the same classes")
    parser.add_argument("--follow", nargs="+", default=(), help="classes of things to find again in carried maps")
    parser.add_argument("--deadline-ms", type=float, default=25.0)
    arguments = parser.parse_args()
    kinds = {"plain": OpenOptions(), "guided borders": OpenOptions(borders="guided")}
    if arguments.follow:
        kinds["followed things"] = OpenOptions(follow=tuple(arguments.follow))
    if arguments.companion is not None:
        kinds["companion"] = OpenOptions(companion=arguments.companion)
    policy = Deadline(milliseconds=arguments.deadline_ms)
    changed: dict[str, list[float]] = {name: [] for name in kinds}
    times_ms: dict[str, list[float]] = {name: [] for name in kinds}
    with ExitStack() as stack:
        segmenters = {
            name: stack.enter_context(Segmenter.open(arguments.bundle, policy=policy, threads=1, options=options))
            for name, options in kinds.items()
        }
        for frame in stack.enter_context(open_source(arguments.video)):
            results = {name: segmenter(frame) for name, segmenter in segmenters.items()}
            for name, result in results.items():
                changed[name].append(float(np.mean(result.labels != results["plain"].labels)))
                times_ms[name].append(result.latency_ms["total"])
    for name in kinds:
        p99_ms = float(np.percentile(times_ms[name][1:] or times_ms[name], 99))
        print(f"{name}: {np.mean(changed[name]):.2%} of the pixels changed, p99 {p99_ms:.1f} ms")


if __name__ == "__main__":
    main()
