"""Per-frame outputs of ``edge-vseg run``: label maps, overlay video, window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.imaging.heat_map import draw_heat_map
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.types import Frame, Image, Result, Size
from edge_vseg.video import VideoWriter

WINDOW = "edge-vseg"
_DEFAULT_FPS = 30.0
_STOP_KEYS = (27, ord("q"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What to write and show.

    Attributes:
        overlay: Overlay video to write; ``None`` for none.
        uncertainty: Draw an uncertainty map beside the overlay.
        show: Open a window with the overlay.
        labels_out: Folder for label maps as PNG files; ``None`` for none.
    """

    overlay: Path | None = None
    uncertainty: bool = False
    show: bool = False
    labels_out: Path | None = None


class Outputs:
    """Writes and shows each frame.

    The overlay video is kept at the end and after Ctrl-C; after an error it is discarded.

    Args:
        labels: The bundle's classes.
        fps: Frames per second of the source; ``None`` if unknown.
        options: What to write and show.

    Raises:
        OptionError: If a window is requested and OpenCV has none.
    """

    def __init__(self, labels: Sequence[Label], fps: float | None, options: OutputOptions) -> None:
        self._labels = labels
        self._fps = fps or _DEFAULT_FPS
        self._overlay = options.overlay
        self._uncertainty = options.uncertainty
        self._labels_out = options.labels_out
        self._writer: VideoWriter | None = None
        self._size_hw: Size = (0, 0)
        self._shows = options.show
        if options.show:
            try:
                cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
            except cv2.error as exc:
                raise OptionError(
                    "OpenCV has no windows here, or there is no display; write a video with --output, or"
                    " install opencv-python instead of opencv-python-headless"
                ) from exc

    def __enter__(self) -> Outputs:
        """Files are created at the first frame."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the overlay, or discard it after an error."""
        if self._shows:
            cv2.destroyAllWindows()
        if self._writer is None:
            return
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._writer.close()
        else:
            self._writer.discard()

    def add(self, frame: Frame, result: Result) -> bool:
        """Write and show a frame; false if a key in the window ends the run."""
        if self._labels_out is not None:
            make_folder(self._labels_out)
            _, data = cv2.imencode(".png", result.labels)
            # Waiting for the disk at each frame would keep the next one waiting.
            write_whole(self._labels_out / f"{result.seq:06d}.png", data.tobytes(), flush="system")
        if self._overlay is None and not self._shows:
            return True
        picture = self._draw(frame, result)
        if self._overlay is not None:
            if self._writer is None:
                self._size_hw = (picture.shape[0], picture.shape[1])
                self._writer = VideoWriter(self._overlay, self._fps, self._size_hw)
            self._writer.write(resize_image(picture, self._size_hw), pts_ns=frame.pts_ns)
        if self._shows:
            cv2.imshow(WINDOW, picture)
            return (cv2.waitKey(1) & 0xFF) not in _STOP_KEYS
        return True

    def _draw(self, frame: Frame, result: Result) -> Image:
        picture = draw_overlay(frame.image, result.labels, self._labels, source=result.source)
        uncertainty = result.uncertainty if self._uncertainty else None
        if uncertainty is None:
            return picture
        return np.asarray(np.hstack([picture, draw_heat_map(frame.image, uncertainty, "uncertainty")]), np.uint8)
