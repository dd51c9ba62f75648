"""Does a small network on the present frame mend an old map of a large one? CamVid val, by the age of the map.

    python benchmarks/companion.py

The large network's probabilities of some frames ago are warped along the engine's composed motion, and fused with the
small network's of the present frame: averaged, or their logarithms averaged ("multiplied"). The weight of each way is
fitted for each age on one half of the clip and judged on the other, in both directions; the mean of both is printed.
"engine" is the weight that the engine has, which was chosen on the same clip.

Jain et al., Accel: A Corrective Fusion Network for Efficient Semantic Segmentation on Video, CVPR 2019. With
``--small middle --small-scale 0.5`` the same network sees the frames in between at half size, as in Hu et al., AR-Seg:
Efficient Semantic Segmentation by Altering Resolutions for Compressed Videos, CVPR 2023, which fuse features and train
for it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from harness import write_json
from numpy.typing import NDArray
from torch.nn import functional

from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.zoo import pretrained
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.motion.grey_pyramid import shrunk_size
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.companion import companion_weight
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.state import MotionStep, Origin, Track
from edge_vseg.types import Probabilities, softmax

Plane = NDArray[np.float32]
Weight = Callable[[Plane], float | Plane]
"""Weight of the small network, of the predicted drift by cell."""
CONSTANT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
PER_DRIFT = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0)
MAX_OF_DRIFT = 0.6
FRAME_MS = 1e3 / 15
"""Between frames of CamVid's val clip."""
LEAST = 1e-4
"""Added to a probability before its logarithm is taken."""


def averaged(large: Probabilities, small: Probabilities, weight: float | Plane) -> Probabilities:
    """Average probabilities."""
    return np.asarray(large + weight * (small - large), np.float32)


def multiplied(large: Probabilities, small: Probabilities, weight: float | Plane) -> Probabilities:
    """Average the logarithms of probabilities: the networks' scores, but for a constant."""
    mixed = (1 - weight) * np.log(large + LEAST) + weight * np.log(small + LEAST)
    return softmax(np.asarray(mixed, np.float32))


def constant(weight: float) -> Weight:
    """One weight for all cells."""
    return lambda drift: weight


def by_drift(factor: float) -> Weight:
    """A weight in proportion to a cell's drift."""
    return lambda drift: np.minimum(np.float32(MAX_OF_DRIFT), np.float32(factor) * drift)


FUSIONS = {"averaged": averaged, "multiplied": multiplied}
WEIGHTS: dict[str, dict[float, Weight]] = {
    "by age": {weight: constant(weight) for weight in CONSTANT},
    "by drift": {factor: by_drift(factor) for factor in PER_DRIFT},
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--large", default="middle", help="a network with shipped weights")
    parser.add_argument("--small", default="small", help="the one on every frame")
    parser.add_argument("--small-scale", type=float, default=1.0, help="size of the frames that it sees")
    parser.add_argument("--ages", type=int, nargs="+", default=[1, 2, 4, 6, 8, 10])
    parser.add_argument("--every", type=int, default=1, help="judge every n-th frame")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    frames = list(open_dataset(f"camvid:{arguments.data}:val"))
    old, fresh = probabilities(arguments.large, frames), probabilities(arguments.small, frames, arguments.small_scale)
    rows = measure(old, fresh, frames, arguments.ages, arguments.every)
    names = list(rows[0])
    print("  ".join(f"{name:>20}" for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:>20.2f}" for name in names))
    tree = {"large": arguments.large, "small": arguments.small, "small_scale": arguments.small_scale, "rows": rows}
    write_json(arguments.json, tree)


def measure(
    old: Sequence[Probabilities],
    fresh: Sequence[Probabilities],
    frames: Sequence[LabelledFrame],
    ages: Sequence[int],
    every: int,
) -> list[dict[str, float]]:
    """A row of mIoU in percent for each age, of the large network's probabilities and the small one's by frame."""
    middle = (max(ages) + len(frames)) // 2
    rows = []
    for age in ages:
        tallies: dict[tuple[str, float, int], Confusion] = {}
        for number, track in tracks(frames, age):
            if number < max(ages) or (number - max(ages)) % every:
                continue
            carried, now = old[number - age], fresh[number]
            carried = carried if track.motion is None else warp_scores(carried, track.motion)
            drift = cv2.resize(track.drift, (carried.shape[2], carried.shape[1]))
            labels = LabelMapper(frames[number].labels.shape)
            for (name, setting), fused in ways(carried, now, np.asarray(drift), age):
                tally = tallies.setdefault((name, setting, int(number >= middle)), Confusion(fused.shape[0]))
                tally.add(frames[number].labels, labels(fused))
        names = dict.fromkeys(name for name, _, _ in tallies)
        rows.append({"age": float(age)} | {name: _judged(tallies, name) for name in names})
        print(rows[-1], flush=True)
    return rows


def probabilities(name: str, frames: Sequence[LabelledFrame], scale: float = 1.0) -> list[Probabilities]:
    """A network's, of every frame, which it sees at a smaller scale: always at stride 4 of the frame."""
    network, found = pretrained(name), []
    with torch.inference_mode():
        for frame in frames:
            image = frame.image
            if scale != 1:
                image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
            shared = network.stem(to_input([image]))
            scores = network.detail(shared, network.context(shared))
            if scale != 1:
                size = [-(-side // SCORES_STRIDE) for side in frame.labels.shape]
                scores = functional.interpolate(scores, size, mode="bilinear", align_corners=False)
            found.append(softmax(scores[0].numpy().copy()))
    return found


def tracks(frames: Sequence[LabelledFrame], age: int) -> Iterator[tuple[int, Track]]:
    """The number of each frame, and the motion and drift from there to the one so many frames before."""
    size_hw = frames[0].labels.shape
    observer, model = MotionObserver(size_hw, shrunk_size(size_hw, 2)), DriftModel()
    under_way: list[Track] = []
    for number, frame in enumerate(frames):
        seen = observer(frame.image, "dis-half")
        if seen is not None:
            step = MotionStep.of(seen.motion, seen.coarse, model.step(seen.statistics))
            for track in under_way:
                track.extend(step, Origin(frame=number, capture_ns=0))
        under_way.append(Track.begin(Origin(frame=number, capture_ns=0), observer.statistics_hw))
        if len(under_way) > age:
            yield number, under_way.pop(0)


def ways(
    carried: Probabilities, now: Probabilities, drift: Plane, age: int
) -> Iterator[tuple[tuple[str, float], Probabilities]]:
    """Fused probabilities by way and setting."""
    yield ("carried", 0), carried
    yield ("fresh small", 0), now
    yield (
        ("engine", 0),
        averaged(carried, now, companion_weight(np.full(carried.shape[1:], age * FRAME_MS, np.float32))),
    )
    for name, fuse in FUSIONS.items():
        for kind, settings in WEIGHTS.items():
            for setting, weight in settings.items():
                yield (f"{name} {kind}", setting), fuse(carried, now, weight(drift))


def _judged(tallies: dict[tuple[str, float, int], Confusion], name: str) -> float:
    """Mean mIoU in percent of both halves, each with the setting that is best on the other."""
    settings = dict.fromkeys(setting for each, setting, _ in tallies if each == name)
    scores = []
    for half in (0, 1):
        best = max(settings, key=lambda setting: tallies[name, setting, 1 - half].mean_iou)
        scores.append(100 * tallies[name, best, half].mean_iou)
    return sum(scores) / 2


if __name__ == "__main__":
    main()
