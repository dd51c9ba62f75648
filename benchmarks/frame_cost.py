"""What does a frame cost on which nothing of the network runs? A table of its steps, on one core.

The first frame is inferred, all others are propagated: motion, warped label map, bookkeeping. ``parked`` is the first
frame again and again, under new noise of two grey levels. Below, the label map that a keyframe pays once: from the
network's scores, and from as many more classes, which win nowhere, as make 21.

    taskset -c 0 python benchmarks/frame_cost.py street.evseg drive.mp4 --json frame_cost.json
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from harness import in_turns, provenance, write_json

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.types import Frame, Size

SIZES_HW: tuple[Size, ...] = ((360, 480), (360, 640), (720, 1280))
MOTIONS = ("dis-half", "dis-fine", "dis", "dis-coarse", "codec", "still")
PARKED_NOISE, PARKED_IMAGES = 2.0, 8
WARM_UP_FRAMES = 20
MANY_CLASSES = 21


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
            frames = read(arguments.video, motion, size_hw, arguments.frames)
            rows.append(row(size_hw, motion, measure(arguments.bundle, arguments.runtime, motion, frames)))
        frames = still(read(arguments.video, "dis", size_hw, arguments.frames))
        rows.append(row(size_hw, "parked", measure(arguments.bundle, arguments.runtime, "dis", frames)))
    first = next(read(arguments.video, "dis", SIZES_HW[0], 1))
    labels = label_maps(arguments.bundle, arguments.runtime, first)
    write_json(arguments.json, {"rows": rows, "label_maps": labels, "provenance": provenance(1)})


def read(video: str, motion: str, size_hw: Size, count: int) -> Iterator[Frame]:
    """The first frames of a video at a size, each made when it is asked for: in the cache, like a live one."""
    with open_source(video, codec_motion=motion == "codec") as source:
        for frame in islice(source, count):
            yield replace(frame, image=resize_image(frame.image, size_hw))


def still(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The first frame instead of each, under new noise."""
    rng, first = np.random.default_rng(0), next(frames)
    images = [first.image + rng.normal(0, PARKED_NOISE, first.image.shape) for _ in range(PARKED_IMAGES)]
    noisy = [np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in images]
    for number, frame in enumerate(frames):
        yield replace(frame, image=noisy[number % PARKED_IMAGES].copy())


def row(size_hw: Size, motion: str, steps_ms: dict[str, float]) -> dict[str, object]:
    """Print a row, and return it."""
    others = ", ".join(f"{name} {ms:.2f}" for name, ms in steps_ms.items() if name != "total" and ms)
    print(f"{size_hw[1]:>5}x{size_hw[0]:<5}{motion:12}{steps_ms['total']:>7.2f} ms: {others}", flush=True)
    return {"size_hw": size_hw, "motion": motion, "steps_ms": steps_ms}


def label_maps(bundle: Path, runtime: str, frame: Frame) -> list[dict[str, object]]:
    """Median milliseconds from scores to label maps of each size."""
    with Segmenter.open(bundle, runtime=runtime, threads=1, options=OpenOptions(precision="int8")) as segmenter:
        scores = segmenter(frame).logits
    assert scores is not None
    nowhere = np.repeat(scores.min(axis=0, keepdims=True) - 1, max(0, MANY_CLASSES - len(scores)), axis=0)
    rows: list[dict[str, object]] = []
    for size_hw in SIZES_HW:
        for classes in (scores, np.concatenate((scores, nowhere))):
            mapper = LabelMapper(size_hw)
            (samples,) = in_turns({"labels": functools.partial(mapper, classes)}, 60).values()
            rows.append({"size_hw": size_hw, "classes": len(classes), "labels_ms": statistics.median(samples)})
            print(
                f"{size_hw[1]:>5}x{size_hw[0]:<5}{len(classes):>3} classes: labels {statistics.median(samples):.2f} ms"
            )
    return rows


def measure(bundle: Path, runtime: str, motion: str, frames: Iterable[Frame]) -> dict[str, float]:
    """Median milliseconds of each step of propagated frames."""
    policy, options = Fixed(period_frames=10**6, motion=motion), OpenOptions(precision="int8")
    with Segmenter.open(bundle, runtime=runtime, threads=1, policy=policy, options=options) as segmenter:
        latencies = [segmenter(frame).latency_ms for frame in frames][WARM_UP_FRAMES:]
    names = dict.fromkeys(name for latency in latencies for name in latency)
    return {name: statistics.median(latency.get(name, 0.0) for latency in latencies) for name in names}


if __name__ == "__main__":
    main()
