"""Frames from everything that PyAV opens: video files, V4L2 cameras, network streams."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edge_vseg.errors import OptionError, VideoDecodeError, VideoError
from edge_vseg.types import Frame, Image, MotionField, Tensor
from edge_vseg.video.cameras.device_watch import DeviceWatch
from edge_vseg.video.capture_time import ArrivalTimes, StampClock, StreamClock, is_known_complete_late
from edge_vseg.video.codec_motion import DECODER_OPTIONS, CodecMotion, check_codec, rotate_field
from edge_vseg.video.container import (
    DECODER_FAILURES,
    MAX_PIXELS,
    Medium,
    open_container,
    reason_of,
    video_stream,
    without_address,
)
from edge_vseg.video.damage import ContainerHeader, DamageReport
from edge_vseg.video.port import Source
from edge_vseg.video.recorded_times import FileTimes

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# Containers whose packets have no times: FFmpeg makes some up for a frame rate that it guesses.
_UNTIMED = frozenset({"mpjpeg", "mjpeg", "h264", "hevc"})
# FFmpeg guesses a stream's clock rate, 90000 for RTP, where nothing tells the rate of its pictures.
_MAX_FPS = 1000
_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


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
        self._watch = DeviceWatch(medium.address) if medium.kind == "camera" else None
        try:
            self._container = open_container(medium)
        except VideoError:
            self._close_device()
            raise
        try:
            self._stream = video_stream(self._container, medium)
            self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            self._motion = _export_motion(self._stream, medium) if codec_motion else None
            if self._watch is not None:
                self._watch.opened()
        except (VideoDecodeError, OptionError):
            self._container.close()
            self._close_device()
            raise
        self._is_live = medium.kind in ("camera", "network")
        self._untimed = medium.kind == "network" and self._container.format.name in _UNTIMED
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._fps = float(rate) if rate and 0 < rate <= _MAX_FPS and not self._untimed else None
        # Frame threading delays each frame by a few: good for a file, bad for a camera. It also loses motion vectors at
        # random: FFmpeg exports those of reordered frames while another thread still decodes them.
        self._stream.thread_type = "AUTO" if medium.kind == "file" and not codec_motion else "SLICE"
        # One reformatter for all frames: otherwise PyAV builds a scaler per frame, 9x slower at 720p.
        self._reformatter = VideoReformatter()
        self._start: int | None = self._stream.start_time
        self._report = DamageReport()
        self._failure: Exception | None = None
        self._stamps = StampClock()
        self._stream_clock = StreamClock()
        self._file_times = FileTimes(medium.name, self._fps)
        self._first_capture_ns: int | None = None
        self._progress_ns = time.monotonic_ns()
        late = is_known_complete_late(self._container.format.name, self._stream.codec_context.name)
        self._arrivals = ArrivalTimes(complete_late=late, opened_ns=self._progress_ns)
        self._packets = 0
        self._end_s = 0.0
        self._frames = self._decode()

    @property
    def fps(self) -> float | None:
        """The container's average rate, or FFmpeg's guess; ``None`` for a live stream without times."""
        return self._fps

    @property
    def has_capture_times(self) -> bool:
        """False for a file, also one on a server; true for cameras, streams and pipes."""
        kind = self._medium.kind
        return kind != "file" and (kind != "network" or self.duration_s is None)

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
        if header.frames > 0:
            return header.frames
        seconds = header.container_s if header.stream_s is None else header.stream_s
        return round(seconds * header.rate) if seconds and seconds > 0 and header.rate else None

    def _read(self) -> Frame | None:
        return next(self._frames, None)

    def interrupt(self) -> None:
        """End the wait for a camera's next frame; reads of a network end by the stall timeout."""
        if self._watch is not None:
            self._watch.interrupt()

    def _release(self) -> None:
        self._frames.close()
        self._container.close()
        self._close_device()

    def _close_device(self) -> None:
        if self._medium.descriptor is not None:
            os.close(self._medium.descriptor)
        if self._watch is not None:
            self._watch.close()

    def _demux(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the stream, then ``None`` to drain the decoder."""
        from av.error import ExitError, FFmpegError

        # A live source is asked for all its streams, so that sound that goes on does not hide a picture that stands.
        wanted = () if self._is_live else (self._stream,)
        packets = cast("Generator[Packet[VideoStream], None, None]", self._container.demux(*wanted))
        try:
            while self._may_read():
                packet = next(packets, None)
                if packet is None:
                    break
                # AVI has empty packets for dropped frames; a decoder would take one for the end.
                if packet.size and packet.stream_index == self._stream.index:
                    self._packets += 1
                    self._arrivals.add(packet.pts, time.monotonic_ns())
                    yield packet
                # Its memory may be the device's: whoever keeps it, as a traceback does, frees it after it was closed.
                del packet
        except ExitError as exc:
            self._failure = without_address(exc)
            self._report.stopped = self._silence()
        except FFmpegError as exc:
            self._failure = without_address(exc)
            self._report.stopped = reason_of(exc)
        except DECODER_FAILURES as exc:
            self._failure = exc.with_traceback(None)
            self._report.stopped = reason_of(exc)
        finally:
            packets.close()
        yield None

    def _may_read(self) -> bool:
        """Whether a read can be expected to return; otherwise the report says why not."""
        if not self._is_live:
            return True
        stalled = time.monotonic_ns() - self._progress_ns > self._medium.stall_s * 1e9
        if not stalled and self._watch is not None:
            match self._watch.wait(self._medium.stall_s):
                case "interrupted":
                    return False
                case "silent":
                    stalled = True
        if stalled:
            self._report.stopped = self._silence()
        return not stalled

    def _silence(self) -> str:
        return f"no frame for {self._medium.stall_s:g} s"

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
            except (FFmpegError, *DECODER_FAILURES) as exc:
                self._lose(exc)
                continue
            del packet
            while pictures:  # and nothing of them is left in this frame, for the same reason
                try:
                    frame = self._frame(pictures.pop(0))
                except (FFmpegError, cv2.error, *DECODER_FAILURES) as exc:
                    self._lose(exc)
                    continue
                yield frame
                del frame
                self._progress_ns = time.monotonic_ns()  # the reader may have waited
        self._report_damage(header)

    def _lose(self, exc: Exception) -> None:
        self._report.lost += 1
        if self._motion:
            self._motion.lost()
        logger.debug("%s: packet %d: %s", self.name, self._packets, reason_of(exc))

    def _frame(self, picture: VideoFrame) -> Frame:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"a picture of {picture.width}x{picture.height} pixels")
        image = self._image(picture)
        report = self._report
        seq = report.frames + report.lost
        report.frames += 1
        report.flawed += picture.is_corrupt
        capture_ns = self._capture_ns(picture)
        pts_ns = self._presentation_ns(picture, capture_ns)
        if pts_ns is not None and self._medium.kind == "file":
            pts_ns = self._file_times.follow(pts_ns, seq)
        if pts_ns is not None:
            self._end_s = max(self._end_s, pts_ns / 1e9 + (1 / self.fps if self.fps else 0.0))
        return Frame(
            image=image,
            seq=seq,
            capture_ns=capture_ns,
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

    def _capture_ns(self, picture: VideoFrame) -> int:
        match self._medium.kind:
            case "camera":
                stamp_ns = self._stamp_ns(picture, origin=0)
                return self._stamps.capture_ns(stamp_ns, self._arrivals.of(picture.pts))
            case "network":
                stamp_ns = None if self._untimed else self._stamp_ns(picture, origin=0)
                return self._stream_clock.capture_ns(stamp_ns, self._arrivals.of(picture.pts))
            case _:
                return time.monotonic_ns()

    def _presentation_ns(self, picture: VideoFrame, capture_ns: int) -> int | None:
        if self._untimed:
            if self._first_capture_ns is None:
                self._first_capture_ns = capture_ns
            return capture_ns - self._first_capture_ns
        if self._start is None:
            self._start = picture.pts
        return self._stamp_ns(picture, origin=self._start or 0)

    def _stamp_ns(self, picture: VideoFrame, *, origin: int) -> int | None:
        # Frames drained from the decoder have no time base of their own.
        base = picture.time_base or self._stream.time_base
        if picture.pts is None or base is None:
            return None
        return round(Fraction(picture.pts - origin) * base * 10**9)

    def _report_damage(self, header: ContainerHeader) -> None:
        if self._medium.kind == "file" and self._report.frames:
            self._report.shortfall = header.shortfall(self._packets, self._end_s)
        damage = self.damaged
        if damage is None:
            return
        if self._is_live and self._report.stopped:
            raise VideoDecodeError(
                f"{self.name}: the stream was interrupted ({damage}); open it again"
            ) from self._failure
        if self._report.frames == 0 or self._strict:
            raise VideoDecodeError(f"{self.name} is damaged: {damage}; copy or record it again") from self._failure
        logger.warning("%s is damaged: %s", self.name, damage)


def _rotation(picture: VideoFrame) -> int | None:
    # PyAV 12 does not give the rotation; its frames stay as stored.
    degrees = getattr(picture, "rotation", 0)
    return _ROTATIONS.get(round(degrees) % 360) if math.isfinite(degrees) else None


def _export_motion(stream: VideoStream, medium: Medium) -> CodecMotion:
    decoder = stream.codec_context.name
    check_codec(medium.name, decoder)
    stream.codec_context.options = {**stream.codec_context.options, **DECODER_OPTIONS}
    return CodecMotion(decoder)
