"""What each motion estimator costs and how good it is: on rendered streets, whose motion is known, and on CamVid.

    python benchmarks/motion.py --json benchmarks/results/motion.json

Costs are those of one core at 480x360: the estimate, and the whole way of a carried frame (look, compose, warp 11
classes at stride 4, label map). Endpoint errors are in pixels of 480x360, over what is visible in both frames. Labels:
truth of the frame before, carried along the motion, against the truth. Occlusion: precision and recall of the checks
against the rendered mask.
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
from harness import in_turns, provenance, summary, write
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


def main() -> None:
    """Print a table, a row for each estimator."""
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
    costs = in_turns({name: _carried_frame(name, images, labels) for name in ESTIMATORS}, arguments.rounds)
    alone = in_turns({name: _looking(name, images) for name in ESTIMATORS}, arguments.rounds)
    rows = []
    for name in ESTIMATORS:
        row: dict[str, Any] = {"estimator": name}
        row |= {"look": summary(alone[name]), "carried_frame": summary(costs[name])}
        row |= {f"{camera}_px": _endpoint_error(name, frames) for camera, frames in streets.items()}
        if camvid:
            row["camvid_agreement"] = _agreement(name, [frame.image for frame in camvid], [f.labels for f in camvid])
        rows.append(row)
    print(f"{'':12}{'look ms':>9}{'frame ms':>10}{'driving px':>12}{'walking px':>12}{'CamVid labels':>15}")
    for row in rows:
        labels = f"{row['camvid_agreement']:.2%}" if camvid else ""
        print(
            f"{row['estimator']:12}{row['look']['median_ms']:>9.2f}{row['carried_frame']['median_ms']:>10.2f}"
            f"{row['driving_px']:>12.2f}{row['walking_px']:>12.2f}{labels:>15}"
        )
    checks = _occlusion(streets["walking"])
    for check in checks:
        print(f"occlusion by {check['check']}: precision {check['precision']:.2f}, recall {check['recall']:.2f}")
    write(arguments.json, provenance(1) | {"rows": rows, "occlusion": checks})


def _looking(name: str, images: Sequence[Image]) -> Callable[[], object]:
    looker, turn = MotionObserver(SIZE, CELLS), _endless(images)
    return lambda: looker(next(turn), name)


def _carried_frame(name: str, images: Sequence[Image], labels: LabelMap) -> Callable[[], object]:
    looker, turn, mapper = MotionObserver(SIZE, CELLS), _endless(images), LabelMapper(SIZE)
    scores = np.stack(
        [
            cv2.resize((labels == number).astype(np.float32), (CELLS[1], CELLS[0]), interpolation=cv2.INTER_AREA)
            for number in range(CLASSES)
        ]
    )
    track = Track.begin(CELLS, looker.statistics_hw)

    def run() -> None:
        look = looker(next(turn), name)
        if look is not None:
            track.extend(MotionStep.of(look.motion, look.coarse, look.statistics[0]))
            mapper(warp_scores(scores, track.field))
        if track.frames > 4:
            track.field[:] = 0
            track.frames = 0

    return run


def _endless(images: Sequence[Image]) -> Any:
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


def _occlusion(frames: Sequence[SceneFrame]) -> list[dict[str, Any]]:
    """Both checks, and either, with the finest flow, against the rendered mask."""
    estimator = motion_estimator("dis-fine")
    small = (SIZE[1] // 2, SIZE[0] // 2)
    found: dict[str, list[NDArray[np.bool_]]] = {"forward-backward": [], "photometric": []}
    truth = []
    for before, now in pairwise(frames):
        older, present = (
            np.asarray(cv2.resize(cv2.cvtColor(f.image, cv2.COLOR_BGR2GRAY), small, interpolation=cv2.INTER_AREA))
            for f in (before, now)
        )
        motion, back = estimator(present, older), estimator(older, present)
        found["forward-backward"].append(inconsistent(motion, back))
        found["photometric"].append(unexplained(present, older, motion))
        truth.append(cv2.resize(now.occluded.astype(np.uint8), small, interpolation=cv2.INTER_AREA) > 0)
    found["either"] = [a | b for a, b in zip(found["forward-backward"], found["photometric"], strict=True)]
    target = np.stack(truth)
    rows = []
    for check, masks in found.items():
        mask = np.stack(masks)
        hit = np.count_nonzero(mask & target)
        rows.append({"check": check, "precision": hit / max(1, mask.sum()), "recall": hit / max(1, target.sum())})
    return rows


if __name__ == "__main__":
    main()
