"""Tune a bundle on a video from Python, and write the thriftiest setting instead of the best.

    python examples/tune_bundle.py street.evseg drive.mp4 thrifty.evseg --rate 30 --deadline-ms 15

Each trial is measured on this machine, so nothing else should run. `edge-vseg tune` does the same and writes a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_vseg import Segmenter
from edge_vseg.tuning import TuneOptions, Wish, open_networks, reference_clip, tune, write_tuned_bundle


def main() -> None:
    """Run the study, print what it recommends, write a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--deadline-ms", type=float)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--frames", type=int, default=150)
    arguments = parser.parse_args()
    networks = open_networks([arguments.bundle])
    (network,) = networks.values()
    study = arguments.output.with_suffix(".study")
    clip = reference_clip(arguments.video, arguments.frames, network, study / "reference", threads=0)
    wish = Wish(rate=arguments.rate, deadline_ms=arguments.deadline_ms)
    tuned = tune(networks, clip, study, TuneOptions(wish=wish, trials=arguments.trials))
    for each in tuned.recommended:
        figures = each.trial.figures
        print(f"{each.name}: mIoU {figures.quality:.1f} %, p99 {figures.p99_ms:.1f} ms, {each.trial.setting}")
    if not tuned.recommended:
        raise SystemExit(f"nothing keeps {wish}; relax it")
    thrifty = tuned.recommended[-1].trial.setting
    write_tuned_bundle(
        thrifty, networks, arguments.output, machine=tuned.machine, profile=None, origin={"by": "tune_bundle.py"}
    )
    with Segmenter.open(arguments.output) as segmenter:  # needs no options
        print(f"{arguments.output}: {segmenter.policy}")


if __name__ == "__main__":
    main()
