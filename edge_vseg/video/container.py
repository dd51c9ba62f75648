"""Open a file, device or address with PyAV, and say in words what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_vseg.errors import NoFramesError, VideoDecodeError, VideoError, VideoNotFoundError
from edge_vseg.video.options import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.video.stream import VideoStream

Kind: TypeAlias = Literal["file", "camera", "network", "pipe"]

_ATTACHED_PICTURE = 0x400
DECODER_FAILURES = (ValueError, MemoryError, ArithmeticError, LookupError, RuntimeError, NotImplementedError)
"""What PyAV raises for damaged media besides its own errors."""
MAX_PIXELS = 1 << 27
"""16K video; a damaged header may promise any size, and the decoder would take the memory for it."""


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
        stall_s: Seconds that one read of a network or camera may take.
        descriptor: What its reader closes at the end, of a named pipe; ``None`` for all else.
    """

    address: str
    name: str
    kind: Kind
    format: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S
    stall_s: float = DEFAULT_TIMEOUT_S
    descriptor: int | None = None


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
            timeout=(medium.timeout_s, medium.stall_s) if medium.kind == "network" else None,
            metadata_errors="replace",  # titles in Latin-1 are common
        )
    except FFmpegError as exc:
        raise _open_error(medium, exc, waited_s=time.monotonic() - started) from without_address(exc)
    except DECODER_FAILURES as exc:
        raise VideoDecodeError(f"{medium.name}: cannot be read as a video ({exc}); copy or record it again") from exc
    # FFmpeg renders text files as video.
    if container.format.name == "tty":
        container.close()
        raise VideoDecodeError(f"{medium.name}: expected a video, got a text file; give a video")
    return container


def _open_error(medium: Medium, exc: FFmpegError, *, waited_s: float) -> VideoError:
    from av.error import EOFError as EndOfStream
    from av.error import ExitError, HTTPNotFoundError

    name, reason = medium.name, reason_of(exc)
    match medium.kind:
        case "file" if isinstance(exc, EndOfStream):
            return NoFramesError(f"{name}: the file ends before its first frame; copy or record it again")
        case "file":
            return VideoDecodeError(
                f"{name}: cannot be read as a video ({reason}); if the recording or download was interrupted, its"
                " index is missing: record or download it again"
            )
        case "pipe":
            return VideoDecodeError(
                f"{name}: cannot be read as a video ({reason}); write y4m, Matroska or Motion JPEG, or name size and"
                " pixel format of raw frames: stdin:640x480:bgr24"
            )
        case "camera" if isinstance(exc, FileNotFoundError):
            return VideoNotFoundError(f"{name}: there is no such camera; check the cable")
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


def video_stream(container: InputContainer, medium: Medium) -> VideoStream:
    """The first video stream that is not a cover picture.

    Raises:
        VideoDecodeError: If there is none, or its codec is unknown.
    """
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


def reason_of(exc: Exception) -> str:
    """What FFmpeg or PyAV says went wrong, without the address."""
    from av.error import FFmpegError

    # Not str(exc), which repeats the address with its password.
    text = exc.strerror if isinstance(exc, FFmpegError) else str(exc)
    return text or type(exc).__name__


def without_address(exc: FFmpegError) -> FFmpegError:
    """The same error without the address and FFmpeg's log line: a traceback shows both, and so a password.

    Without its traceback, too, which would keep the decoder and its threads as long as the error is kept.
    """
    exc.args = exc.args[:2]
    return exc.with_traceback(None)
