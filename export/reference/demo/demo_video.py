"""The demo's video: what both live runs show, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.demo.live_comparison import LiveRuns
from edge_vseg.export.reference.demo.live_run import LiveAnswer
from edge_vseg.export.reference.demo.live_score import map_age_ms
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.types import Image
from edge_vseg.video import VideoWriter

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_demo_video(path: Path, runs: LiveRuns, labels: Sequence[Label]) -> None:
    """Write each frame that counts with what is on the screen when its answer is due, in real time.

    Args:
        path: The file to write.
        runs: Both runs.
        labels: The classes of the network.
    """
    clip = runs.clip
    height, width = clip.images[0].shape[:2]
    with VideoWriter(path, clip.rate, (height, width * len(runs.answers))) as writer:
        for seq in clip.scored:
            halves = [
                _half(clip.images[seq], shown[seq], name, seq, clip.rate, labels) for name, shown in runs.shown.items()
            ]
            writer.write(np.hstack(halves))


def _half(image: Image, shown: LiveAnswer | None, name: str, seq: int, rate: float, labels: Sequence[Label]) -> Image:
    if shown is None:
        half, text = image.copy(), f"{name}: nothing yet"
    else:
        source = shown.result.source if shown.seq == seq else "held"
        half = draw_overlay(image, shown.result.labels, labels, legend=False, source=source)
        text = f"{name}: {map_age_ms(shown, seq, rate):.0f} ms old"
    scale = image.shape[0] / 700
    place, thickness = (round(24 * scale), round(40 * scale)), max(1, round(2 * scale))
    cv2.putText(half, text, place, _FONT, scale, (0, 0, 0), 3 * thickness, cv2.LINE_AA)
    cv2.putText(half, text, place, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return half
