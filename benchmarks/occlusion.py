"""How well is found what was not visible before? Signs of occlusion against rendered truth, for steps and for tracks.

    python benchmarks/occlusion.py --json benchmarks/results/occlusion.json
    python benchmarks/occlusion.py --fit    # prints the constants of edge_vseg/motion/uncovered.py

A pixel is newly visible if it was hidden or outside in any frame since the first of its track: the mask is carried
along the exact motion. Signs are judged by cell of the motion statistics (1/8 of the frame), each pixel with its cell's
value: average precision, and precision where half is found, as means over the streets, of which some have many times
what others have. *at best* is what the true shares of the cells would get. Streets that anything is fitted to have
seeds of their own. *wrong*: the area under the ROC curve for the pixels whose true labels, carried along the estimated
motion, are no longer right. The same for the engine's drift, by the default model and others, also on CamVid.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from harness import in_turns, provenance, summary, write_json
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.export.reference.scenes import CAMERAS, SceneFrame, StreetOptions, render_street
from edge_vseg.motion import motion_estimator, photometric_error, resize_field, sampling_map
from edge_vseg.motion.composition import compose_fields
from edge_vseg.motion.grey_pyramid import GreyPyramid
from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.motion.occlusion import return_gap
from edge_vseg.motion.uncovered import (
    LEAST_DIFFERENCE,
    LEAST_JUMP,
    LEAST_RIVALS,
    around,
    motion_jump,
    rivals,
    uncovered,
)
from edge_vseg.motion.warp import inside
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.types import Image, LabelMap, Mask, MotionField, Size

SIZE: Size = (360, 480)
FRAMES = 20
FIT_SEEDS, JUDGE_SEEDS = (101, 102, 103), (11, 12, 13)
ESTIMATORS = ("dis", "dis-fine", "dis-half")
AGES = (1, 4, 8)
STARTS = (0, 4, 8, 11)
"""First frames of the tracks of a street."""
LEAST_SHARE = 1e-3
"""Streets with fewer newly visible pixels after eight frames are left out."""
MODELS = {
    "default": (DriftModel(), 0.0),
    "speed and spread": (DriftModel(speed=0.2, spread=0.2, unexplained=0.3, changed=0.0), 0.0),
    "uncovered": (DriftModel(unexplained=0.2, changed=0.0), 1.0),
}
"""Models of the drift: the default, that of old, and one with a weight for what was uncovered, of which the most along
the track counts."""
CLASSES = 11
Plane = NDArray[np.float32]
Labelled = tuple[Image, LabelMap]


def both_ways(
    name: str, before: SceneFrame, now: SceneFrame
) -> tuple[GreyPyramid, GreyPyramid, MotionField, MotionField]:
    """Pyramids of two frames, and the motion to the frame before and back, at the estimator's size."""
    estimator, (old, new) = motion_estimator(name), (GreyPyramid(SIZE), GreyPyramid(SIZE))
    old.fill(before.image)
    new.fill(now.image)
    small = (SIZE[0] // estimator.shrink, SIZE[1] // estimator.shrink)
    return old, new, estimator(new.at(small), old.at(small)), estimator(old.at(small), new.at(small))


class Step:
    """One frame of a street: its motion to the frame before, by an estimator, and the signs of it.

    Args:
        name: Motion estimator.
        before: The frame before.
        now: The frame.
    """

    def __init__(self, name: str, before: SceneFrame, now: SceneFrame) -> None:
        old, new, self.motion, back = both_ways(name, before, now)
        self.cells: Size = new.eighth.shape
        self.coarse = resize_field(self.motion, self.cells)
        self.quarters = old.quarter, new.quarter
        difference = photometric_error(new.quarter, old.quarter, self.motion, self.cells)
        self.inputs = around(difference), around(motion_jump(self.coarse)), rivals(self.coarse)
        self.signs: dict[str, Plane] = {
            "difference, eighth": photometric_error(new.eighth, old.eighth, self.coarse, self.cells),
            "difference, quarter": difference,
            "there and back": _shrunk(return_gap(self.motion, back), self.cells),
            "jump of the motion": self.inputs[1],
            "rivals": self.inputs[2],
            "compression": -_divergence(self.coarse),
            "outside": (~inside(self.coarse)).astype(np.float32),
            "uncovered": uncovered(self.coarse, difference),
        }


def main() -> None:
    """Judge every sign, print a table for each estimator, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit the regression and print its constants")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of each street, 20 or more but for a trial")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.fit:
        print("BIAS, DIFFERENCE, JUMP, RIVALS =", ", ".join(f"{each:.2f}" for each in fit(arguments.frames)))
        return
    tables: dict[str, Any] = {}
    streets = list(rendered_streets(JUDGE_SEEDS, arguments.frames))
    for name in ESTIMATORS:
        tables[name] = judge(name, streets)
        print(f"{name:22}" + "".join(f"{f'AP {age}':>8}{f'P50 {age}':>8}{f'wrong {age}':>9}" for age in AGES))
        for sign, row in tables[name].items():
            print(f"{sign:22}" + "".join(_row_text(row.get(age)) for age in AGES))
    clips = {"rendered": [[(frame.image, frame.labels) for frame in frames] for frames in streets]}
    if arguments.data.is_dir():
        clips["CamVid"] = [[(frame.image, frame.labels) for frame in open_dataset(f"camvid:{arguments.data}:val")]]
    drifts = {
        f"{data}, {name}, {model}": drift_areas(name, *MODELS[model], videos)
        for data, videos in clips.items()
        for name in ESTIMATORS
        for model in MODELS
    }
    for label, areas in drifts.items():
        print(f"drift on {label:40}" + "".join(f"{areas[age]:>8.3f}" for age in AGES))
    before, now = streets[0][:2]
    step = Step("dis", before, now)
    difference = step.signs["difference, quarter"]
    costs = {
        "difference": lambda: photometric_error(*step.quarters[::-1], step.motion, step.cells),
        "uncovered": lambda: uncovered(step.coarse, difference),
        "the flow itself": lambda: motion_estimator("dis")(*step.quarters[::-1]),
    }
    cost_ms = {name: summary(samples) for name, samples in in_turns(costs, 200).items()}
    print("; ".join(f"{name} {each['median_ms']:.2f} ms" for name, each in cost_ms.items()))
    write_json(arguments.json, provenance(1) | {"tables": tables, "drift_auroc": drifts, "cost_ms": cost_ms})


def judge(name: str, streets: Sequence[Sequence[SceneFrame]]) -> dict[str, dict[int, dict[str, float]]]:
    """Figures of each sign at each age, as means over the streets."""
    judged = [rows for frames in streets if (rows := _judge_street(name, frames))]
    return {
        sign: {
            age: {figure: float(np.mean([rows[sign][age][figure] for rows in judged])) for figure in figures}
            for age, figures in ages.items()
        }
        for sign, ages in judged[0].items()
    }


def _judge_street(name: str, frames: Sequence[SceneFrame]) -> dict[str, dict[int, dict[str, float]]]:
    """Average precision, precision at half recall and AUROC of wrong labels, by sign and age; empty for too few."""
    signs: dict[int, dict[str, list[Plane]]] = {age: {} for age in AGES}
    wrongs: dict[int, list[Plane]] = {age: [] for age in AGES}
    steps = [Step(name, before, now) for before, now in pairwise(frames)]
    for first in STARTS:
        for age, found, hidden, wrong in _track(frames[first:], steps[first:]):
            wrongs[age].append(wrong)
            for sign, plane in (found | {"at best": hidden}).items():
                signs[age].setdefault(sign, []).append(plane)
    if np.mean(signs[max(AGES)]["at best"]) < LEAST_SHARE:
        return {}
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for age in AGES:
        truth, wrong = np.stack(signs[age]["at best"]), np.stack(wrongs[age])
        for sign, planes in signs[age].items():
            score = np.stack(planes)
            rows.setdefault(sign, {})[age] = _precision(score, truth) | {"wrong_auroc": _roc_area(score, wrong)}
    return rows


def _track(frames: Sequence[SceneFrame], steps: Sequence[Step]) -> Iterator[tuple[int, dict[str, Plane], Plane, Plane]]:
    """Signs, share of newly visible pixels and of wrong labels of each age: the most or the sum along the track."""
    warper, hidden = LabelWarper(SIZE), np.zeros(SIZE, np.bool_)
    found: dict[str, Plane] = {}
    motion: MotionField | None = None
    for age, (step, frame) in enumerate(zip(steps, frames[1:], strict=False), 1):
        motion = step.motion if motion is None else compose_fields(step.motion, motion)
        hidden = frame.occluded | carried_mask(hidden, frame.motion)
        for sign, plane in step.signs.items():
            most, total = f"{sign}, most" if age > 1 else sign, f"{sign}, sum"
            older = found.pop(sign, None) if age == 2 else found.get(most)
            found[most] = plane if older is None else np.maximum(_warped(older, step.coarse), plane)
            found[total] = plane if total not in found else _warped(found[total], step.coarse) + plane
        if age not in AGES:
            continue
        composed = resize_field(motion, step.cells)
        direct = photometric_error(step.quarters[1], steps[0].quarters[0], motion, step.cells)
        now = {"first picture": direct, "first picture, 3x3": around(direct), "rivals of the track": rivals(composed)}
        signs = {name.removesuffix(", most"): plane for name, plane in found.items() if age > 1 or "sum" not in name}
        wrong = warper(frames[0].labels, motion) != frame.labels
        yield age, signs | now, _shrunk(hidden, step.cells), _shrunk(wrong, step.cells)


def drift_areas(
    name: str, model: DriftModel, uncovered_weight: float, videos: Sequence[Sequence[Labelled]]
) -> dict[int, float]:
    """The area under the ROC curve of the drift, for pixels whose carried labels are wrong, by age."""
    areas: dict[int, list[float]] = {age: [] for age in AGES}
    for frames in videos:
        observer, warper = MotionObserver(SIZE, (SIZE[0] // 4, SIZE[1] // 4)), LabelWarper(SIZE)
        cells, seen = observer.statistics_hw, [observer(image, name) for image, _ in frames]
        quarters = [_quarter(image) for image, _ in frames]
        drifts: dict[int, list[Plane]] = {age: [] for age in AGES}
        wrongs: dict[int, list[Plane]] = {age: [] for age in AGES}
        for first in range(0, len(frames) - max(AGES), 4):
            drift, motion = np.zeros(cells, np.float32), None
            for age in range(1, 1 + max(AGES)):
                now = first + age
                step = seen[now]
                assert step is not None
                motion = step.motion if motion is None else compose_fields(step.motion, motion)
                drift = _warped(drift, step.coarse)
                if uncovered_weight:
                    difference = photometric_error(quarters[now], quarters[now - 1], step.motion, cells)
                    drift = np.maximum(drift, uncovered_weight * uncovered(step.coarse, difference))
                drift = np.asarray(np.minimum(drift + model.step(step.statistics), 1), np.float32)
                if age in AGES:
                    truth, carried = frames[now][1], warper(frames[first][1], motion)
                    wrong = (carried != truth) & (truth < CLASSES) & (carried < CLASSES)
                    drifts[age].append(drift)
                    wrongs[age].append(_shrunk(wrong, cells))
        for age in AGES:
            share = np.stack(wrongs[age])
            if share.mean() >= LEAST_SHARE:
                areas[age].append(_roc_area(np.stack(drifts[age]), share))
    return {age: float(np.mean(each)) for age, each in areas.items()}


def fit(frames: int) -> NDArray[np.float64]:
    """Bias and weights of the logistic regression, by Newton's method, on the streets to fit to."""
    inputs, shares = [], []
    for street in rendered_streets(FIT_SEEDS, frames):
        for name in ESTIMATORS:
            for before, now in pairwise(street):
                step = Step(name, before, now)
                difference, jump, claims = step.inputs
                logs = (
                    np.log(difference + LEAST_DIFFERENCE),
                    np.log(jump + LEAST_JUMP),
                    np.log(np.maximum(claims, LEAST_RIVALS)),
                )
                inputs.append(np.stack((np.ones(step.cells), *logs)).reshape(4, -1))
                shares.append(_shrunk(now.occluded, step.cells).ravel())
    signs, target = np.concatenate(inputs, axis=1), np.concatenate(shares)
    weights, ridge = np.zeros(4), 1e-3 * np.diag((0.0, 1.0, 1.0, 1.0))
    for _ in range(30):
        chance = 1 / (1 + np.exp(-weights @ signs))
        gradient = signs @ (chance - target) / target.size + ridge @ weights
        curvature = (signs * (chance * (1 - chance))) @ signs.T / target.size + ridge
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def _quarter(image: Image) -> NDArray[np.uint8]:
    pyramid = GreyPyramid(SIZE)
    pyramid.fill(image)
    return pyramid.quarter


def rendered_streets(seeds: Sequence[int], frames: int) -> Iterator[list[SceneFrame]]:
    """A street for each camera and seed."""
    for camera in CAMERAS:
        for seed in seeds:
            yield list(render_street(StreetOptions(size_hw=SIZE, seed=seed, camera=camera), frames))


def _precision(score: Plane, share: Plane) -> dict[str, float]:
    """Average precision, and precision where half is found; cells of the same score are taken together."""
    order = np.argsort(-score, axis=None, kind="stable")
    ranked, hits = score.ravel()[order], np.cumsum(share.ravel()[order], dtype=np.float64)
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    half = int(np.searchsorted(recall, 0.5))
    return {
        "average_precision": float(np.diff(recall, prepend=0) @ precision),
        "precision_at_half": float(precision[min(half, len(precision) - 1)]),
    }


def _roc_area(score: Plane, share: Plane) -> float:
    """Chance that a wrong pixel has the higher score than a right one; equal ones count half."""
    values, places = np.unique(score, return_inverse=True)
    wrong = np.bincount(places.ravel(), share.ravel(), len(values))
    right = np.bincount(places.ravel(), 1 - share.ravel(), len(values))
    return float(wrong @ (np.cumsum(right) - right / 2) / (wrong.sum() * right.sum()))


def carried_mask(hidden: Mask, motion: MotionField) -> Mask:
    """A mask of the frame before, nearest neighbour along the motion."""
    x, y = sampling_map(motion)
    carried = cv2.remap(hidden.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(carried, np.bool_)


def _warped(plane: Plane, motion: MotionField) -> Plane:
    x, y = sampling_map(motion)
    return np.asarray(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _shrunk(plane: Plane | Mask, size_hw: Size) -> Plane:
    shrunk = cv2.resize(plane.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.float32)


def _divergence(motion: MotionField) -> Plane:
    across, down = (cv2.Sobel(motion[..., 1 - x], cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0))
    return np.asarray(across + down, np.float32)


def _row_text(figures: Mapping[str, float] | None) -> str:
    if figures is None:
        return f"{'':25}"
    return "{average_precision:>8.3f}{precision_at_half:>8.3f}{wrong_auroc:>9.3f}".format(**figures)


if __name__ == "__main__":
    main()
