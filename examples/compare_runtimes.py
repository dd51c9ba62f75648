"""Compare label maps and speed of all variants of a bundle that this machine can run.

    python examples/compare_runtimes.py street.evseg drive.mp4

Agreement is the share of pixels with the same class as in the first float variant. The variants take turns on every
frame, so that other load affects all of them alike.
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
    """Open all variants, run them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, image folder, camera or URL")
    parser.add_argument("--max-frames", type=int, default=100, help="number of frames")
    parser.add_argument("--threads", type=int, default=2, help="threads per variant")
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
        agreement: dict[str, list[float]] = {name: [] for name in segmenters}
        times_ms: dict[str, list[float]] = {name: [] for name in segmenters}
        for frame in stack.enter_context(open_source(arguments.video, max_frames=arguments.max_frames)):
            results = {name: segmenter(frame) for name, segmenter in segmenters.items()}
            reference = next(iter(results.values())).labels
            for name, result in results.items():
                agreement[name].append(float(np.mean(result.labels == reference)))
                times_ms[name].append(result.latency_ms["total"])
    print(f"{'variant':28}{'agreement':>12}{'worst frame':>14}{'median ms':>12}")
    for name in segmenters:
        mean, worst = statistics.fmean(agreement[name]), min(agreement[name])
        print(f"{name:28}{mean:>12.2%}{worst:>14.2%}{statistics.median(times_ms[name]):>12.2f}")


if __name__ == "__main__":
    main()
