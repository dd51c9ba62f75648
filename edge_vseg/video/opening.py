"""Open a source of frames by path, number, address, list or program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from edge_vseg.errors import OptionError, VideoDecodeError
from edge_vseg.types import Image
from edge_vseg.video.cameras.own import IterableSource, called, copied
from edge_vseg.video.live import LatestSource, Pacer
from edge_vseg.video.options import DEFAULT_INPUT_OPTIONS, InputOptions
from edge_vseg.video.port import Source
from edge_vseg.video.reconnect import ReconnectingSource
from edge_vseg.video.resolving import ReadOptions, SourcePlan, resolve
from edge_vseg.video.stream import StreamSource

log = logging.getLogger(__name__)

FramesFrom: TypeAlias = str | Path | int | Sequence[str | Path] | Source | Iterable[Image] | Callable[[], Image | None]
"""What :func:`open_source` takes."""


def open_source(
    source: FramesFrom,
    *,
    max_frames: int | None = None,
    live: bool | None = None,
    strict: bool = False,
    image_fps: float | None = None,
    codec_motion: bool = False,
    input_options: InputOptions = DEFAULT_INPUT_OPTIONS,
) -> Source:
    """Open a source of frames.

    ======================================  ===================================================================
    source                                  kind
    ======================================  ===================================================================
    ``"drive.mp4"``, ``"file:drive.mp4"``   video file, anything that FFmpeg reads
    ``"file:drive.mp4?live"``               the same, played in real time
    ``"frames/"``, ``["a.png", "b.png"]``   images, in natural order of their names, or in the order given
    ``"sign.jpg"``                          one image
    ``0``, ``"0"``, ``"/dev/video0"``       V4L2 camera
    ``"v4l2:///dev/video0?framerate=30"``   the same, with FFmpeg's options
    ``"csi://0"``                           CSI camera of a Raspberry Pi (picamera2) or Jetson (GStreamer)
    ``"gst:PIPELINE"``                      GStreamer pipeline that ends in raw video
    ``"rtsp://…"``, ``"udp://…"``           live stream
    ``"ros2:/camera/image_raw"``            ROS 2 topic, without a ROS installation
    ``"http://…"``                          file, or a live stream when it has no duration
    ``"-"``, ``"stdin:640x480:bgr24"``      standard input: a stream that describes itself, or raw frames
    iterable or function                    ``(H, W, 3)`` uint8 BGR images; a function ends with ``None``
    ``"drive.mcap"``, ``"rosbag2/"``        recorded ROS 2 topic; ``"drive.mcap:/camera/image_raw"`` names it
    :class:`~edge_vseg.video.Mailbox`       images that a driver's thread puts in; any other ``Source`` too
    ======================================  ===================================================================

    A thread reads a live source and keeps only the newest frame, so a slow reader never lags; dropped frames leave gaps
    in ``seq``. ``live=True`` plays a recording the same way, in real time. A live source that is lost is opened again
    until it is back: see ``Source.connection``.

    A damaged or truncated file gives all frames that can be decoded; then it logs a warning and sets
    ``Source.damaged``.

    Args:
        source: See the table.
        max_frames: Stop after this many frames; ``None`` for all.
        live: Drop frames if the reader is slow; ``None`` decides by the kind of source.
        strict: Raise :class:`VideoDecodeError` at the end of a damaged file, instead of the warning.
        image_fps: Frames per second of still images, which have no times.
        codec_motion: Give frames the motion vectors of their codec, for H.264, MPEG-4 and their relatives; see
            :attr:`Frame.motion <edge_vseg.types.Frame>`. Decoding is slower then: one frame at a time.
        input_options: Network timeout, reconnects, buffer, and FFmpeg's own options.

    Returns:
        An iterator of :class:`~edge_vseg.types.Frame` and context manager.

    Raises:
        VideoNotFoundError: If there is nothing at that path or address.
        VideoDecodeError: If it is not a video, or has no video stream.
        NoFramesError: If a folder holds no image.
        CameraPackageError: If a kind of camera needs a package that is not installed.
        TransportError: If ROS 2's network cannot be used.
        OptionError: If an argument has an impossible value, or the source has no motion vectors.

    Example:
        >>> from edge_vseg import open_source
        >>> with open_source("drive.mp4", max_frames=3) as frames:
        ...     for frame in frames:
        ...         print(frame.seq, frame.image.shape)
        0 (192, 256, 3)
        1 (192, 256, 3)
        2 (192, 256, 3)
    """
    if max_frames is not None and max_frames < 1:
        raise OptionError(f"max_frames must be at least 1, or None for no limit; got {max_frames}")
    if isinstance(source, Source):
        return source.limit(max_frames)
    if _names_a_place(source):
        options = ReadOptions(strict=strict, image_fps=image_fps, codec_motion=codec_motion, input=input_options)
        return _open(resolve(source, options), live, input_options).limit(max_frames)  # type: ignore[arg-type]
    if codec_motion:
        raise OptionError("images of a program have no codec motion vectors; use optical flow (--set motion=dis)")
    images = _own(source)
    if live:
        return LatestSource(IterableSource(copied(images)), buffer=input_options.buffer).limit(max_frames)
    return IterableSource(images).limit(max_frames)


def _names_a_place(source: FramesFrom) -> bool:
    if isinstance(source, str | Path | int):
        return True
    return isinstance(source, Sequence) and all(isinstance(item, str | Path) for item in source)


def _own(source: FramesFrom) -> Iterable[Image]:
    if isinstance(source, Iterable):
        return source  # type: ignore[return-value]
    if callable(source):
        return called(source)
    raise OptionError(
        f"expected a path, number, address, list of images, iterable or function, got {type(source).__name__}"
    )


def _open(plan: SourcePlan, live: bool | None, options: InputOptions) -> Source:
    again = options.reconnect
    if plan.pace == "topic":
        return plan.open()
    if live is None and plan.is_paced:
        live = True
    waits = again is not None and again.first_opening == "wait" and live is not False
    if again is not None and waits and plan.pace in ("camera", "undeclared"):
        return _read_live(ReconnectingSource(lambda: _open_live(plan), again, name=plan.name), options)
    opened = plan.open()
    is_live = plan.pace == "camera" or (plan.pace == "undeclared" and not _has_an_end(opened))
    if live is False or not (live or is_live):
        return opened
    if is_live and again is not None:
        opened = ReconnectingSource(lambda: _open_again(plan), again, name=plan.name, opened=opened)
    if is_live or plan.pace == "pipe":
        return _read_live(opened, options)
    if not plan.has_times:
        raise OptionError(
            f"{plan.name}: images have no times; to play them live, set image_fps, frames per second:"
            " open_source(folder, live=True, image_fps=10)"
        )
    return LatestSource(opened, pacer=Pacer(), buffer=options.buffer)


def _has_an_end(source: Source) -> bool:
    return not isinstance(source, StreamSource) or source.duration_s is not None


def _open_again(plan: SourcePlan) -> Source:
    """Open a source again that was live before, also where its codec has become one without motion vectors."""
    try:
        return _open_live(plan)
    except OptionError as exc:
        if plan.open_plain is None:
            raise
        source = _open_live(replace(plan, open=plan.open_plain))
        log.warning("%s; it goes on without them, by optical flow", str(exc).partition(";")[0])
        return source


def _open_live(plan: SourcePlan) -> Source:
    """Open a source that has to be live."""
    source = plan.open()
    if plan.pace == "undeclared" and _has_an_end(source):
        # An HLS list that was completed would be played again from its start.
        source.close()
        raise VideoDecodeError(f"{plan.name}: the broadcast is over, its server has a recording now; open it again")
    return source


def _read_live(source: Source, options: InputOptions) -> Source:
    return LatestSource(source, buffer=options.buffer)
