"""How right are carried labels? CamVid's val clip has a label map for every frame: most are hidden, and carried again.

    python benchmarks/label_propagation.py CAMVID --json benchmarks/results/label_propagation.json

For each distance from a labelled frame and each least confidence: the share of the pixels with a class that got a
label, and accuracy and mIoU of those labels. Once from one side, as where one frame of a clip is labelled, and once
from both sides. ``--teacher BUNDLE`` does the same with the labels of a network, by the largest uncertainty, with the
agreement of the frames around and without. ``--streets`` does it on rendered streets, whose cameras and scenes differ
and whose truth is exact: figures are means over the streets, and scenes from which a camera moves on are among them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from harness import provenance, write_json

from edge_vseg import Segmenter
from edge_vseg.analysis.datasets import LabelledFrame, labelled_rate, open_dataset
from edge_vseg.analysis.label_propagation import (
    PropagatedFrame,
    PropagationOptions,
    PseudoLabelOptions,
    propagate_labels,
    pseudo_label,
)
from edge_vseg.analysis.label_propagation.pseudo_labels import Agreement
from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.bundle.labels import named_labels
from edge_vseg.export.reference.scenes import CAMERAS, StreetOptions, render_street
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Result

CONFIDENCES = (0.0, 0.5, 0.8)
DISTANCES = range(1, 6)
FIRST_SEED, STREET_FRAMES = 61, 31
"""Streets of other seeds than those that the constants of propagation were chosen on."""
FIGURES = "labelled", "accuracy", "miou", "frame_s"
UNCERTAINTIES = (1.0, 0.5, 0.3, 0.1)


def main() -> None:
    """Carry, print a row for each distance, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, nargs="?", help="folder with val/ and valannot/")
    parser.add_argument("--streets", type=int, default=0, help="so many rendered streets for each camera")
    parser.add_argument("--every", type=int, default=10, help="each so many-th frame keeps its labels")
    parser.add_argument("--teacher", type=Path, help="bundle of a network with CamVid's classes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.every < 2:
        parser.error("--every: at least 2")
    if arguments.camvid is None and not arguments.streets:
        parser.error("give CamVid's folder, or --streets")
    if arguments.camvid is None and arguments.teacher is not None:
        parser.error("--teacher: give CamVid's folder")
    cv2.setNumThreads(1)
    tree: dict[str, Any] = provenance(1) | {"every": arguments.every}
    if arguments.streets:
        tree["streets"] = measure_streets(arguments.streets, arguments.every)
        print_rows(tree["streets"])
    if arguments.camvid is None:
        write_json(arguments.json, tree)
        return
    frames = open_dataset(f"camvid:{arguments.camvid}:val")
    print(f"{len(frames)} frames, {labelled_rate(frames):.0f} a second, each {arguments.every}-th labelled")
    rows = measure(list(frames), len(frames.labels), arguments.every)
    print_rows(rows)
    tree["rows"] = rows
    if arguments.teacher is not None:
        with Segmenter.open(arguments.teacher, threads=1) as teacher:
            print(f"labels of {arguments.teacher.name}, {teacher.variant.id}")
            tree["pseudo_labels"] = measure_teacher(list(frames), len(frames.labels), teacher)
        print_pseudo_labels(tree["pseudo_labels"])
    write_json(arguments.json, tree)


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
                    | _figures([(frames[each.index].labels, each.carried.kept(least).labels) for each in at], classes)
                    for least in CONFIDENCES
                ]
    return rows


def measure_streets(count: int, every: int) -> list[dict[str, Any]]:
    """The rows of :func:`measure`, as means over so many rendered streets for each camera."""
    classes, each_street = len(named_labels("camvid")), []
    for camera in CAMERAS:
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            street = render_street(StreetOptions(camera=camera, seed=seed), STREET_FRAMES)
            frames = [LabelledFrame(image=frame.image, labels=frame.labels) for frame in street]
            each_street.append(measure(frames, classes, every))
            print(f"{camera} {seed}:{_cell(each_street[-1][0])} at distance 1 from one side", flush=True)
    return [
        rows[0] | {figure: float(np.mean([row[figure] for row in rows])) for figure in FIGURES}
        for rows in zip(*each_street, strict=True)
    ]


def measure_teacher(
    frames: Sequence[LabelledFrame], classes: int, teacher: Callable[[Image], Result]
) -> list[dict[str, Any]]:
    """A row for each largest uncertainty, with and without the agreement of the frames around."""
    rows = []
    for most in UNCERTAINTIES:
        for agreement in get_args(Agreement):
            options = PseudoLabelOptions(max_uncertainty=most, agreement=agreement)
            found = list(pseudo_label(teacher, [frame.image for frame in frames], options))
            made = [(frames[each.index].labels, each.carried.labels) for each in found]
            rows.append({"max_uncertainty": most, "agreement": agreement} | _figures(made, classes))
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


def _figures(made: Sequence[tuple[LabelMap, LabelMap]], classes: int) -> dict[str, float]:
    """Of pairs of truth and labels."""
    confusion, known, found = Confusion(classes), 0, 0
    for truth, labels in made:
        counted = (truth != IGNORE_ID) & (labels != IGNORE_ID)
        known += int((truth != IGNORE_ID).sum())
        found += int(counted.sum())
        # Where there is no label is no mistake: it is left out.
        confusion.add(np.where(counted, truth, np.uint8(IGNORE_ID)), np.where(counted, labels, np.uint8(0)))
    return {
        "frames": len(made),
        "labelled": found / max(1, known),
        "accuracy": confusion.pixel_accuracy,
        "miou": confusion.mean_iou,
    }


def print_pseudo_labels(rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table: a row for each largest uncertainty."""
    print("| most uncertainty |" + "".join(f" labelled, accuracy, mIoU, {each} |" for each in get_args(Agreement)))
    print("|---|" + "---|" * len(get_args(Agreement)))
    for most in UNCERTAINTIES:
        print(f"| {most:g} |" + "".join(_cell(row) for row in rows if row["max_uncertainty"] == most))


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table: a row for each distance, three columns for each least confidence."""
    print("| from | distance |" + "".join(f" labelled, accuracy, mIoU at {least:g} |" for least in CONFIDENCES))
    print("|---|---|" + "---|" * len(CONFIDENCES))
    for first in range(0, len(rows), len(CONFIDENCES)):
        group = rows[first : first + len(CONFIDENCES)]
        cells = "".join(map(_cell, group))
        print(f"| {group[0]['sides']} | {group[0]['distance']} |{cells}")
    print(f"{1e3 * rows[0]['frame_s']:.0f} ms a frame from one side, {1e3 * rows[-1]['frame_s']:.0f} ms from both")


def _cell(row: dict[str, Any]) -> str:
    return f" {100 * row['labelled']:.1f}, {100 * row['accuracy']:.1f}, {100 * row['miou']:.1f} |"


if __name__ == "__main__":
    main()
