"""The demo's still picture: camera frame, label map and uncertainty side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.overlay import colorize
from edge_vseg.types import Image, Result

WIDTH_PX = 1500
DPI = 100
MIN_CLASS_SHARE = 0.005
"""A class below this share of the pixels is hardly visible: it does not count and is not in the legend."""
LABEL_OPACITY = 0.62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StillFrame:
    """A frame of the scheduled run.

    Attributes:
        number: Frame number.
        image: ``(H, W, 3)`` uint8 BGR.
        result: Its result.
        uncertainty: ``(h, w)`` float32, 0 is sure.
    """

    number: int
    image: Image
    result: Result
    uncertainty: NDArray[np.float32]


class StillFrameSelector:
    """Keeps the first frame with the most visible classes, among those with a propagated label map if there are any."""

    def __init__(self) -> None:
        self.best: StillFrame | None = None
        self._best_rank = (False, 0)
        self._count = 0

    def add(self, frame: LabelledFrame, result: Result) -> None:
        """Consider the next frame of the video."""
        rank = (result.age_frames > 0, len(visible_classes(result)))
        is_better = self.best is None or rank > self._best_rank
        if is_better and (uncertainty := result.uncertainty) is not None:
            self.best = StillFrame(number=self._count, image=frame.image.copy(), result=result, uncertainty=uncertainty)
            self._best_rank = rank
        self._count += 1


def visible_classes(result: Result) -> list[int]:
    """Ids of the classes in a label map, largest first, without those below :data:`MIN_CLASS_SHARE`."""
    ids, counts = np.unique(result.labels, return_counts=True)
    order = np.argsort(-counts)
    return [int(ids[index]) for index in order if counts[index] >= MIN_CLASS_SHARE * result.labels.size]


def write_demo_picture(path: Path, frame: StillFrame, labels: Sequence[Label]) -> None:
    """Write the picture as PNG, :data:`WIDTH_PX` wide.

    Args:
        path: The file to write.
        frame: The frame to show.
        labels: The classes of the network.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = frame.image.shape[:2]
    colored = colorize(frame.result.labels, labels)
    grey = cv2.cvtColor(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    # On a grey frame the classes keep the hues of the legend.
    blended = cv2.addWeighted(grey, 1 - LABEL_OPACITY, colored, LABEL_OPACITY, 0)
    panel_in = 0.325 * WIDTH_PX / DPI * height / width
    figure = Figure(figsize=(WIDTH_PX / DPI, panel_in + 1.2), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_axes((0.005 + 0.3325 * index, 0, 0.325, 1), anchor="N") for index in range(3)]
    age = frame.result.age_frames
    captions = (
        ("camera frame", f"frame {frame.number}, {width}x{height} pixels"),
        ("label map", f"{frame.result.source}, {age} frame{'' if age == 1 else 's'} old"),
        ("uncertainty of the label map", "0 is sure"),
    )
    axes[0].imshow(frame.image[..., ::-1])
    axes[1].imshow(blended[..., ::-1])
    heat = axes[2].imshow(
        frame.uncertainty, cmap="inferno", vmin=0, vmax=1, interpolation="bilinear", extent=(0, width, height, 0)
    )
    for axis, (title, detail) in zip(axes, captions, strict=True):
        axis.set_axis_off()
        axis.text(0, -0.02, title, fontsize=15, fontweight="bold", va="top", transform=axis.transAxes)
        axis.text(1, -0.026, detail, fontsize=13, color="0.35", va="top", ha="right", transform=axis.transAxes)
    names = {label.id: (label.name, [channel / 255 for channel in label.color]) for label in labels}
    patches = [
        Patch(label=names[number][0], facecolor=names[number][1])
        for number in visible_classes(frame.result)
        if number in names
    ]
    legend = {"fontsize": 12, "frameon": False, "handlelength": 1.3, "columnspacing": 1.4, "borderaxespad": 0.3}
    figure.legend(handles=patches, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncols=min(4, len(patches)), **legend)
    scale = figure.add_axes((0.68, 0.1, 0.305, 0.03))
    bar = figure.colorbar(heat, cax=scale, orientation="horizontal", ticks=(0, 0.25, 0.5, 0.75, 1))
    bar.ax.tick_params(labelsize=12)
    bar.outline.set_visible(False)
    figure.savefig(path, dpi=DPI)
