"""Write frames to a video file, complete or not at all."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast

import cv2

from edge_vseg.errors import FrameError, NoFramesError, OptionError, OutputError, VideoError, VideoNotFoundError
from edge_vseg.files import StagedFile, cannot_write
from edge_vseg.types import Image, Size

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.error import FFmpegError
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
# A multiple of the common frame rates that fits MPEG-4 part 2's 16 bits.
_TICKS_PER_S = 60_000
# What swscale converts BGR to; without the tags, players assume BT.709 for large frames.
_COLOR_TAGS = {"colorspace": "smpte170m", "color_range": "tv"}
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "mpeg4": {"qscale": "4", "flags": "+qscale"},
}


class VideoWriter:
    """Writes an H.264 video (yuv420p) as MP4, MOV or Matroska.

    Frames go to a hidden file beside the target, which replaces it when the writer is closed without an error. After an
    error the hidden file is removed, and an older video at the target is untouched. What a killed process left is
    removed by the next writer of the same target.

    Attributes:
        path: The target file.
        encoder: FFmpeg's name of the encoder in use.
        frames: Frames written so far.

    Example:
        >>> from edge_vseg import VideoWriter, open_source
        >>> with open_source("drive.mp4") as frames, VideoWriter("mirrored.mp4", 15.0, (192, 256)) as writer:
        ...     for frame in frames:
        ...         writer.write(frame.image[:, ::-1], pts_ns=frame.pts_ns)
        >>> writer.frames
        36
    """

    def __init__(
        self, path: str | Path, fps: float, size_hw: Size, *, codec: Literal["auto", "h264", "mpeg4"] = "auto"
    ) -> None:
        """Create the hidden file.

        Args:
            path: Target file; its suffix is .mp4, .m4v, .mov or .mkv.
            fps: Frames per second, for frames written without a time.
            size_hw: Height and width of the frames; odd ones are padded to even, as 4:2:0 colour needs.
            codec: ``h264`` needs libx264; ``auto`` falls back to MPEG-4 part 2 with a warning.

        Raises:
            OptionError: If the suffix, rate or size is invalid, or the codec is not available.
            VideoNotFoundError: If the folder does not exist.
            VideoError: If the path is a folder or cannot be written.
        """
        self.path = Path(path)
        self._format = _container_format(self.path)
        if not (math.isfinite(fps) and fps > 0):
            raise OptionError(f"fps must be positive and finite, got {fps}; 30 is usual for a source without a rate")
        if min(size_hw) < 1:
            raise OptionError(
                f"size_hw must be at least 1x1, got {size_hw[0]}x{size_hw[1]}; give height and width of the frames"
            )
        self.encoder = _choose_encoder(codec)
        self.frames = 0
        self._size_hw = size_hw
        self._rate = Fraction(fps).limit_denominator(1001)
        self._period = max(1, round(_TICKS_PER_S / self._rate))
        self._last_tick = -1
        self._shift = 0
        self._warned = False
        self._closed = False
        try:
            self._staged = StagedFile(self.path)
        except OutputError as exc:
            raise VideoError(str(exc)) from exc
        self._container, self._stream = self._open()

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        import av
        from av.error import FFmpegError

        height, width = (side + side % 2 for side in self._size_hw)
        try:
            container = av.open(str(self._staged.path), mode="w", format=self._format)
            options = _ENCODERS[self.encoder] | _COLOR_TAGS
            stream = cast("VideoStream", container.add_stream(self.encoder, rate=self._rate, options=options))
        except FFmpegError as exc:
            self._staged.discard()
            raise self._failed(exc) from exc
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        return container, stream

    def write(self, image: Image, *, pts_ns: int | None = None) -> None:
        """Append a frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR of the writer's size.
            pts_ns: Presentation time in ns, on the source's clock; the first frame of the file starts at 0. Without it,
                or if it does not increase, the frame follows the last by ``1 / fps``.

        Raises:
            FrameError: If the image has another size or dtype.
            VideoError: If the writer is closed, or the frame cannot be encoded or written.
        """
        from av.error import FFmpegError
        from av.video.frame import VideoFrame

        if self._closed:
            raise VideoError(f"{self.path}: the writer is closed; open a new one")
        if image.shape != (*self._size_hw, 3) or image.dtype != "uint8":
            raise FrameError(
                f"{self.path}: expected frames of {(*self._size_hw, 3)} uint8, got {image.shape} {image.dtype};"
                " resize them, or open a writer of that size"
            )
        height, width = self._size_hw
        padded = image
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        picture = VideoFrame.from_ndarray(padded, format="bgr24")
        picture.pts, picture.time_base = self._tick(pts_ns), Fraction(1, _TICKS_PER_S)
        try:
            self._container.mux(self._stream.encode(picture))
        except FFmpegError as exc:
            raise self._failed(exc) from exc
        self.frames += 1

    def _failed(self, exc: FFmpegError) -> VideoError:
        return VideoError(str(cannot_write(self.path, OSError(exc.errno, exc.strerror))))

    def _tick(self, pts_ns: int | None) -> int:
        next_tick = self._last_tick + self._period if self.frames else 0
        if pts_ns is None:
            tick = next_tick
        else:
            source_tick = round(pts_ns * _TICKS_PER_S / 1e9)
            if self.frames == 0:
                self._shift = -source_tick
            if source_tick + self._shift <= self._last_tick:
                self._warn_of_time()
                self._shift = next_tick - source_tick
            tick = source_tick + self._shift
        self._last_tick = tick
        return tick

    def _warn_of_time(self) -> None:
        """Once for a file: a source whose times stand still would tell of every frame."""
        if not self._warned:
            logger.warning(
                "%s: time went back or stood still at frame %d; it follows the previous one, and so do later ones",
                self.path,
                self.frames,
            )
        self._warned = True

    def close(self) -> None:
        """Finish the file and move it to the target. Calling it twice does nothing.

        Raises:
            NoFramesError: If no frame was written; no file is left.
            VideoError: If writing fails; no file is left.
        """
        from av.error import FFmpegError

        if self._closed:
            return
        if self.frames == 0:
            self.discard()
            raise NoFramesError(f"{self.path} was not written: it would have no frames; write at least one")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._staged.commit()
        except OutputError as exc:
            self._closed = True
            raise VideoError(str(exc)) from exc
        except FFmpegError as exc:
            self.discard()
            raise self._failed(exc) from exc
        except BaseException:
            # Such as Ctrl-C while the last frames are encoded.
            self.discard()
            raise
        self._closed = True

    def discard(self) -> None:
        """Cancel: remove what was written. Does nothing after :meth:`close`."""
        from av.error import FFmpegError

        if self._closed:
            return
        self._closed = True
        try:
            self._container.close()
        except FFmpegError as exc:
            # Without frames there is no header to finish; the file is removed anyway.
            logger.debug("%s: %s", self.path, exc)
        self._staged.discard()

    def __enter__(self) -> VideoWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or remove it after an error."""
        if kind is None:
            self.close()
        else:
            self.discard()


def check_video_suffix(path: Path) -> None:
    """Raise OptionError if no video can be written to a file of this suffix."""
    if path.suffix.lower() not in _FORMATS:
        raise OptionError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(_FORMATS)}")


def _container_format(path: Path) -> str:
    if path.is_dir():
        raise VideoError(f"{path} is a folder; expected the path of a video file, such as {path / 'out.mp4'}")
    check_video_suffix(path)
    if not path.parent.is_dir():
        raise VideoNotFoundError(f"{path}: its folder {path.parent} does not exist; create it first")
    return _FORMATS[path.suffix.lower()]


def _choose_encoder(codec: Literal["auto", "h264", "mpeg4"]) -> str:
    import av

    candidates = {"auto": ("libx264", "mpeg4"), "h264": ("libx264",), "mpeg4": ("mpeg4",)}.get(codec)
    if candidates is None:
        raise OptionError(f"there is no codec {codec!r}; known: auto, h264, mpeg4")
    for name in candidates:
        if name in av.codecs_available:
            if name != candidates[0]:
                logger.warning("this PyAV has no %s; writing with %s", candidates[0], name)
            return name
    raise OptionError(f"this PyAV has no encoder {candidates[-1]}; use codec='mpeg4', or install PyAV from its wheels")
