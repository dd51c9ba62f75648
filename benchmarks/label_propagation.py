"""How right are carried labels? CamVid's val clip has a label map for every frame: most are hidden, and carried again.

    python benchmarks/label_propagation.py CAMVID --json benchmarks/results/label_propagation.json

For each distance from a labelled frame and each least confidence: the share of the pixels with a class that got a
label, and accuracy and mIoU of those labels. Once from one side, as where one frame of a clip is labelled, and once
from both sides.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from harness import provenance, write_json

from edge_vseg.analysis.datasets import LabelledFrame, labelled_rate, open_dataset
from edge_vseg.analysis.label_propagation import PropagatedFrame, PropagationOptions, propagate_labels
from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.types import IGNORE_ID

CONFIDENCES = (0.0, 0.5, 0.8)
DISTANCES = range(1, 6)


def main() -> None:
    """Carry, print a row for each distance, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="folder with val/ and valannot/")
    parser.add_argument("--every", type=int, default=10, help="each so many-th frame keeps its labels")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.every < 2:
        parser.error("--every: at least 2")
    cv2.setNumThreads(1)
    frames = open_dataset(f"camvid:{arguments.camvid}:val")
    print(f"{len(frames)} frames, {labelled_rate(frames):.0f} a second, each {arguments.every}-th labelled")
    rows = measure(list(frames), len(frames.labels), arguments.every)
    print_rows(rows)
    write_json(arguments.json, provenance(1) | {"every": arguments.every, "rows": rows})


def measure(frames: Sequence[LabelledFrame], classes: int, every: int) -> list[dict[str, Any]]:
    """A row for each number of sides, distance and least confidence."""
    rows = []
    for sides, carry in (("one side", one_sided), ("both sides", both_sided)):
        began = time.perf_counter()
        carried = carry(frames, every)
        seconds = (time.perf_counter() - began) / max(1, len(carried))
        for distance in DISTANCES:
            at = [each for each in carried if each.distance == distance]
            if at:
                rows += [
                    {"sides": sides, "distance": distance, "min_confidence": least, "frame_s": seconds}
                    | _figures(frames, at, classes, least)
                    for least in CONFIDENCES
                ]
    return rows


def one_sided(frames: Sequence[LabelledFrame], every: int) -> list[PropagatedFrame]:
    """From each labelled frame to those after it, as if it were the only one."""
    found: list[PropagatedFrame] = []
    for first in range(0, len(frames), every):
        part = frames[first : first + every]
        labelled = [index == 0 for index in range(len(part))]
        options = PropagationOptions(reach=every - 1, min_confidence=0.0)
        for each in propagate_labels(part, labelled, options):
            if each.distance:
                found.append(PropagatedFrame(index=first + each.index, distance=each.distance, carried=each.carried))
    return found


def both_sided(frames: Sequence[LabelledFrame], every: int) -> list[PropagatedFrame]:
    """Between two labelled frames, from both."""
    labelled = [index % every == 0 for index in range(len(frames))]
    last = max(index for index, each in enumerate(labelled) if each)
    options = PropagationOptions(reach=every - 1, min_confidence=0.0)
    found = propagate_labels(frames[: last + 1], labelled[: last + 1], options)
    return [each for each in found if each.distance]


def _figures(
    frames: Sequence[LabelledFrame], carried: Sequence[PropagatedFrame], classes: int, least: float
) -> dict[str, float]:
    confusion, known, found = Confusion(classes), 0, 0
    for each in carried:
        truth, labels = frames[each.index].labels, each.carried.kept(least).labels
        counted = (truth != IGNORE_ID) & (labels != IGNORE_ID)
        known += int((truth != IGNORE_ID).sum())
        found += int(counted.sum())
        # Where nothing was carried is no mistake: it is left out.
        confusion.add(np.where(counted, truth, np.uint8(IGNORE_ID)), np.where(counted, labels, np.uint8(0)))
    return {
        "frames": len(carried),
        "labelled": found / max(1, known),
        "accuracy": confusion.pixel_accuracy,
        "miou": confusion.mean_iou,
    }


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table: a row for each distance, three columns for each least confidence."""
    print("| from | distance |" + "".join(f" labelled, accuracy, mIoU at {least:g} |" for least in CONFIDENCES))
    print("|---|---|" + "---|" * len(CONFIDENCES))
    for first in range(0, len(rows), len(CONFIDENCES)):
        group = rows[first : first + len(CONFIDENCES)]
        cells = "".join(
            f" {100 * row['labelled']:.1f}, {100 * row['accuracy']:.1f}, {100 * row['miou']:.1f} |" for row in group
        )
        print(f"| {group[0]['sides']} | {group[0]['distance']} |{cells}")
    print(f"{1e3 * rows[0]['frame_s']:.0f} ms a frame from one side, {1e3 * rows[-1]['frame_s']:.0f} ms from both")


if __name__ == "__main__":
    main()
