"""Open a source of frames by path, number, address or list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge_vseg.errors import NoFramesError, OptionError, VideoNotFoundError
from edge_vseg.video.address import LIVE_SCHEMES, public_address, scheme_of, stream_options
from edge_vseg.video.images import ImageSource, is_image, list_images
from edge_vseg.video.live import LatestSource, Pacer
from edge_vseg.video.paths import check_exists, natural_key, read_head
from edge_vseg.video.port import Source
from edge_vseg.video.stream import DEFAULT_TIMEOUT_S, Medium, StreamSource


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """How FFmpeg opens a video, camera or stream.

    Attributes:
        timeout_s: Seconds that a network source may take to answer.
        ffmpeg: Options of FFmpeg's input format, such as ``{"video_size": "640x480"}`` for a camera.
    """

    timeout_s: float = DEFAULT_TIMEOUT_S
    ffmpeg: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise OptionError if the timeout is not positive."""
        if not self.timeout_s > 0:
            raise OptionError(
                f"timeout_s must be positive, got {self.timeout_s}; give the seconds to wait for an answer"
            )


DEFAULT_INPUT_OPTIONS = InputOptions()


def open_source(
    source: str | Path | int | Sequence[str | Path],
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
    ``"drive.mp4"``                         video file, anything that FFmpeg reads
    ``"frames/"``, ``["a.png", "b.png"]``   images, in natural order of their names, or in the order given
    ``"sign.jpg"``                          one image
    ``0``, ``"0"``, ``"/dev/video0"``       V4L2 camera
    ``"rtsp://…"``, ``"udp://…"``           live stream
    ``"http://…"``                          file, or a live stream when it has no duration
    ======================================  ===================================================================

    A thread reads a live source and keeps only the newest frame, so a slow reader never lags; dropped frames leave gaps
    in ``seq``. ``live=True`` plays a recording the same way, in real time.

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
        input_options: Network timeout and FFmpeg's own options.

    Returns:
        An iterator of :class:`~edge_vseg.types.Frame` and context manager.

    Raises:
        VideoNotFoundError: If there is nothing at that path or address.
        VideoDecodeError: If it is not a video, or has no video stream.
        NoFramesError: If a folder holds no image.
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
    media = _resolve(source, input_options)
    opened: Source
    if isinstance(media, Medium):
        opened = stream = StreamSource(media, strict=strict, codec_motion=codec_motion)
        is_live = media.kind == "camera" or (media.kind == "network" and _is_endless(media, stream))
    elif codec_motion:
        raise OptionError(
            f"{_list_name(media)}: images have no codec motion vectors; give a video, or use optical flow"
            " (--set motion=dis)"
        )
    else:
        opened, is_live = ImageSource(media, name=_list_name(media), fps=image_fps), False
    if live is False or not (live or is_live):
        return opened.limit(max_frames)
    if not is_live and isinstance(opened, ImageSource) and image_fps is None:
        raise OptionError(f"{opened.name}: images have no times; to play them live, set image_fps (frames per second)")
    return LatestSource(opened, pacer=None if is_live else Pacer()).limit(max_frames)


def _resolve(source: str | Path | int | Sequence[str | Path], input_options: InputOptions) -> Medium | list[Path]:
    """Resolve the source: a medium for PyAV, or image files."""
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _check_images([Path(item) for item in source])
    options = input_options.ffmpeg
    camera = _camera_path(source)
    if camera is not None:
        return Medium(address=str(camera), name=str(camera), kind="camera", format="v4l2", options=options)
    if isinstance(source, str):
        if source.lower().startswith("file://"):
            source = unquote(urlsplit(source).path)
        scheme = scheme_of(source)
        if scheme is not None:
            return Medium(
                address=source,
                name=public_address(source),
                kind="network",
                options=stream_options(scheme) | dict(options),
                timeout_s=input_options.timeout_s,
            )
    path = Path(source)  # type: ignore[arg-type]
    check_exists(path)
    if path.is_dir():
        return list_images(path)
    if is_image(path):
        return [path]
    if path.is_file():  # reading ahead would lose the start of a pipe
        read_head(path)
    # Absolute: FFmpeg takes the part of a relative name before a colon for a protocol.
    return Medium(address=str(path.absolute()), name=str(path), kind="file", options=options)


def _check_images(paths: list[Path]) -> list[Path]:
    if not paths:
        raise NoFramesError("the list of images is empty; give at least one")
    non_images = [str(path) for path in paths if not is_image(path)]
    if non_images:
        raise OptionError(f"a list of sources may contain images only, got {non_images[0]}; open videos one at a time")
    return paths


def _list_name(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else str(paths[0].parent)


def _camera_path(source: str | Path | int) -> Path | None:
    """The device path of a camera given by number or path; ``None`` for other sources."""
    if isinstance(source, int):
        path = Path(f"/dev/video{source}")
    elif isinstance(source, str) and re.fullmatch(r"[0-9]+", source):
        path = Path(f"/dev/video{int(source)}")
    else:
        path = Path(source)
        if not (path.match("/dev/video*") or path.is_char_device()):
            return None
    if not path.exists():
        cameras = sorted((str(item) for item in Path("/dev").glob("video*")), key=natural_key)
        hint = f"found {', '.join(cameras)}" if cameras else "no camera is connected"
        raise VideoNotFoundError(f"there is no camera {path}; {hint}")
    return path


def _is_endless(medium: Medium, opened: StreamSource) -> bool:
    return scheme_of(medium.address) in LIVE_SCHEMES or opened.duration_s is None
