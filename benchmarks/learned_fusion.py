"""Would a learned gate fuse fresh and carried probabilities better than the engine's average? On CamVid val.

    python benchmarks/learned_fusion.py

At every keyframe the network's probabilities are fused with the map that was shown, warped along the motion, as the
engine does; in between the map is warped. The weight of the fresh ones is that of the engine (0.6, more where the
motion explains the image badly), or a gate's: a function of what is known in each cell (how sure both are, whether
they agree, how well the motion explains the cell, how fast and how unevenly it moves). It is fitted on one half of the
clip by the likelihood of the labels, and judged on the other, both ways round.

After Nilsson and Sminchisescu, Semantic Video Segmentation by Gated Recurrent Flow Propagation, CVPR 2018, whose gate
is a convolution on images and scores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from harness import write_json
from numpy.typing import NDArray
from torch import nn

from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.zoo import TwoBranch, pretrained
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.motion.composition import compose_fields
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.fusion import fresh_weights
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.types import IGNORE_ID, MotionField, softmax

Planes = NDArray[np.float32]
Gate = Callable[[Planes, Planes, Planes], Planes]
"""From fresh and carried probabilities ``(C, h, w)`` and motion statistics ``(4, h, w)`` to the weight ``(h, w)``."""
FIT_STEPS = 300
SAMPLES = 200_000


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A frame as the engine sees it.

    Attributes:
        frame: The frame.
        fresh: ``(C, h, w)`` float32 probabilities of the network.
        motion: ``(h, w, 2)`` float32 to the frame before; ``None`` for the first.
        statistics: ``(4, h, w)`` float32: speed, spread, unexplained, changed.
    """

    frame: LabelledFrame
    fresh: Planes
    motion: MotionField | None
    statistics: Planes


