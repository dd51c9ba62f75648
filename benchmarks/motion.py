"""Cost and accuracy of each motion estimator on rendered streets, whose motion is known, and on CamVid.

    python benchmarks/motion.py --json benchmarks/results/motion.json

Costs, on one core at 480x360: the motion estimate alone, and a whole propagated frame (estimate, compose, warp 11
classes at stride 4, label map). Endpoint error: pixels at 480x360, where visible in both frames. Labels: labels of the
previous frame, warped along the motion, against the ground truth. Occlusion: precision and recall of the checks against
the rendered mask.
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
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import CamVid
from edge_vseg.export.reference.scenes import SceneFrame, StreetOptions, render_street
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.motion import ESTIMATORS, motion_estimator, resize_field, sampling_map
from edge_vseg.motion.occlusion import inconsistent, unexplained
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.state import MotionStep, Track
from edge_vseg.types import Image, LabelMap, MotionField, Size

SIZE: Size = (360, 480)
CELLS: Size = (90, 120)
CLASSES = 11
FRAMES = 30
KEYFRAME_PERIOD = 5


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
    camvid = list(CamVid(arguments.data, "val"))[:60] if arguments.data.is_dir() else []
    images, labels = [frame.image for frame in streets["driving"]], streets["driving"][0].labels
    frame_ms = in_turns({name: _propagated_frame(name, images, labels) for name in ESTIMATORS}, arguments.rounds)
    estimate_ms = in_turns({name: _estimate(name, images) for name in ESTIMATORS}, arguments.rounds)
    rows = []
    for name in ESTIMATORS:
        row: dict[str, Any] = {"estimator": name}
        row |= {"estimate": summary(estimate_ms[name]), "propagated_frame": summary(frame_ms[name])}
        row |= {f"{camera}_px": _endpoint_error(name, frames) for camera, frames in streets.items()}
        if camvid:
            row["camvid_agreement"] = _agreement(name, [frame.image for frame in camvid], [f.labels for f in camvid])
        rows.append(row)
    print(f"{'':12}{'motion ms':>10}{'frame ms':>10}{'driving px':>12}{'walking px':>12}{'CamVid labels':>15}")
    for row in rows:
        labels = f"{row['camvid_agreement']:.2%}" if camvid else ""
        print(
            f"{row['estimator']:12}{row['estimate']['median_ms']:>10.2f}{row['propagated_frame']['median_ms']:>10.2f}"
            f"{row['driving_px']:>12.2f}{row['walking_px']:>12.2f}{labels:>15}"
        )
    checks = _occlusion_checks(streets["walking"])
    for check in checks:
        print(f"occlusion by {check['check']}: precision {check['precision']:.2f}, recall {check['recall']:.2f}")
    write_json(arguments.json, provenance(1) | {"rows": rows, "occlusion": checks})


def _estimate(name: str, images: Sequence[Image]) -> Callable[[], object]:
    observer, video = MotionObserver(SIZE, CELLS), _back_and_forth(images)
    return lambda: observer(next(video), name)


def _propagated_frame(name: str, images: Sequence[Image], labels: LabelMap) -> Callable[[], object]:
    observer, video, mapper = MotionObserver(SIZE, CELLS), _back_and_forth(images), LabelMapper(SIZE)
    scores = np.stack(
        [
            cv2.resize((labels == number).astype(np.float32), (CELLS[1], CELLS[0]), interpolation=cv2.INTER_AREA)
            for number in range(CLASSES)
        ]
    )
    track = Track.begin(CELLS, observer.statistics_hw)

    def run() -> None:
        observation = observer(next(video), name)
        if observation is not None:
            track.extend(MotionStep.of(observation.motion, observation.coarse, observation.statistics[0]))
            mapper(warp_scores(scores, track.field))
        if track.frames >= KEYFRAME_PERIOD:
            track.field[:] = 0
            track.frames = 0

    return run


def _back_and_forth(images: Sequence[Image]) -> Any:
    while True:
        yield from images
        yield from images[::-1]


def _fields(name: str, images: Sequence[Image]) -> list[MotionField]:
    estimator = motion_estimator(name)
    small = (SIZE[1] // estimator.shrink, SIZE[0] // estimator.shrink)
    greys = [cv2.resize(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), small, interpolation=cv2.INTER_AREA) for i in images]
    return [resize_field(estimator(now, before), SIZE) for before, now in pairwise(greys)]


def _endpoint_error(name: str, frames: Sequence[SceneFrame]) -> float:
    fields = _fields(name, [frame.image for frame in frames])
    errors = [
        np.hypot(*np.moveaxis(field - frame.motion, -1, 0))[~frame.occluded].mean()
        for field, frame in zip(fields, frames[1:], strict=True)
    ]
    return float(np.mean(errors))


def _agreement(name: str, images: Sequence[Image], labels: Sequence[LabelMap]) -> float:
    same = []
    for field, before, now in zip(_fields(name, images), labels, labels[1:], strict=False):
        x, y = sampling_map(field)
        carried = cv2.remap(before, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        known = (now < CLASSES) & (carried < CLASSES)
        same.append(np.mean(carried[known] == now[known]))
    return float(np.mean(same))


def _occlusion_checks(frames: Sequence[SceneFrame]) -> list[dict[str, Any]]:
    """Both checks, and their union, with the finest flow, against the rendered mask."""
    estimator = motion_estimator("dis-fine")
    small = (SIZE[1] // 2, SIZE[0] // 2)
    masks_of: dict[str, list[NDArray[np.bool_]]] = {"forward-backward": [], "photometric": []}
    truth = []
    for before, now in pairwise(frames):
        older, present = (
            np.asarray(cv2.resize(cv2.cvtColor(f.image, cv2.COLOR_BGR2GRAY), small, interpolation=cv2.INTER_AREA))
            for f in (before, now)
        )
        motion, back = estimator(present, older), estimator(older, present)
        masks_of["forward-backward"].append(inconsistent(motion, back))
        masks_of["photometric"].append(unexplained(present, older, motion))
        truth.append(cv2.resize(now.occluded.astype(np.uint8), small, interpolation=cv2.INTER_AREA) > 0)
    masks_of["either"] = [a | b for a, b in zip(masks_of["forward-backward"], masks_of["photometric"], strict=True)]
    target = np.stack(truth)
    rows = []
    for check, masks in masks_of.items():
        mask = np.stack(masks)
        hits = np.count_nonzero(mask & target)
        rows.append({"check": check, "precision": hits / max(1, mask.sum()), "recall": hits / max(1, target.sum())})
    return rows


if __name__ == "__main__":
    main()
