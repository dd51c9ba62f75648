"""Frames from anything that PyAV opens: video files, V4L2 cameras, network streams."""

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
from edge_vseg.video.codec_motion import DECODER_OPTIONS, CodecMotion, check_codec, turned
from edge_vseg.video.damage import DamageReport, Promise
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
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What PyAV is to open.

    Attributes:
        address: Path, device or URL as FFmpeg takes it.
        name: How people are told of it, without credentials; also :attr:`Frame.source_name`.
        kind: Decides how errors are understood and how the decoder is threaded.
        format: FFmpeg's name of the input format; empty to find out.
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

    A frame that cannot be decoded leaves a gap in ``seq``; one that the decoder could patch up is passed on.
    Both are counted in :attr:`damaged`. A change of picture size in mid-stream is passed on as it is.
    """

    def __init__(self, medium: Medium, *, strict: bool = False, codec_motion: bool = False) -> None:
        """Open the medium and read its header.

        Args:
            medium: What to open.
            strict: Raise at the end of a file that turned out damaged, instead of logging a warning.
            codec_motion: Give the frames the motion that the codec has.

        Raises:
            VideoNotFoundError: If there is no such device, server or resource.
            VideoDecodeError: If it is no video, or has no video stream that can be decoded.
            OptionError: If the codec's motion is wanted and it has none.
        """
        from av.video.reformatter import VideoReformatter

        super().__init__(name=medium.name)
        self._medium = medium
        self._strict = strict
        self._container = open_container(medium)
        try:
            self._stream = _video_stream(self._container, medium)
            self._motion = _asked_for_motion(self._stream, medium) if codec_motion else None
        except (VideoDecodeError, OptionError):
            self._container.close()
            raise
        # Decoding frames side by side delays each by some frames: good for a file, bad for a camera. And FFmpeg
        # exports vectors of reordered frames that another thread is still at, so some are missing, by chance.
        self._stream.thread_type = "AUTO" if medium.kind == "file" and not codec_motion else "SLICE"
        # One reformatter for all frames: PyAV builds a new scaler per frame otherwise, 9x slower at 720p.
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
        """Seconds that the container promises; ``None`` for a stream without end."""
        return self._promise.container_s

    @property
    def damaged(self) -> str | None:
        """What was found wrong with the frames read so far; ``None`` when nothing."""
        return self._report.text()

    @property
    def _promise(self) -> Promise:
        stream, container = self._stream, self._container
        base = stream.time_base
        return Promise(
            frames=stream.frames,
            rate=self.fps,
            stream_s=float(stream.duration * base) if stream.duration is not None and base is not None else None,
            container_s=container.duration / 1e6 if container.duration is not None else None,
            alone=len(container.streams) == 1,
            has_edits="mp4" in container.format.name,
        )

    def _expected(self) -> int | None:
        promise = self._promise
        if promise.frames:
            return promise.frames
        seconds = promise.container_s if promise.stream_s is None else promise.stream_s
        return round(seconds * promise.rate) if seconds and promise.rate else None

    def _read(self) -> Frame | None:
        return next(self._frames, None)

    def _release(self) -> None:
        self._frames.close()
        self._container.close()

    def _demux(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the stream, then ``None``, which drains the decoder."""
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(self._stream):
                # Empty packets stand for dropped frames in AVI; a decoder takes one for the end.
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

        promise = self._promise
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
        self._judge(promise)

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
        turn = _turn(picture)
        return field if field is None or turn is None else turned(field, turn)

    def _image(self, picture: VideoFrame) -> Image:
        bgr: Tensor = self._reformatter.reformat(picture, format="bgr24").to_ndarray()
        turn = _turn(picture)
        if turn is not None:
            bgr = cv2.rotate(bgr, turn)
        return np.ascontiguousarray(bgr, dtype=np.uint8)

    def _presentation_ns(self, picture: VideoFrame) -> int | None:
        # Frames that come out of the decoder when it is drained carry no time base of their own.
        base = picture.time_base or self._stream.time_base
        if picture.pts is None or base is None:
            return None
        if self._start is None:
            self._start = picture.pts
        return round(Fraction(picture.pts - self._start) * base * 10**9)

    def _judge(self, promise: Promise) -> None:
        if self._medium.kind == "file" and self._report.frames:
            self._report.shortfall = promise.shortfall(self._packets, self._end_s)
        damage = self.damaged
        if damage is None:
            return
        if self._medium.kind != "file" and self._failure is not None:
            raise VideoDecodeError(f"{self.name}: the stream broke off ({damage}); open it again") from self._failure
        if self._report.frames == 0 or self._strict:
            raise VideoDecodeError(f"{self.name} is damaged: {damage}; copy or record it again") from self._failure
        logger.warning("%s is damaged: %s", self.name, damage)


def _turn(picture: VideoFrame) -> int | None:
    # PyAV 12 does not tell the rotation; its frames stay as they are stored.
    return _TURNS.get(round(getattr(picture, "rotation", 0)) % 360)


def _asked_for_motion(stream: VideoStream, medium: Medium) -> CodecMotion:
    decoder = stream.codec_context.name
    check_codec(medium.name, decoder)
    stream.codec_context.options = DECODER_OPTIONS
    return CodecMotion(decoder)


def open_container(medium: Medium) -> InputContainer:
    """Open a medium for reading.

    Raises:
        VideoNotFoundError: If there is no such device, server or resource.
        VideoDecodeError: If it is there but cannot be read as a video.
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
    # FFmpeg plays text files as the picture of a terminal.
    if container.format.name == "tty":
        container.close()
        raise VideoDecodeError(f"{medium.name}: this is a text file; expected a video")
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
                f"{name}: cannot be read as a video ({reason}); if it is a recording or a download that was"
                " broken off, its index is missing: record or fetch it again"
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
            raise VideoDecodeError(f"{medium.name}: there is no stream in it; expected a video, is it cut off?")
        raise VideoDecodeError(f"{medium.name}: it has no video stream, only {found}; expected a video")
    if streams[0].codec_context is None:
        raise VideoDecodeError(
            f"{medium.name}: the kind of its video is unknown; if the file is whole, convert it to H.264"
        )
    return streams[0]


def _is_cover(stream: VideoStream) -> bool:
    disposition = getattr(stream, "disposition", None)
    return disposition is not None and bool(disposition.value & _ATTACHED_PICTURE)


def _reason(exc: FFmpegError) -> str:
    # Not str(exc): that repeats the address, with its password.
    return exc.strerror or type(exc).__name__