def moments(network: TwoBranch, frames: Sequence[LabelledFrame]) -> list[Moment]:
    """Run the network and estimate the motion once."""
    height, width = frames[0].labels.shape
    observer = MotionObserver((height, width), (height // 4, width // 4))
    found = []
    for frame in frames:
        with torch.inference_mode():
            shared = network.stem(to_input([frame.image]))
            scores = network.detail(shared, network.context(shared))[0].numpy()
        observation = observer(frame.image, "dis")
        cells = scores.shape[1:]
        statistics = np.zeros((4, *cells), np.float32)
        if observation is not None:
            for plane, out in zip(observation.statistics, statistics, strict=True):
                cv2.resize(plane, cells[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
        found.append(
            Moment(
                frame=frame,
                fresh=softmax(np.ascontiguousarray(scores)),
                motion=None if observation is None else observation.motion,
                statistics=statistics,
            )
        )
    return found


def play(
    sequence: Sequence[Moment],
    period: int,
    gate: Gate,
    confusion: Confusion,
    saved: list[tuple[Planes, ...]] | None = None,
) -> None:
    """Show every frame, keyframes every ``period`` frames; saves what the gate saw beside the labels."""
    mapper = LabelMapper(sequence[0].frame.labels.shape)
    shown, motion = sequence[0].fresh, None
    for number, moment in enumerate(sequence):
        if number:
            assert moment.motion is not None
            motion = moment.motion if motion is None else compose_fields(moment.motion, motion)
        carried = shown if motion is None else warp_scores(shown, motion)
        if number and number % period == 0:
            weight = gate(moment.fresh, carried, moment.statistics)
            if saved is not None:
                features = _features(moment.fresh, carried, moment.statistics)
                labels = moment.frame.labels[2::4, 2::4].astype(np.float32)
                saved.append((moment.fresh, carried, features, labels))
            carried = carried + weight * (moment.fresh - carried)
            shown, motion = carried, None
        confusion.add(moment.frame.labels, mapper(carried))


def average(fresh: Planes, carried: Planes, statistics: Planes) -> Planes:
    """The engine's weight."""
    return np.asarray(fresh_weights(statistics[2], fresh.shape[1:]), np.float32)


def fresh_only(fresh: Planes, carried: Planes, statistics: Planes) -> Planes:
    """No fusion."""
    return np.ones(fresh.shape[1:], np.float32)


def _features(fresh: Planes, carried: Planes, statistics: Planes) -> Planes:
    """What a gate knows of each cell: ``(9, h, w)``, about -1 to 1."""
    sure, was_sure = fresh.max(axis=0), carried.max(axis=0)
    agree = (fresh * carried).sum(axis=0)
    same = (fresh.argmax(axis=0) == carried.argmax(axis=0)).astype(np.float32)
    blurred = cv2.blur(same, (5, 5))
    scale = np.array([20, 20, 8, 8], np.float32)[:, None, None]
    return np.concatenate(([2 * sure - 1, 2 * was_sure - 1, agree, same, blurred], np.minimum(scale * statistics, 2)))


def fit(saved: Sequence[tuple[Planes, ...]], hidden: int) -> Gate:
    """Fit a gate by the likelihood of the labels under the fused probabilities."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rows: list[list[Planes]] = [[], [], []]
    for fresh, carried, features, labels in saved:
        known = labels != IGNORE_ID
        ids = labels[known].astype(np.intp)
        cells = np.arange(known.sum())
        for row, planes in zip(rows, (fresh, carried), strict=False):
            row.append(planes[:, known][ids, cells])
        rows[2].append(features[:, known].T)
    of_fresh, of_carried, features = (np.concatenate(row) for row in rows)
    chosen = rng.permutation(len(of_fresh))[:SAMPLES]
    one, other, given = (torch.from_numpy(each[chosen]) for each in (of_fresh, of_carried, features))
    layers = [nn.Linear(given.shape[1], 1)]
    if hidden:
        layers = [nn.Linear(given.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 1)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), 0.02, weight_decay=1e-4)
    for _ in range(FIT_STEPS):
        weight = torch.sigmoid(model(given)[:, 0])
        loss = -torch.log((weight * one + (1 - weight) * other).clamp(min=1e-4)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def gate(fresh: Planes, carried: Planes, statistics: Planes) -> Planes:
        planes = _features(fresh, carried, statistics)
        with torch.inference_mode():
            value = torch.sigmoid(model(torch.from_numpy(planes.reshape(len(planes), -1).T.copy())))
        return np.asarray(value.numpy().reshape(planes.shape[1:]), np.float32)

    return gate


def measure(sequence: Sequence[Moment], periods: Sequence[int]) -> list[dict[str, Any]]:
    """MIoU in percent over both halves, and milliseconds of the weight, for each way and period."""
    middle = len(sequence) // 2
    halves = sequence[:middle], sequence[middle:]
    rows = []
    for period in periods:
        gates: dict[str, list[Gate]] = {"fresh alone": [fresh_only] * 2, "the engine's average": [average] * 2}
        for name, hidden in (("gate, linear", 0), ("gate, 16 hidden", 16)):
            gates[name] = []
            for other in (halves[1], halves[0]):
                saved: list[tuple[Planes, ...]] = []
                play(other, period, average, Confusion(len(sequence[0].fresh)), saved)
                gates[name].append(fit(saved, hidden))
        for name, pair in gates.items():
            total = Confusion(len(sequence[0].fresh))
            for half, gate in zip(halves, pair, strict=True):
                play(half, period, gate, total)
            moment = sequence[middle]
            begin_s = time.perf_counter()
            for _ in range(10):
                pair[0](moment.fresh, moment.fresh, moment.statistics)
            ms = 100 * (time.perf_counter() - begin_s)
            rows.append({"period": period, "weight": name, "miou": 100 * total.mean_iou, "ms": ms})
    return rows


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--network", default="middle", help="a network with shipped weights")
    parser.add_argument("--periods", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    sequence = moments(pretrained(arguments.network), list(open_dataset(f"camvid:{arguments.data}:val")))
    rows = measure(sequence, arguments.periods)
    print(f"{'every':>5}  {'weight of fresh ones':24}{'mIoU':>7}{'ms':>7}")
    for row in rows:
        print(f"{row['period']:>5}  {row['weight']:24}{row['miou']:7.2f}{row['ms']:7.2f}")
    write_json(arguments.json, {"network": arguments.network, "rows": rows})


if __name__ == "__main__":
    main()
