"""Is the deadline kept live? Videos in real time on this machine, with other load beside it if asked for.

Frames arrive as a camera's would, at a given rate: those that arrive while one is answered are dropped, all but the
newest. A network cannot be scaled live; the rate makes it as many frame periods long as wanted: a network of 10 ms
takes 1.4 periods at 140 frames a second. Frames are decoded beforehand, and played there and back until there are
enough, so that no cut is in them and no decoder beside them. Afterwards the network runs on every frame that was
answered: agreement with it, and its mIoU lost where the video is labelled; newest-frame-and-drop is modelled with the
network's median on the same arrivals.

    python benchmarks/live.py --run road=road.evseg,dashcam.mp4,30,15 --run camvid=street.evseg,camvid:CAMVID,140,10
    python benchmarks/live.py --load 1 --run road=road.evseg,dashcam.mp4,30,15
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from harness import provenance, write_json

from edge_vseg import Frame, OpenOptions, Result, Segmenter, open_source
from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.evaluation.newest_frame import NewestFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.types import IGNORE_ID, LabelMap
from edge_vseg.video import Source
from edge_vseg.video.live import LatestSource, Pacer

WARM_UP_FRAMES = 6
BUSY = "while True: pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A bundle on a video: ``rate`` in frames per second, the deadline in milliseconds."""

    name: str
    bundle: Path
    video: str
    rate: float
    deadline_ms: float

    @classmethod
    def parse(cls, text: str) -> Run:
        """Read ``NAME=BUNDLE,VIDEO,RATE,B``."""
        name, _, rest = text.partition("=")
        try:
            bundle, video, rate, deadline_ms = rest.split(",")
            return cls(name=name, bundle=Path(bundle), video=video, rate=float(rate), deadline_ms=float(deadline_ms))
        except ValueError as exc:
            raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=BUNDLE,VIDEO,RATE,DEADLINE_MS") from exc


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """What happened live: results in order, elapsed and processor seconds."""

    results: list[Result]
    seconds: float
    process_s: float


class ThereAndBack(Source):
    """Frames in memory, forwards and backwards in turns, at a rate.

    Args:
        name: Of the video.
        clip: The frames.
        rate: Frames per second.
        count: Frames to give.
    """

    def __init__(self, name: str, clip: list[LabelledFrame], rate: float, count: int) -> None:
        super().__init__(name=name)
        self._clip, self._rate, self._count = clip, rate, count
        self._seq = 0

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._rate

    def _read(self) -> Frame | None:
        seq, self._seq = self._seq, self._seq + 1
        if seq >= self._count:
            return None
        image = self._clip[index_of(seq, len(self._clip))].image
        pts_ns = round(seq * 1e9 / self._rate)
        return Frame(image=image, seq=seq, capture_ns=time.monotonic_ns(), pts_ns=pts_ns, source_name=self.name)

    def _expected_frames(self) -> int | None:
        return self._count

    def _release(self) -> None:
        pass


