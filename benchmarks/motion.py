"""Cost and accuracy of each motion estimator on rendered streets, whose motion is known, and on CamVid.

    python benchmarks/motion.py --json benchmarks/results/motion.json

Costs, on one core at 480x360: the motion estimate with its statistics, and a carried frame (that, composed and the
label map warped). Endpoint error: pixels at 480x360, where visible in both frames. Labels: the ground truth of an older
frame, carried along composed motion, against that of the present one: right pixels after one frame, mIoU after some.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from harness import in_turns, provenance, summary, write_json

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.export.reference.scenes import SceneFrame, StreetOptions, render_street
from edge_vseg.motion import ESTIMATORS, motion_estimator, remap_tables, resize_field
from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.types import IGNORE_ID, Image, LabelMap, MotionField, Size

SIZE: Size = (360, 480)
CELLS: Size = (90, 120)
CLASSES = 11
FRAMES = 30
KEYFRAME_PERIOD = 5
AGES = (2, 4, 6)
"""Frames over which labels are carried."""


def main() -> None:
    """Measure, print a row for each estimator, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    streets = {
        camera: list(render_street(StreetOptions(size_hw=SIZE, seed=11, camera=camera), FRAMES))
        for camera in ("driving", "walking")
    }
    camvid = list(open_dataset(f"camvid:{arguments.data}:val")) if arguments.data.is_dir() else []
    images, labels = [frame.image for frame in streets["driving"]], streets["driving"][0].labels
    frame_ms = in_turns({name: _carried_frame(name, images, labels) for name in ESTIMATORS}, arguments.rounds)
    estimate_ms = in_turns({name: _estimate(name, images) for name in ESTIMATORS}, arguments.rounds)
    rows = []
    for name in ESTIMATORS:
        row: dict[str, Any] = {"estimator": name}
        row |= {"estimate": summary(estimate_ms[name]), "carried_frame": summary(frame_ms[name])}
        row |= {f"{camera}_px": _endpoint_error(name, frames) for camera, frames in streets.items()}
        if camvid:
            fields = _fields(name, [frame.image for frame in camvid])
            row["camvid_agreement"] = _agreement(fields, [frame.labels for frame in camvid])
            row["camvid_miou"] = _carried_miou(fields, [frame.labels for frame in camvid])
        rows.append(row)
    ages = "".join(f"{f'mIoU {age}':>9}" for age in AGES)
    print(f"{'':12}{'motion ms':>10}{'frame ms':>10}{'driving px':>12}{'walking px':>12}{'labels':>9}{ages}")
    for row in rows:
        labelled = (row["camvid_agreement"], *row["camvid_miou"].values()) if camvid else ()
        print(
            f"{row['estimator']:12}{row['estimate']['median_ms']:>10.2f}{row['carried_frame']['median_ms']:>10.2f}"
            f"{row['driving_px']:>12.2f}{row['walking_px']:>12.2f}" + "".join(f"{value:>9.2%}" for value in labelled)
        )
    write_json(arguments.json, provenance(1) | {"rows": rows})


def _estimate(name: str, images: Sequence[Image]) -> Callable[[], object]:
    observer, video = MotionObserver(SIZE, CELLS), _back_and_forth(images)
    return lambda: observer(next(video), name)


def _carried_frame(name: str, images: Sequence[Image], labels: LabelMap) -> Callable[[], object]:
    observer, video, warper = MotionObserver(SIZE, CELLS), _back_and_forth(images), LabelWarper(SIZE)
    fields: list[MotionField] = []

    def run() -> None:
        observation = observer(next(video), name)
        if observation is None:
            return
        if len(fields) >= KEYFRAME_PERIOD:
            fields.clear()
        fields.append(_extended(fields[-1], observation.motion) if fields else observation.motion)
        warper(labels, fields[-1])

    return run


def _extended(older: MotionField, motion: MotionField) -> MotionField:
    """The motion to an older frame, by way of the previous one."""
    remapped = cv2.remap(older, *remap_tables(motion), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(motion + remapped, np.float32)


def _back_and_forth(images: Sequence[Image]) -> Any:
    while True:
        yield from images
        yield from images[::-1]


def _fields(name: str, images: Sequence[Image]) -> list[MotionField]:
    estimator = motion_estimator(name)
    small = (SIZE[1] // estimator.shrink, SIZE[0] // estimator.shrink)
    greys = [cv2.resize(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), small, interpolation=cv2.INTER_AREA) for i in images]
    return [estimator(now, before) for before, now in pairwise(greys)]


def _endpoint_error(name: str, frames: Sequence[SceneFrame]) -> float:
    fields = _fields(name, [frame.image for frame in frames])
    errors = [
        np.hypot(*np.moveaxis(resize_field(field, SIZE) - frame.motion, -1, 0))[~frame.occluded].mean()
        for field, frame in zip(fields, frames[1:], strict=True)
    ]
    return float(np.mean(errors))


def _agreement(fields: Sequence[MotionField], labels: Sequence[LabelMap]) -> float:
    same, warper = [], LabelWarper(SIZE)
    for field, before, now in zip(fields, labels, labels[1:], strict=False):
        carried = warper(before, field)
        known = (now < CLASSES) & (carried < CLASSES)
        same.append(np.mean(carried[known] == now[known]))
    return float(np.mean(same))


def _carried_miou(fields: Sequence[MotionField], labels: Sequence[LabelMap]) -> dict[int, float]:
    """Mean IoU of labels carried from every frame over each age, along fields composed at the scores' size."""
    warper, confusions = LabelWarper(SIZE), {age: Confusion(CLASSES) for age in AGES}
    steps = [resize_field(field, CELLS) for field in fields]
    for first in range(len(labels) - max(AGES)):
        composed = steps[first]
        for age in range(1, max(AGES) + 1):
            if age > 1:
                composed = _extended(composed, steps[first + age - 1])
            if age in AGES:
                carried = warper(labels[first], composed)
                truth = np.where(carried == IGNORE_ID, np.uint8(IGNORE_ID), labels[first + age])
                confusions[age].add(truth, np.where(carried == IGNORE_ID, np.uint8(0), carried))
    return {age: confusion.mean_iou for age, confusion in confusions.items()}


if __name__ == "__main__":
    main()
