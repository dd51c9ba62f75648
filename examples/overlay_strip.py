"""Draw consecutive frames of a scheduled run side by side: where each label map comes from, and how old it is.

    python examples/overlay_strip.py street.evseg drive.mp4 strip.png --policy fixed --first 20

Worth logging in your own application, too: ``Result.source`` and ``Result.age_ms_map``, the time in ms between the
capture of the image that the labels come from and the capture of this frame. Images of a folder have no times, and
their ages are in frames.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from edge_vseg import OpenOptions, Segmenter, open_source
from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.types import Frame, Image, Result

FONT, CAPTION_PX, GAP_PX = cv2.FONT_HERSHEY_SIMPLEX, 30, 8


def draw_panel(frame: Frame, result: Result, labels: tuple[Label, ...]) -> Image:
    """The overlay of a frame with a caption above it."""
    overlay = draw_overlay(frame.image, result.labels, labels, legend=False, source=result.source)
    age = f"{0.0 if result.age_ms_map is None else float(np.median(result.age_ms_map)):.0f} ms"
    if frame.pts_ns is None:
        age = f"{result.age_frames} frames"
    caption = np.full((CAPTION_PX, overlay.shape[1], 3), 255, np.uint8)
    text = f"{frame.seq}: {result.source}, {age} old"
    cv2.putText(caption, text, (4, CAPTION_PX - 10), FONT, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack((caption, overlay)), 0, 0, 0, GAP_PX, cv2.BORDER_CONSTANT, value=(255,) * 3)


def main() -> None:
    """Segment the video up to the last panel, then write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video or image folder")
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--policy", default="fixed", help="scheduling policy")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame in the strip")
    parser.add_argument("--count", type=int, default=4, help="number of panels")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.output.parent.is_dir() or not cv2.haveImageWriter(str(arguments.output)):
        parser.error(f"{arguments.output} cannot be written; give a .png in a folder that exists")
    panels = []
    with (
        Segmenter.open(
            arguments.bundle,
            threads=arguments.threads,
            policy=arguments.policy,
            options=OpenOptions(precision="int8"),
        ) as segmenter,
        open_source(arguments.video) as frames,
    ):
        for frame in islice(frames, arguments.first + arguments.count):
            # A file is read faster than it was recorded: take the recording time as the capture time.
            recorded = replace(frame, capture_ns=frame.pts_ns or 0)
            result = segmenter(recorded)
            if frame.seq >= arguments.first:
                panels.append(draw_panel(recorded, result, segmenter.bundle.manifest.labels))
    if not panels:
        raise SystemExit(f"{arguments.video} has no frame {arguments.first}; give a smaller --first")
    if not cv2.imwrite(str(arguments.output), np.hstack(panels)):
        raise SystemExit(f"{arguments.output} cannot be written; is the disk full?")
    print(f"{arguments.output}: {len(panels)} frames from {arguments.first} on, policy {arguments.policy}")


if __name__ == "__main__":
    main()
