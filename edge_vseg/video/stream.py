"""Frames from everything that PyAV opens: video files, V4L2 cameras, network streams."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np

from edge_vseg.errors import NoFramesError, OptionError, VideoDecodeError, VideoError, VideoNotFoundError
from edge_vseg.types import Frame, Image, MotionField, Tensor
from edge_vseg.video.codec_motion import DECODER_OPTIONS, CodecMotion, check_codec, rotate_field
from edge_vseg.video.damage import ContainerHeader, DamageReport
from edge_vseg.video.port import Source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 10.0

Kind: TypeAlias = Literal["file", "camera", "network"]

_ATTACHED_PICTURE = 0x400
_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A file, device or address for PyAV to open.

    Attributes:
        address: Path, device or URL as FFmpeg takes it.
        name: Name for messages and :attr:`Frame.source_name`, without credentials.
        kind: Decides how errors are reported and how the decoder uses threads.
        format: FFmpeg's name of the input format; empty to detect it.
        options: FFmpeg's options for that format.
        timeout_s: Seconds that the network may take to answer.
    """

    address: str
    name: str
    kind: Kind
    format: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S


class StreamSource(Source):
    """The first video stream of a file, device or address, decoded to BGR.

    A frame that cannot be decoded leaves a gap in ``seq``; one with concealed errors is passed on. :attr:`damaged`
    counts both. The frame size may change in mid-stream.
    """

    def __init__(self, medium: Medium, *, strict: bool = False, codec_motion: bool = False) -> None:
        """Open the medium and read its header.

        Args:
            medium: What to open.
            strict: Raise at the end of a damaged file, instead of logging a warning.
            codec_motion: Give frames the codec's motion vectors.

        Raises:
            VideoNotFoundError: If there is no such device, server or resource.
            VideoDecodeError: If it is not a video, or has no decodable video stream.
            OptionError: If ``codec_motion`` is set and the codec exports no vectors.
        """
        from av.video.reformatter import VideoReformatter

        super().__init__(name=medium.name)
        self._medium = medium
        self._strict = strict
        self._container = open_container(medium)
        try:
            self._stream = _video_stream(self._container, medium)
            self._motion = _export_motion(self._stream, medium) if codec_motion else None
        except (VideoDecodeError, OptionError):
            self._container.close()
            raise
        # Frame threading delays each frame by a few: good for a file, bad for a camera. It also loses motion vectors at
        # random: FFmpeg exports those of reordered frames while another thread still decodes them.
        self._stream.thread_type = "AUTO" if medium.kind == "file" and not codec_motion else "SLICE"
        # One reformatter for all frames: otherwise PyAV builds a scaler per frame, 9x slower at 720p.
        self._reformatter = VideoReformatter()
        self._start: int | None = self._stream.start_time
        self._report = DamageReport()
        self._failure: FFmpegError | None = None
        self._packets = 0
        self._end_s = 0.0
        self._frames = self._decode()

    @property
    def fps(self) -> float | None:
        """The container's average rate, or FFmpeg's guess."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def duration_s(self) -> float | None:
        """Duration that the container declares; ``None`` for an endless stream."""
        return self._header.container_s

    @property
    def damaged(self) -> str | None:
        """What was wrong with the frames read so far; ``None`` if nothing."""
        return self._report.text()

    @property
    def _header(self) -> ContainerHeader:
        stream, container = self._stream, self._container
        base = stream.time_base
        return ContainerHeader(
            frames=stream.frames,
            rate=self.fps,
            stream_s=float(stream.duration * base) if stream.duration is not None and base is not None else None,
            container_s=container.duration / 1e6 if container.duration is not None else None,
            video_only=len(container.streams) == 1,
            has_edits="mp4" in container.format.name,
        )

    def _expected_frames(self) -> int | None:
        header = self._header
        if header.frames:
            return header.frames
        seconds = header.container_s if header.stream_s is None else header.stream_s
        return round(seconds * header.rate) if seconds and header.rate else None

    def _read(self) -> Frame | None:
        return next(self._frames, None)

    def _release(self) -> None:
        self._frames.close()
        self._container.close()

    def _demux(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the stream, then ``None`` to drain the decoder."""
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(self._stream):
                # AVI has empty packets for dropped frames; a decoder would take one for the end.
                if packet.size:
                    self._packets += 1
                    yield packet
        except FFmpegError as exc:
            self._failure = exc
            self._report.stopped = _reason(exc)
        yield None

    def _decode(self) -> Generator[Frame, None, None]:
        from av.error import EOFError as EndOfStream
        from av.error import FFmpegError

        header = self._header
        for packet in self._demux():
            if self._motion and packet is not None:
                self._motion.sent(packet.pts)
            try:
                pictures = self._stream.decode(packet)
            except EndOfStream:
                continue
            except FFmpegError as exc:
                self._report.lost += 1
                if self._motion:
                    self._motion.lost()
                logger.debug("%s: packet %d: %s", self.name, self._packets, _reason(exc))
                continue
            for picture in pictures:
                yield self._frame(picture)
        self._report_damage(header)

    def _frame(self, picture: VideoFrame) -> Frame:
        report = self._report
        seq = report.frames + report.lost
        report.frames += 1
        report.flawed += picture.is_corrupt
        pts_ns = self._presentation_ns(picture)
        if pts_ns is not None:
            self._end_s = max(self._end_s, pts_ns / 1e9 + (1 / self.fps if self.fps else 0.0))
        return Frame(
            image=self._image(picture),
            seq=seq,
            capture_ns=time.monotonic_ns(),
            pts_ns=pts_ns,
            source_name=self._medium.name,
            motion=self._codec_motion(picture),
        )

    def _codec_motion(self, picture: VideoFrame) -> MotionField | None:
        field = self._motion.field(picture) if self._motion else None
        rotation = _rotation(picture)
        return field if field is None or rotation is None else rotate_field(field, rotation)

    def _image(self, picture: VideoFrame) -> Image:
        bgr: Tensor = self._reformatter.reformat(picture, format="bgr24").to_ndarray()
        rotation = _rotation(picture)
        if rotation is not None:
            bgr = cv2.rotate(bgr, rotation)
        return np.ascontiguousarray(bgr, dtype=np.uint8)

    def _presentation_ns(self, picture: VideoFrame) -> int | None:
        # Frames drained from the decoder have no time base of their own.
        base = picture.time_base or self._stream.time_base
        if picture.pts is None or base is None:
            return None
        if self._start is None:
            self._start = picture.pts
        return round(Fraction(picture.pts - self._start) * base * 10**9)

    def _report_damage(self, header: ContainerHeader) -> None:
        if self._medium.kind == "file" and self._report.frames:
            self._report.shortfall = header.shortfall(self._packets, self._end_s)
        damage = self.damaged
        if damage is None:
            return
        if self._medium.kind != "file" and self._failure is not None:
            raise VideoDecodeError(
                f"{self.name}: the stream was interrupted ({damage}); open it again"
            ) from self._failure
        if self._report.frames == 0 or self._strict:
            raise VideoDecodeError(f"{self.name} is damaged: {damage}; copy or record it again") from self._failure
        logger.warning("%s is damaged: %s", self.name, damage)


