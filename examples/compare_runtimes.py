"""Run the same frames through every variant that opens here, and compare answers and speed.

    python examples/compare_runtimes.py street.evseg drive.mp4

Agreement is the share of pixels with the class that the first float variant gives. The variants take
turns on every frame, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_vseg import OpenOptions, Segmenter, open_bundle, open_source
from edge_vseg.errors import BackendError


def main() -> None:
    """Open what opens, run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, image folder, camera or URL")
    parser.add_argument("--max-frames", type=int, default=100, help="frames to compare on")
    parser.add_argument("--threads", type=int, default=2, help="threads of each variant")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        segmenters: dict[str, Segmenter] = {}
        for variant in sorted(open_bundle(arguments.bundle).manifest.variants, key=lambda v: v.precision != "float"):
            try:
                opened = Segmenter.open(
                    arguments.bundle, threads=arguments.threads, options=OpenOptions(variant=variant.id)
                )
            except BackendError as exc:
                print(f"{variant.id}: not opened: {exc}")
                continue
            segmenters[variant.id] = stack.enter_context(opened)
        if not segmenters:
            raise SystemExit("no variant opens here; run edge-vseg doctor")
        equal: dict[str, list[float]] = {name: [] for name in segmenters}
        times: dict[str, list[float]] = {name: [] for name in segmenters}
        for frame in stack.enter_context(open_source(arguments.video, max_frames=arguments.max_frames)):
            results = {name: segmenter(frame) for name, segmenter in segmenters.items()}
            reference = next(iter(results.values())).labels
            for name, result in results.items():
                equal[name].append(float(np.mean(result.labels == reference)))
                times[name].append(result.latency_ms["total"])
    print(f"{'variant':28}{'agreement':>12}{'worst frame':>14}{'median ms':>12}")
    for name in segmenters:
        mean, worst = statistics.fmean(equal[name]), min(equal[name])
        print(f"{name:28}{mean:>12.2%}{worst:>14.2%}{statistics.median(times[name]):>12.2f}")


if __name__ == "__main__":
    main()
