"""Does the motion there and back find newly visible places, with a threshold fitted on rendered truth?

    python benchmarks/there_and_back.py --json benchmarks/results/there_and_back.json

A pixel is called newly visible where ``gap > a * (there + back) + b``, of the squared lengths in pixels of the two
motions and of what is left when one follows the other. ``a`` and ``b`` are those with the highest F1 of a step, as a
mean over the streets of `occlusion.py` to fit to, and judged on its streets to judge by; so is the threshold of
`uncovered`, which needs no second flow. For tracks, what was called newly visible in a frame is carried along the
estimated motion, and the truth along the exact one.

Sundaram et al., Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow, ECCV 2010, eq. 5: their
``a`` is 0.01, and their ``b`` 0.5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
from harness import provenance, write_json
from numpy.typing import NDArray
from occlusion import (
    AGES,
    ESTIMATORS,
    FIT_SEEDS,
    FRAMES,
    JUDGE_SEEDS,
    LEAST_SHARE,
    SIZE,
    STARTS,
    both_ways,
    carried_mask,
    rendered_streets,
)

from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.motion import photometric_error, resize_field, sampling_map
from edge_vseg.motion.uncovered import uncovered
from edge_vseg.types import Mask, MotionField

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SLACKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
PUBLISHED = (0.01, 0.5)
CHANCES = tuple(float(each) for each in np.geomspace(0.01, 0.9, 40))
"""Thresholds of `uncovered`."""
Plane = NDArray[np.float32]


class CheckedStep:
    """One frame of a street: its motion to the frame before, and both signs at full size.

    Args:
        name: Motion estimator.
        before: The frame before.
        now: The frame.
    """

    def __init__(self, name: str, before: SceneFrame, now: SceneFrame) -> None:
        old, new, there, back = both_ways(name, before, now)
        back = resize_field(back, SIZE)
        self.motion: MotionField = resize_field(there, SIZE)
        x, y = sampling_map(self.motion)
        returned = np.asarray(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
        self.gap: Plane = np.square(self.motion + returned).sum(axis=-1)
        self.lengths: Plane = np.square(self.motion).sum(axis=-1) + np.square(returned).sum(axis=-1)
        cells = new.eighth.shape
        chance = uncovered(resize_field(there, cells), photometric_error(new.quarter, old.quarter, there, cells))
        self.chance = np.asarray(cv2.resize(chance, SIZE[::-1], interpolation=cv2.INTER_NEAREST), np.float32)

    def failed(self, share: float, slack: float) -> Mask:
        """Where the check there and back fails."""
        return self.gap > np.float32(share) * self.lengths + np.float32(slack)


Sign = Callable[[CheckedStep], Mask]


def main() -> None:
    """Fit, judge, print a table for each estimator, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of each street, 20 or more but for a trial")
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    to_fit, to_judge = (list(rendered_streets(seeds, arguments.frames)) for seeds in (FIT_SEEDS, JUDGE_SEEDS))
    rows = []
    for name in arguments.estimators:
        (share, slack), chance = fit_thresholds(name, to_fit)
        signs: dict[str, Sign] = {
            "there and back, published": lambda step: step.failed(*PUBLISHED),
            f"there and back, {share:g} and {slack:g}": lambda step, at=(share, slack): step.failed(*at),
            f"uncovered, {chance:.2f}": lambda step, at=chance: step.chance > at,
        }
        for row in judge_signs(name, to_judge, signs, f"there and back, {share:g} and {slack:g}"):
            rows.append({"estimator": name} | row)
            print(
                "{estimator:10}{sign:34}{age:>3}{precision:7.1f}{recall:7.1f}{f1:7.1f}".format(**rows[-1]), flush=True
            )
    write_json(arguments.json, provenance(1) | {"rows": rows})


