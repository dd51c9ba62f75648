"""Several cameras on one machine: what is gained by giving the network to the camera that gains most?

One, two and four cameras on rendered streets, half of them moving and half of them standing still, live: as a fleet,
as a fleet that takes turns evenly, and with a process for each camera. Judged is what a control loop has at each frame:
the labels of the frame, or the last ones where the frame was dropped, against the truth.

    python benchmarks/fleet.py street.evseg --rate 60 --seconds 8 --deadline-ms 10
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import provenance, write_json
from live import ThereAndBack, index_of

from edge_vseg import Fleet, Frame, Pipeline, Result
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.pipeline import FleetCamera
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.video.live import LatestSource, Pacer

CLASSES = 11
CLIP_FRAMES = 120
WARM_UP_S = 1.0
"""Frames of the start, when nothing was measured yet, are not judged."""
MOTIONS = ("driving", "fixed", "walking", "fixed")
EVENLY_MS = 1e-3
"""A camera that may not wait longer than this is always overdue, so that who has waited longest comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same for all runs."""

    bundle: Path
    rate: float
    seconds: float
    deadline_ms: float
    threads: int
    runtime: str

    @property
    def frames(self) -> int:
        """Frames that arrive from each camera."""
        return round(self.rate * self.seconds)

    @property
    def policy(self) -> Deadline:
        """Of each camera."""
        return Deadline(milliseconds=self.deadline_ms)


class Gated(ThereAndBack):
    """A clip whose first frame waits until all cameras are open."""

    def __init__(self, setting: Setting, clip: list[LabelledFrame], wait: Callable[[], object]) -> None:
        super().__init__("street", clip, setting.rate, setting.frames)
        self._wait: Callable[[], object] | None = wait

    def _read(self) -> Frame | None:
        if self._wait is not None:
            self._wait()
            self._wait = None
        return super()._read()


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cameras", type=int, action="append", help="numbers of cameras; 1, 2 and 4 by default")
    parser.add_argument("--rate", type=float, default=60.0, help="frames a second of each camera")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--deadline-ms", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, in turns")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    setting = Setting(
        bundle=arguments.bundle,
        rate=arguments.rate,
        seconds=arguments.seconds,
        deadline_ms=arguments.deadline_ms,
        threads=arguments.threads,
        runtime=arguments.runtime,
    )
    kinds = {"fleet": by_gain, "evenly": evenly, "processes": in_processes}
    rows = []
    for count in arguments.cameras or (1, 2, 4):
        clips = [clip_of(number) for number in range(count)]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
        for _ in range(arguments.rounds):
            for name, run in kinds.items():
                found[name].append(run(setting, clips))
        for name, runs in found.items():
            rows.append({"cameras": count, "kind": name} | {k: float(np.median([r[k] for r in runs])) for k in runs[0]})
            print(line(rows[-1]), flush=True)
    write_json(arguments.json, {"rows": rows, "provenance": provenance(arguments.threads)})


def clip_of(number: int) -> list[LabelledFrame]:
    """A street of its own for each camera."""
    options = StreetOptions(camera=MOTIONS[number % len(MOTIONS)], seed=number, rate=30.0)
    return [LabelledFrame(image=frame.image, labels=frame.labels) for frame in render_street(options, CLIP_FRAMES)]


def by_gain(setting: Setting, clips: list[list[LabelledFrame]]) -> dict[str, float]:
    """A fleet as it is."""
    return in_fleet(setting, clips, max_wait_ms=2000.0)


def evenly(setting: Setting, clips: list[list[LabelledFrame]]) -> dict[str, float]:
    """A fleet whose cameras take turns."""
    return in_fleet(setting, clips, max_wait_ms=EVENLY_MS)


def in_fleet(setting: Setting, clips: list[list[LabelledFrame]], *, max_wait_ms: float) -> dict[str, float]:
    """All cameras in this process, with one background lane."""
    start = threading.Event()
    cameras = {
        str(number): FleetCamera(source=camera(setting, clip, start.wait), max_wait_ms=max_wait_ms)
        for number, clip in enumerate(clips)
    }
    kept: dict[str, list[Result]] = {name: [] for name in cameras}
    with Fleet.open(
        setting.bundle, cameras, policy=setting.policy, threads=setting.threads, runtime=setting.runtime
    ) as fleet:
        for name, pipeline in fleet.pipelines.items():
            pipeline.subscribe(kept[name].append)
        start.set()
        while any(pipeline.active for pipeline in fleet.pipelines.values()):
            time.sleep(0.05)
    return summary([judge(setting, clip, results) for clip, results in zip(clips, kept.values(), strict=True)])


def in_processes(setting: Setting, clips: list[list[LabelledFrame]]) -> dict[str, float]:
    """A process for each camera, as programs that know nothing of each other."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(clips))
    with context.Pool(len(clips), initializer=_share_barrier, initargs=(barrier,)) as pool:
        return summary(pool.starmap(alone, [(setting, number) for number in range(len(clips))], chunksize=1))


def alone(setting: Setting, number: int) -> dict[str, float]:
    """One camera in a process of its own, which begins when the others do."""
    clip, kept = clip_of(number), list[Result]()
    with Pipeline.open(
        setting.bundle,
        camera(setting, clip, BARRIER[0].wait),
        policy=setting.policy,
        threads=setting.threads,
        runtime=setting.runtime,
    ) as pipeline:
        pipeline.subscribe(kept.append)
        while pipeline.active:
            time.sleep(0.05)
    return judge(setting, clip, kept)


BARRIER: list[Any] = []


def _share_barrier(barrier: Any) -> None:
    BARRIER.append(barrier)


def camera(setting: Setting, clip: list[LabelledFrame], wait: Callable[[], object]) -> LatestSource:
    """A clip as a live camera, which begins when all are open."""
    return LatestSource(Gated(setting, clip, wait), pacer=Pacer())


def judge(setting: Setting, clip: list[LabelledFrame], results: list[Result]) -> dict[str, float]:
    """What a control loop had on each frame, against the truth."""
    confusion = Confusion(CLASSES)
    last: Result | None = None
    by_seq = {result.seq: result for result in results}
    for seq in range(setting.frames):
        last = by_seq.get(seq, last)
        if last is not None and seq >= WARM_UP_S * setting.rate:
            confusion.add(clip[index_of(seq, len(clip))].labels, last.labels)
    judged = [result for result in results if result.seq >= WARM_UP_S * setting.rate]
    return {
        "miou": float(confusion.mean_iou),
        "answered": len(judged) / (setting.frames - WARM_UP_S * setting.rate),
        "missed": float(np.mean([result.deadline_missed for result in judged])),
        "age_ms": float(np.mean([result.map_age_ms for result in judged])),
    }


def summary(cameras: list[dict[str, float]]) -> dict[str, float]:
    """Means over cameras, and the worst one."""
    means = {key: float(np.mean([each[key] for each in cameras])) for key in cameras[0]}
    return means | {"worst_miou": min(each["miou"] for each in cameras)}


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    return (
        f"{row['cameras']} cameras, {row['kind']:10} mIoU {row['miou']:.2%}, worst {row['worst_miou']:.2%},"
        f" answered {row['answered']:.1%}, missed {row['missed']:.1%}, map age {row['age_ms']:.0f} ms"
    )


if __name__ == "__main__":
    main()
