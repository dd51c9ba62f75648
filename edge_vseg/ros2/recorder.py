"""Results into a recording: label maps, overlays, the camera's frames, the classes, and diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import jpeg_image
from edge_vseg.recording import McapWriter
from edge_vseg.ros2.diagnostics import HealthReport
from edge_vseg.ros2.outputs import label_image, label_info, overlay_picture
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, Result
from edge_vseg.video import Source
from edge_vseg.video.bag import BagSource
from edge_vseg.video.cameras.ros_topic import TopicSource

_REPORT_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """What a recording holds beside label maps, classes and diagnostics.

    Attributes:
        pictures: Any of ``overlay`` and ``camera``, as JPEG.
        namespace: Where its topics begin.
        frame_id: Coordinate frame of a camera that has none.
    """

    pictures: frozenset[str] = frozenset({"overlay"})
    namespace: str = "/edge_vseg"
    frame_id: str = "camera"


class FrameStamps:
    """The time of each frame: that of its message, or a recording's own, else the wall clock's.

    Args:
        source: Where the frames come from.
        wall_clock: Nanoseconds of the Unix epoch.
    """

    def __init__(self, source: Source, wall_clock: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._wall_clock = wall_clock
        self._start_ns = wall_clock()

    def stamp_ns(self, frame: Frame) -> int:
        """Nanoseconds of the Unix epoch; a file's frames count from when it was opened.

        Frames without a time of their own, and those of a live camera, have that of their capture.
        """
        if isinstance(self._source, BagSource) and frame.pts_ns is not None:
            return self._source.stamp_ns(frame)
        header = self.header_of(frame)
        if header is not None and header.stamp.total_ns:
            return header.stamp.total_ns
        if not self._source.is_live and frame.pts_ns is not None:
            return self._start_ns + frame.pts_ns
        return self._wall_clock() - (time.monotonic_ns() - frame.capture_ns)

    def header_of(self, frame: Frame) -> ros.Header | None:
        """The header of a live topic's image; ``None`` for other sources."""
        return self._source.header_of(frame.seq) if isinstance(self._source, TopicSource) else None


class ResultRecorder:
    """Writes each frame's result to an MCAP file.

    Attributes:
        frames: Frames written so far.

    Args:
        writer: The file; the recorder leaves it open.
        segmenter: What makes the results.
        source: Where the frames come from.
        options: What to write.
    """

    def __init__(self, writer: McapWriter, segmenter: Segmenter, source: Source, options: RecordOptions) -> None:
        self._writer = writer
        self._labels = segmenter.bundle.manifest.labels
        self._source = source
        self._stamps = FrameStamps(source)
        self._options = options
        facts = {"bundle": segmenter.bundle.manifest.name, "variant": segmenter.variant.id}
        self._health = HealthReport("edge_vseg", source.name, facts, time.monotonic_ns())
        self.frames = 0
        self._last_report_ns: int | None = None

    def add(self, frame: Frame, result: Result) -> None:
        """Write a frame's label map, and its pictures.

        Raises:
            RecordingError: If the disk is full.
        """
        base, stamp_ns = self._options.namespace, self._stamps.stamp_ns(frame)
        header = ros.Header(stamp=ros.Time.from_ns(stamp_ns), frame_id=self._frame_id(frame))
        self.frames += 1
        if self.frames == 1:
            self._writer.write(f"{base}/label_info", label_info(self._labels, header), stamp_ns)
        self._writer.write(f"{base}/labels", label_image(result.labels, header), stamp_ns)
        if "overlay" in self._options.pictures:
            picture = jpeg_image(overlay_picture(frame.image, result, self._labels), header)
            self._writer.write(f"{base}/overlay/compressed", picture, stamp_ns)
        if "camera" in self._options.pictures:
            self._writer.write(f"{base}/camera/compressed", jpeg_image(frame.image, header), stamp_ns)
        self._health.arrived(time.monotonic_ns())
        self._health.add(result)
        if self._last_report_ns is None or abs(stamp_ns - self._last_report_ns) >= _REPORT_NS:
            self._report(stamp_ns)

    def _frame_id(self, frame: Frame) -> str:
        given = self._stamps.header_of(frame)
        known = getattr(self._source, "frame_id", "") if given is None else given.frame_id
        return known or self._options.frame_id

    def _report(self, stamp_ns: int) -> None:
        self._last_report_ns = stamp_ns
        counts = self._source.counts
        status = self._health.report(time.monotonic_ns(), received=counts.captured, dropped=counts.dropped)
        message = ros.DiagnosticArray(header=ros.Header(stamp=ros.Time.from_ns(stamp_ns)), status=(status,))
        self._writer.write("/diagnostics", message, stamp_ns)