def fit_thresholds(name: str, videos: Sequence[Sequence[SceneFrame]]) -> tuple[tuple[float, float], float]:
    """The share and slack of the check there and back, and the threshold of `uncovered`, with the highest F1."""
    settings = [*product(SHARES, SLACKS), *CHANCES]
    scores = []
    for frames in videos:
        counts = np.zeros((len(settings), 3))
        for before, now in pairwise(frames):
            step = CheckedStep(name, before, now)
            for number, setting in enumerate(settings):
                found = step.failed(*setting) if isinstance(setting, tuple) else step.chance > setting
                counts[number] += _counts(found, now.occluded)
        if counts[0, 2] >= LEAST_SHARE * len(frames) * SIZE[0] * SIZE[1] / max(AGES):
            scores.append([_figures(each)["f1"] for each in counts])
    mean = np.mean(scores, axis=0)
    pairs = len(SHARES) * len(SLACKS)
    best, chance = settings[int(mean[:pairs].argmax())], settings[pairs + int(mean[pairs:].argmax())]
    assert isinstance(best, tuple)
    assert isinstance(chance, float)
    return best, chance


def judge_signs(
    name: str, videos: Sequence[Sequence[SceneFrame]], signs: dict[str, Sign], as_much_as: str
) -> Iterator[dict[str, str | float]]:
    """Precision, recall and F1 in percent by sign and age, and of `uncovered` where it finds as much as a sign does.

    All are means over the streets; those with next to nothing newly visible are left out.
    """
    chances: dict[str, Sign] = {f"chance {at}": lambda step, at=at: step.chance > at for at in CHANCES}
    judged: list[dict[tuple[str, int], dict[str, float]]] = []
    for frames in videos:
        steps = [CheckedStep(name, before, now) for before, now in pairwise(frames)]
        counts: dict[tuple[str, int], NDArray[np.float64]] = {}
        for first in STARTS:
            _count_track(frames[first:], steps[first:], signs | chances, counts)
        tracks = sum(first + max(AGES) < len(frames) for first in STARTS)
        if counts[as_much_as, max(AGES)][2] < LEAST_SHARE * tracks * SIZE[0] * SIZE[1]:
            continue
        rows = {key: _figures(each) for key, each in counts.items()}
        for age in AGES:
            wanted = rows[as_much_as, age]["recall"]
            nearest = min(chances, key=lambda sign: abs(rows[sign, age]["recall"] - wanted))
            rows["uncovered, the same recall", age] = rows[nearest, age]
        judged.append(rows)
    for sign, age in product((*signs, "uncovered, the same recall"), AGES):
        means = {
            figure: float(np.mean([rows[sign, age][figure] for rows in judged])) for figure in judged[0][sign, age]
        }
        yield {"sign": sign, "age": age} | means


def _count_track(
    frames: Sequence[SceneFrame],
    steps: Sequence[CheckedStep],
    signs: dict[str, Sign],
    counts: dict[tuple[str, int], NDArray[np.float64]],
) -> None:
    """Add the pixels found rightly, found, and newly visible since the first frame, by sign and age."""
    hidden, found = np.zeros(SIZE, np.bool_), {sign: np.zeros(SIZE, np.bool_) for sign in signs}
    for age, (step, frame) in enumerate(zip(steps[: max(AGES)], frames[1:], strict=False), 1):
        hidden = frame.occluded | carried_mask(hidden, frame.motion)
        for sign, finds in signs.items():
            found[sign] = finds(step) | carried_mask(found[sign], step.motion)
            if age in AGES:
                key = sign, age
                counts[key] = counts.get(key, np.zeros(3)) + _counts(found[sign], hidden)


def _counts(found: Mask, truth: Mask) -> NDArray[np.float64]:
    pixels = np.count_nonzero(found & truth), np.count_nonzero(found), np.count_nonzero(truth)
    return np.array(pixels, np.float64)


def _figures(counts: NDArray[np.float64]) -> dict[str, float]:
    """Of pixels found rightly, found, and there; in percent."""
    right, found, there = counts
    return {
        "precision": 100 * float(right / max(1, found)),
        "recall": 100 * float(right / max(1, there)),
        "f1": 200 * float(right / max(1, found + there)),
    }


if __name__ == "__main__":
    main()