def main() -> None:
    """Run all, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Run.parse, action="append", required=True, metavar="NAME=BUNDLE,VIDEO,RATE,B")
    parser.add_argument("--frames", type=int, default=600, help="frames that arrive in each run")
    parser.add_argument("--clip", type=int, default=240, help="frames of a video to keep in memory")
    parser.add_argument("--load", type=int, default=0, help="busy processes of normal priority beside it")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{'':16}{'net ms':>7}{'periods':>8}{'p50':>7}{'p99':>7}{'max':>7}{'misses':>8}{'dropped':>8}", end="")
    print(f"{'agree':>8}{'newest':>8}{'lost':>6}{'age':>6}{'CPU':>6}")
    rows = []
    for run in arguments.run:
        rows.append(measure(run, arguments))
        print(line(rows[-1]), flush=True)
    write_json(arguments.json, {"rows": rows, "load": arguments.load, "provenance": provenance(arguments.threads)})


def measure(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """Answer the frames live, then judge the answers."""
    clip = read_clip(run.video, arguments.clip)
    policy = Deadline(milliseconds=run.deadline_ms)
    with (
        Segmenter.open(run.bundle, runtime=arguments.runtime, threads=arguments.threads, policy=policy) as segmenter,
        busy(arguments.load),
    ):
        variant = segmenter.variant.id
        answered = answer(segmenter, ThereAndBack(run.video, clip, run.rate, arguments.frames), clip)
    with Segmenter.open(run.bundle, threads=arguments.threads, options=OpenOptions(variant=variant)) as every_frame:
        baseline = [every_frame(frame.image) for frame in clip]
    network_ms = statistics.median(result.latency_ms["total"] for result in baseline)
    maps = [result.labels for result in baseline]
    figures = live_figures(answered, run) | quality(answered.results, clip, maps)
    newest = newest_frame_agreement(run, maps, network_ms, arguments.frames)
    about = {"name": run.name, "bundle": str(run.bundle), "video": run.video, "variant": variant, "rate": run.rate}
    about |= {"deadline_ms": run.deadline_ms, "network_ms": network_ms, "periods": network_ms * run.rate / 1e3}
    return about | figures | {"newest_frame_agreement": newest}


def read_clip(video: str, count: int) -> list[LabelledFrame]:
    """Frames of a video without labels, or of ``camvid:DIR`` with them."""
    if video.startswith("camvid:"):
        return open_dataset(video, "val")[:count]
    with open_source(video, max_frames=count) as source:
        return [
            LabelledFrame(image=frame.image, labels=np.full(frame.image.shape[:2], IGNORE_ID, np.uint8))
            for frame in source
        ]


def answer(segmenter: Segmenter, source: Source, clip: list[LabelledFrame]) -> Answered:
    """Answer the frames of a source in real time; start-up is done before it starts."""
    for seq in range(-WARM_UP_FRAMES, 0):
        segmenter(Frame(image=clip[0].image, seq=seq, capture_ns=time.monotonic_ns()))
    with LatestSource(source, pacer=Pacer()) as frames:
        begin_s, process_begin_s = time.monotonic(), time.process_time()
        results = [segmenter(frame) for frame in frames]
        seconds, process_s = time.monotonic() - begin_s, time.process_time() - process_begin_s
    return Answered(results=results, seconds=seconds, process_s=process_s)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def live_figures(answered: Answered, run: Run) -> dict[str, Any]:
    """Latencies from the call, misses, dropped frames, ages and the process's share of the cores."""
    results = answered.results
    calls_ms = [result.latency_ms["total"] for result in results]
    timing = LatencySummary.of(calls_ms)
    return {
        "frames": len(results),
        "p50_ms": timing.p50,
        "p99_ms": timing.p99,
        "max_ms": timing.max,
        "misses": float(np.mean([ms > run.deadline_ms for ms in calls_ms])),
        "from_capture_p99_ms": LatencySummary.of([result.age_ms for result in results]).p99,
        "dropped": sum(after.seq - before.seq - 1 for before, after in pairwise(results)),
        "age_frames": float(np.mean([result.age_frames for result in results])),
        "cpu_share": answered.process_s / (answered.seconds * usable_cores()),
    }


def quality(results: list[Result], clip: list[LabelledFrame], maps: list[LabelMap]) -> dict[str, Any]:
    """Share of pixels equal to every-frame inference, and with labels the mIoU lost against it."""
    classes = 1 + max(int(each.max()) for each in (*maps, *(result.labels for result in results)))
    classes = max(classes, 1 + max(_highest(frame.labels) for frame in clip))
    fidelity, own, every = Confusion(classes), Confusion(classes), Confusion(classes)
    for result in results:
        index = index_of(result.seq, len(clip))
        fidelity.add(maps[index], result.labels)
        own.add(clip[index].labels, result.labels)
        every.add(clip[index].labels, maps[index])
    lost = every.mean_iou - own.mean_iou if own.matrix.any() else None
    return {"agreement": fidelity.pixel_accuracy, "lost": lost}


def newest_frame_agreement(run: Run, maps: list[LabelMap], network_ms: float, frames: int) -> float:
    """Newest-frame-and-drop on the same arrivals: agreement of what is shown a deadline after each."""
    timeline = NewestFrame(1e3 / run.rate, lag_ms=run.deadline_ms)
    shares = []
    for seq in range(frames):
        shown = timeline.add(network_ms)
        equal = maps[index_of(seq, len(maps))] == maps[index_of(shown, len(maps))]
        shares.append(float(equal.mean()))
    return float(np.mean(shares))


def index_of(seq: int, count: int) -> int:
    """The frame of a clip that is played there and back: 0 1 2 1 0 1 for a clip of three."""
    place = seq % max(1, 2 * count - 2)
    return place if place < count else 2 * count - 2 - place


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    lost = "" if row["lost"] is None else f"{100 * row['lost']:.2f}"
    return (
        f"{row['name']:16}{row['network_ms']:>7.1f}{row['periods']:>8.2f}{row['p50_ms']:>7.1f}{row['p99_ms']:>7.1f}"
        f"{row['max_ms']:>7.1f}{row['misses']:>8.2%}{row['dropped']:>8}{row['agreement']:>8.2%}"
        f"{row['newest_frame_agreement']:>8.2%}{lost:>6}{row['age_frames']:>6.1f}{row['cpu_share']:>6.0%}"
    )


def _highest(labels: LabelMap) -> int:
    known = labels[labels != IGNORE_ID]
    return int(known.max()) if known.size else 0


if __name__ == "__main__":
    main()
