"""Ill-treat the whole SDK for hours, and look at what is left of the process.

    python benchmarks/soak.py street.evseg drive.mp4 --hours 8 --out soak/

In each round: a policy, the next one each time, runs on frames that are lost, late and of other sizes, and must then
give the maps of a fresh segmenter on the same frames (on replayed costs, so that both decide alike); a live camera over
RTSP is cut, frozen, set back or restarted with another size under a pipeline, whose accounting must be exact and whose
answers young; a video and a broken copy of it are read; every variant is opened. Resident memory, descriptors, threads
and shared memory are counted at the end of each round. Exits with 1 if anything was wrong or grows. ``--leak memory``
(or descriptor, thread) plants a leak, which it must find.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from soak_process import Holdings, as_rows, leaks, memory_slope
from soak_rounds import Findings, LiveCamera, ReplayedEngines, file_round

from edge_vseg import open_source
from edge_vseg.calibration.device.device_calibration import DeviceCalibrationOptions, calibrate_device

MAX_MIB_PER_HOUR = 2.0
PLANTED: list[Any] = []


def plant(kind: str) -> None:
    """Lose something, as a mistake would."""
    match kind:
        case "memory":
            PLANTED.append(np.ones(2**18))  # 2 MiB
        case "descriptor":
            PLANTED.append(os.open("/dev/null", os.O_RDONLY))
        case "thread":
            thread = threading.Thread(target=threading.Event().wait, daemon=True)
            thread.start()


def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the rounds; returns the report."""
    chance, findings = random.Random(arguments.seed), Findings()
    with open_source(arguments.video, max_frames=arguments.frames) as source:
        frames = list(source)
    images = [frame.image for frame in frames]
    profile = calibrate_device(
        arguments.bundle, frames, video=arguments.video.name, options=DeviceCalibrationOptions(threads=1)
    )
    engines = ReplayedEngines(arguments.bundle, profile, images, chance)
    camera = LiveCamera(arguments.bundle, images, chance, arguments.live_s)
    samples: list[Holdings] = []
    started_s = time.monotonic()
    with TemporaryDirectory() as scratch:
        names = list(engines.policies)
        while len(samples) < arguments.rounds and time.monotonic() - started_s < arguments.hours * 3600:
            name = names[len(samples) % len(names)]
            engines.round(name, findings)
            camera.round(engines.policies[name], findings)
            file_round(arguments.bundle, arguments.video, Path(scratch), chance, findings)
            plant(arguments.leak)
            samples.append(Holdings.now(started_s))
            tell(samples[-1], name, findings)
            write(arguments.out, report(samples, findings, names))
    engines.close()
    return report(samples, findings, names)


def report(samples: list[Holdings], findings: Findings, policies: list[str]) -> dict[str, Any]:
    """Everything that was seen."""
    slope = memory_slope(samples)
    return {
        "rounds": len(samples),
        "hours": samples[-1].seconds / 3600,
        "policies": policies,
        "counts": dict(sorted(findings.counts.items())),
        "wrong": findings.wrong[:100],
        "memory_mib": {"first": samples[0].mib, "last": samples[-1].mib},
        "mib_per_hour": {"slope": slope.per_hour, "low": slope.low, "high": slope.high},
        "grows": leaks(samples, MAX_MIB_PER_HOUR),
        "samples": as_rows(samples),
    }


def tell(sample: Holdings, name: str, findings: Findings) -> None:
    """A line for each round."""
    print(
        f"{sample.seconds / 60:7.1f} min  {sample.mib:.1f} MiB  {sample.descriptors} descriptors"
        f"  {sample.threads} threads  {sample.shared} shared  {name}"
        f"  wrong: {len(findings.wrong)} {findings.wrong[-1:] or ''}",
        flush=True,
    )


def write(folder: Path | None, tree: dict[str, Any]) -> None:
    """Keep what is known so far: a soak that is stopped loses nothing."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / "soak.json.part"
        staged.write_text(json.dumps(tree, indent=1), encoding="utf-8")
        staged.replace(folder / "soak.json")


def main() -> int:
    """Run, and print the report without its samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=10**9, help="end after so many, if the hours are not over")
    parser.add_argument("--frames", type=int, default=48, help="frames of the video that are kept in memory")
    parser.add_argument("--live-s", type=float, default=6.0, help="seconds of the live camera in each round")
    parser.add_argument("--leak", choices=("none", "memory", "descriptor", "thread"), default="none")
    parser.add_argument("--out", type=Path, help="folder for soak.json, written after every round")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # a camera that is cut says so each time
    tree = soak(arguments)
    print(json.dumps({key: value for key, value in tree.items() if key != "samples"}, indent=2))
    return 1 if tree["wrong"] or tree["grows"] else 0


if __name__ == "__main__":
    sys.exit(main())