def _rotation(picture: VideoFrame) -> int | None:
    # PyAV 12 does not give the rotation; its frames stay as stored.
    return _ROTATIONS.get(round(getattr(picture, "rotation", 0)) % 360)


def _export_motion(stream: VideoStream, medium: Medium) -> CodecMotion:
    decoder = stream.codec_context.name
    check_codec(medium.name, decoder)
    stream.codec_context.options = DECODER_OPTIONS
    return CodecMotion(decoder)


def open_container(medium: Medium) -> InputContainer:
    """Open a medium for reading.

    Raises:
        VideoNotFoundError: If there is no such device, server or resource.
        VideoDecodeError: If it cannot be read as a video.
    """
    import av
    from av.error import FFmpegError

    started = time.monotonic()
    try:
        container = av.open(
            medium.address,
            format=medium.format or None,
            options=dict(medium.options),
            timeout=medium.timeout_s if medium.kind == "network" else None,
        )
    except FFmpegError as exc:
        raise _open_error(medium, exc, waited_s=time.monotonic() - started) from exc
    # FFmpeg renders text files as video.
    if container.format.name == "tty":
        container.close()
        raise VideoDecodeError(f"{medium.name}: expected a video, got a text file; give a video")
    return container


def _open_error(medium: Medium, exc: FFmpegError, *, waited_s: float) -> VideoError:
    from av.error import EOFError as EndOfStream
    from av.error import ExitError, HTTPNotFoundError

    name, reason = medium.name, _reason(exc)
    match medium.kind:
        case "file" if isinstance(exc, EndOfStream):
            return NoFramesError(f"{name}: the file ends before its first frame; copy or record it again")
        case "file":
            return VideoDecodeError(
                f"{name}: cannot be read as a video ({reason}); if the recording or download was interrupted, its"
                " index is missing: record or download it again"
            )
        case "camera":
            return VideoDecodeError(f"{name}: the camera cannot be opened ({reason}); is another program using it?")
        case "network":
            if isinstance(exc, ExitError) or waited_s >= medium.timeout_s:
                return VideoNotFoundError(
                    f"{name}: no answer within {medium.timeout_s:g} s; check the address,"
                    " or raise InputOptions.timeout_s"
                )
            if isinstance(exc, (ConnectionRefusedError, FileNotFoundError, HTTPNotFoundError)):
                return VideoNotFoundError(f"{name}: {reason}; check the address and that the server runs")
            return VideoDecodeError(f"{name}: cannot be read ({reason}); check the address")


def _video_stream(container: InputContainer, medium: Medium) -> VideoStream:
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        found = ", ".join(sorted({stream.type for stream in container.streams}))
        if not found:
            raise VideoDecodeError(
                f"{medium.name}: expected a video, found no stream; if the file is truncated, copy it again"
            )
        raise VideoDecodeError(f"{medium.name}: expected a video stream, found only {found}; give a video")
    if streams[0].codec_context is None:
        raise VideoDecodeError(
            f"{medium.name}: its video codec is unknown; if the file is complete, convert it to H.264"
        )
    return streams[0]


def _is_cover(stream: VideoStream) -> bool:
    disposition = getattr(stream, "disposition", None)
    return disposition is not None and bool(disposition.value & _ATTACHED_PICTURE)


def _reason(exc: FFmpegError) -> str:
    # Not str(exc), which repeats the address with its password.
    return exc.strerror or type(exc).__name__
