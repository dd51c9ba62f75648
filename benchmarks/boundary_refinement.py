"""Do borders get better if the present image guides them? The guided filter on fresh and on carried maps, CamVid val.

    python benchmarks/boundary_refinement.py --every 2

The scores of the network (stride 4) are enlarged bilinearly, as a segmenter does, or by the fast guided filter: scores
become a linear function of the grey image in each window, which is fitted at stride 4 and applied at full size. Carried
maps are the scores of some frames ago, warped along composed flow, and guided by the present image. "--borders guided"
is what a segmenter does: guided where classes meet, and of the classes that meet there. ``--crf`` adds the dense CRF of
`dense_crf.py` as a yardstick, which takes a second or more for each map.

He et al., Guided Image Filtering, ECCV 2010; He and Sun, Fast Guided Filter, 2015.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import torch
from context_age import compose, flows, in_cells
from dense_crf import DenseCrf
from harness import write_json
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.metrics import BoundaryF, Confusion
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.older_view import warp
from edge_vseg.export.reference.zoo import TwoBranch, pretrained
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE
from edge_vseg.imaging.guided_filter import grey_of
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.types import Size

Scores = NDArray[np.float32]
Enlarge = Callable[[Scores, NDArray[np.uint8]], NDArray[np.uint8]]
SETTINGS = ((1, 1e-4), (2, 1e-4), (4, 1e-3))
"""Radius of the window in cells, and how much variance counts as none, of grey levels from 0 to 1."""


def bilinear(scores: Scores, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a segmenter does."""
    height, width = image.shape[:2]
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in scores]
    return np.asarray(np.argmax(planes, axis=0), np.uint8)


def guided(radius: int, slack: float) -> Enlarge:
    """The fast guided filter with a grey guide."""

    def enlarge(scores: Scores, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        (height, width), cells = image.shape[:2], scores.shape[:0:-1]
        guide = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
        small = cv2.resize(guide, cells, interpolation=cv2.INTER_AREA)

        def mean(plane: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(cv2.blur(plane, (2 * radius + 1, 2 * radius + 1)), np.float32)

        average = mean(small)
        variance = mean(small * small) - average * average
        planes = []
        for plane in scores:
            level = mean(plane)
            slope = (mean(small * plane) - average * level) / (variance + slack)
            offset = mean(level - slope * average)
            slope = mean(slope)
            wide_slope, wide_offset = (
                cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in (slope, offset)
            )
            planes.append(wide_slope * guide + wide_offset)
        return np.asarray(np.argmax(planes, axis=0), np.uint8)

    return enlarge


def crf(settings: DenseCrf) -> Enlarge:
    """The class that a dense CRF finds the most probable."""
    return lambda scores, image: np.asarray(np.argmax(settings(scores, image), axis=0), np.uint8)


def _segmenter(scores: Scores, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return _mapper(image.shape[:2])(scores, grey_of(image))


@functools.cache
def _mapper(size_hw: Size) -> LabelMapper:
    return LabelMapper(size_hw)


def measure(
    network: TwoBranch,
    frames: Sequence[LabelledFrame],
    ages: Sequence[int],
    every: int,
    more: Mapping[str, Enlarge] = MappingProxyType({}),
) -> list[dict[str, float | str]]:
    """Rows of mIoU and boundary F in percent, and milliseconds, for each age and way; ``more`` are further ways."""
    ways: dict[str, Enlarge] = {
        "bilinear": bilinear,
        "--borders interpolated": lambda scores, image: _mapper(image.shape[:2])(scores),
        "--borders guided": _segmenter,
    }
    ways |= {f"guided, radius {radius}, {slack:g}": guided(radius, slack) for radius, slack in SETTINGS}
    ways |= more
    tallies = {(age, way): (Confusion(11), BoundaryF(11), BoundaryF(11, 0.003)) for age in ages for way in ways}
    spent = dict.fromkeys(ways, 0.0)
    steps = flows(frames)
    with torch.inference_mode():
        scores = [_scores(network, frame) for frame in frames]
    for number in range(max(ages), len(frames), every):
        frame = frames[number]
        for age in ages:
            carried = scores[number - age]
            if age:
                motion = np.zeros_like(steps[1])
                for back in range(age):
                    motion = compose(motion, steps[number - back])
                carried = warp(carried, in_cells(motion, carried.shape[-2:], SCORES_STRIDE))
            planes = np.ascontiguousarray(carried[0].numpy())
            for way, enlarge in ways.items():
                begin_s = time.perf_counter()
                labels = enlarge(planes, frame.image)
                spent[way] += time.perf_counter() - begin_s
                for tally in tallies[age, way]:
                    tally.add(frame.labels, labels)
    count = len(ages) * len(range(max(ages), len(frames), every))
    return [
        {
            "age": age,
            "way": way,
            "miou": 100 * confusion.mean_iou,
            "boundary_f": 100 * wide.mean_f1,
            "boundary_f_narrow": 100 * narrow.mean_f1,
            "ms": 1000 * spent[way] / count,
        }
        for (age, way), (confusion, wide, narrow) in tallies.items()
    ]


def _scores(network: TwoBranch, frame: LabelledFrame) -> torch.Tensor:
    shared = network.stem(to_input([frame.image]))
    return network.detail(shared, network.context(shared))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--network", default="middle", help="a network with shipped weights")
    parser.add_argument("--ages", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--every", type=int, default=1, help="take every n-th frame")
    parser.add_argument("--crf", action="store_true", help="add a dense CRF: a second or more for each map")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    more = {"dense CRF": crf(DenseCrf())} if arguments.crf else {}
    frames = list(open_dataset(f"camvid:{arguments.data}:val"))
    rows = measure(pretrained(arguments.network), frames, arguments.ages, arguments.every, more)
    print(f"{'age':>3}  {'way':28}{'mIoU':>7}{'border F':>10}{'narrow':>8}{'ms':>7}")
    for row in rows:
        print(
            f"{row['age']:>3}  {row['way']:28}{row['miou']:7.2f}{row['boundary_f']:10.2f}"
            f"{row['boundary_f_narrow']:8.2f}{row['ms']:7.1f}"
        )
    write_json(arguments.json, {"network": arguments.network, "rows": rows})


if __name__ == "__main__":
    main()
