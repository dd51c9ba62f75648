"""Segment a video with a bundle, and write the overlay video.

python examples/segment_video.py street.evseg drive.mp4 overlay.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_vseg import Segmenter, VideoWriter, open_source
from edge_vseg.imaging.overlay import draw_overlay


def segment(bundle: Path, video: str, output: Path) -> int:
    """Segment every frame; returns the number of frames."""
    count = 0
    with Segmenter.open(bundle) as segmenter, open_source(video) as frames:
        labels = segmenter.bundle.manifest.labels
        first = next(frames)
        with VideoWriter(output, frames.fps or 30.0, first.image.shape[:2]) as writer:
            for frame in (first, *frames):
                result = segmenter(frame)
                writer.write(draw_overlay(frame.image, result.labels, labels), pts_ns=frame.pts_ns)
                count += 1
    return count


def main() -> None:
    """Parse the command line and segment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle made by edge-vseg export")
    parser.add_argument("video", help="video, image folder, camera or URL")
    parser.add_argument("output", type=Path, help="overlay video to write, .mp4")
    arguments = parser.parse_args()
    count = segment(arguments.bundle, arguments.video, arguments.output)
    print(f"{count} frames in {arguments.output}")


if __name__ == "__main__":
    main()
