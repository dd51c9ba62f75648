"""The demo's still picture: one moment of both live runs, beside the camera frame and the truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.demo.live_comparison import DEADLINE, DROPPED, LiveRuns
from edge_vseg.export.reference.demo.live_run import LiveAnswer
from edge_vseg.export.reference.demo.live_score import map_age_ms
from edge_vseg.files import write_whole
from edge_vseg.imaging.overlay import colorize
from edge_vseg.types import IGNORE_ID, Image, LabelMap

WIDTH_PX = 1200
DPI = 100
MIN_CLASS_SHARE = 0.005
"""A class below this share of the pixels is hardly visible: it does not count and is not in the legend."""
LABEL_OPACITY = 0.68
PANEL, STEP = 0.2455, 0.2515
"""Width of a panel, and distance to the next one, as shares of the picture's width."""
LEGEND_COLUMNS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """A part of the picture.

    Attributes:
        title: What it shows.
        detail: A few words more.
        image: ``(H, W, 3)`` uint8 BGR.
    """

    title: str
    detail: str
    image: Image


def choose_moment(runs: LiveRuns) -> int:
    """Number of the frame with the most visible classes, among those where the deadline gains at least its mean.

    The gain is in pixels that are right.
    """
    scored = runs.clip.scored
    wrong = {name: [wrong_share(shown[seq], runs.truths[seq]) for seq in scored] for name, shown in runs.shown.items()}
    gains = np.subtract(wrong[DROPPED], wrong[DEADLINE])
    typical = [seq for seq, gain in zip(scored, gains, strict=True) if gain >= gains.mean() - 1e-9]
    return max(typical, key=lambda seq: len(visible_classes(runs.truths[seq])))


def wrong_share(shown: LiveAnswer | None, truth: LabelMap) -> float:
    """Share of pixels with another class than the truth's."""
    return 1.0 if shown is None else float(np.mean(shown.result.labels != truth))


def visible_classes(labels: LabelMap) -> list[int]:
    """Ids of the classes in a label map, largest first, without those below :data:`MIN_CLASS_SHARE`."""
    ids, counts = np.unique(labels[labels != IGNORE_ID], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [int(ids[index]) for index in order if counts[index] >= MIN_CLASS_SHARE * labels.size]


def write_demo_picture(path: Path, seq: int, runs: LiveRuns, labels: Sequence[Label]) -> None:
    """Write the picture of a frame as PNG, :data:`WIDTH_PX` wide.

    Args:
        path: The file to write.
        seq: Number of the frame.
        runs: Both runs.
        labels: The classes of the network.

    Raises:
        OutputError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = runs.clip.images[seq].shape[:2]
    names = {label.id: (label.name, [channel / 255 for channel in label.color]) for label in labels}
    patches = [
        Patch(label=names[number][0], facecolor=names[number][1])
        for number in visible_classes(runs.truths[seq])
        if number in names
    ]
    patches.append(Patch(label="wrong", facecolor="white", edgecolor="0.4"))
    rows = -(-len(patches) // LEGEND_COLUMNS)
    panel_in = PANEL * WIDTH_PX / DPI * height / width
    figure = Figure(figsize=(WIDTH_PX / DPI, panel_in + 0.62 + 0.26 * rows), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(_panels(seq, runs, labels)):
        _draw(figure.add_axes((STEP * number, 0, PANEL, 1), anchor="N"), panel)
    legend = {"fontsize": 12, "frameon": False, "handlelength": 1.3, "columnspacing": 1.6, "borderaxespad": 0.1}
    figure.legend(
        handles=patches,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=max(1, min(LEGEND_COLUMNS, len(patches))),
        **legend,
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_whole(path, picture.getvalue())


def _panels(seq: int, runs: LiveRuns, labels: Sequence[Label]) -> list[Panel]:
    clip, truth = runs.clip, runs.truths[seq]
    image = clip.images[seq]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)

    def painted(labels_shown: LabelMap) -> Image:
        # On a grey frame the classes keep the hues of the legend.
        mixed = cv2.addWeighted(grey, 1 - LABEL_OPACITY, colorize(labels_shown, labels), LABEL_OPACITY, 0)
        out = np.asarray(mixed, np.uint8)
        out[(labels_shown != truth) & (truth != IGNORE_ID)] = 255
        return out

    height, width = image.shape[:2]
    network = f"{runs.comparison.network_ms:.0f} ms"
    truth_title = "truth" if runs.comparison.labelled else "every frame inferred"
    truth_detail = f"the network takes {network}"
    panels = [
        Panel(title="camera frame", detail=f"{width}x{height}, one every {1000 / clip.rate:.0f} ms", image=image),
        Panel(title=truth_title, detail=truth_detail, image=painted(truth)),
    ]
    for name, shown in runs.shown.items():
        answer = shown[seq]
        detail, map_shown = "nothing yet", np.full_like(truth, IGNORE_ID)
        if answer is not None:
            age_ms = map_age_ms(answer, seq, clip.rate)
            detail = f"{age_ms:.0f} ms old, {wrong_share(answer, truth):.1%} wrong"
            map_shown = answer.result.labels
        panels.append(Panel(title=name, detail=detail, image=painted(map_shown)))
    return panels


def _draw(axes: Any, panel: Panel) -> None:
    axes.imshow(panel.image[..., ::-1], interpolation="antialiased")
    axes.set_axis_off()
    axes.text(0, -0.02, panel.title, fontsize=14, fontweight="bold", va="top", transform=axes.transAxes)
    axes.text(0, -0.115, panel.detail, fontsize=13, color="0.3", va="top", transform=axes.transAxes)
