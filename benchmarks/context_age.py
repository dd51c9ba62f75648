"""mIoU against the age of the context on CamVid's val clip: context warped along optical flow, and held.

    python benchmarks/context_age.py --weights runs/middle/weights.safetensors --data CAMVID_DIR

Stem and detail stage run on every frame. The context comes from an older frame (at 15 frames per second), warped along
DIS flow at half size, composed over the frames in between. All ages are evaluated on the same frames with the float
network; the clip is not used for training.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import pairwise
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
from edge_vseg.export.reference.training.older_view import warp
from edge_vseg.export.reference.zoo import TwoBranch, pretrained, read_network
from edge_vseg.export.reference.zoo.spec import STEM_STRIDE

AGES = tuple(range(21))
Field = NDArray[np.float32]


def main() -> None:
    """Measure, print a row for each age, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="middle", help="a network with shipped weights")
    parser.add_argument("--weights", type=Path, help="use these weights instead")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    network = read_network(arguments.weights) if arguments.weights else pretrained(arguments.network)
    rows = measure(network, list(open_dataset(f"camvid:{arguments.data}:val")))
    print(f"{'age':>4}{'warped':>9}{'held':>9}   mIoU in percent, {network.spec.name}")
    for row in rows:
        print(f"{row['age']:>4}{row['warped']:>9.2f}{row['held']:>9.2f}")
    write_json(
        arguments.json, {"network": network.spec.name, "weights": str(arguments.weights or "shipped"), "rows": rows}
    )


def measure(network: TwoBranch, frames: Sequence[LabelledFrame]) -> list[dict[str, float]]:
    """MIoU in percent for every age, on the frames from the largest age on."""
    with torch.inference_mode():
        shared = [network.stem(to_input([frame.image])) for frame in frames]
        contexts = [network.context(value) for value in shared]
        steps = flows(frames)
        still = np.zeros_like(steps[1])
        counts = {(age, how): Confusion(network.spec.classes) for age in AGES for how in ("warped", "held")}
        for now in range(max(AGES), len(frames)):
            motion = still
            for age in range(max(AGES) + 1):
                if age:
                    motion = compose(motion, steps[now - age + 1])
                if age not in AGES:
                    continue
                for how, field in (("warped", motion), ("held", still)):
                    context = warp(contexts[now - age], in_cells(field, contexts[now].shape[-2:], STEM_STRIDE))
                    scores = network.detail(shared[now], context)
                    scores = functional.interpolate(scores, frames[now].labels.shape, mode="bilinear")
                    counts[age, how].add(frames[now].labels, scores[0].argmax(0).to(torch.uint8).numpy())
    return [{"age": age} | {how: 100 * counts[age, how].mean_iou for how in ("warped", "held")} for age in AGES]


def flows(frames: Sequence[LabelledFrame]) -> list[Field]:
    """The flow from each frame to the frame before, at half size, in pixels of that size."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.resize(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), None, fx=0.5, fy=0.5) for frame in frames]
    first = np.zeros((*greys[0].shape, 2), np.float32)
    return [first] + [np.asarray(estimator.calc(now, before, None), np.float32) for before, now in pairwise(greys)]


def compose(motion: Field, step: Field) -> Field:
    """Extend ``motion`` by one more frame into the past."""
    height, width = motion.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    further = cv2.remap(step, x + motion[..., 0], y + motion[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return motion + np.asarray(further, np.float32)


def in_cells(motion: Field, size: torch.Size, stride: int) -> torch.Tensor:
    """Flow in pixels of half the size, in cells of a stride: ``(1, h, w, 2)``."""
    height, width = int(size[0]), int(size[1])
    small = cv2.resize(motion, (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small / (stride / 2))[None]


if __name__ == "__main__":
    main()
