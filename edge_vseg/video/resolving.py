"""From what the caller names to how it is opened: one table for all kinds of sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from edge_vseg.errors import NoFramesError, OptionError, VideoNotFoundError
from edge_vseg.video.address import (
    LIVE_SCHEMES,
    pipeline_name,
    public_address,
    scheme_of,
    split_address,
    stream_options,
)
from edge_vseg.video.bag import find_bag, open_bag_source
from edge_vseg.video.cameras.csi import open_csi, parse_csi
from edge_vseg.video.cameras.gstreamer import GStreamerSource, full_pipeline
from edge_vseg.video.cameras.ros_topic import open_topic, parse_topic
from edge_vseg.video.cameras.standard_input import is_standard_input, standard_input
from edge_vseg.video.cameras.v4l2_options import read_v4l2_query
from edge_vseg.video.container import Medium
from edge_vseg.video.ffmpeg_options import warn_of_unknown
from edge_vseg.video.images import ImageSource, is_image, list_images
from edge_vseg.video.options import InputOptions
from edge_vseg.video.paths import check_exists, natural_key, open_written_pipe, read_head
from edge_vseg.video.port import Source
from edge_vseg.video.stream import StreamSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """How a source is opened, as often as needed.

    Attributes:
        name: For messages, without credentials.
        open: Opens it.
        open_plain: Opens it without the codec's motion vectors, where these are asked for and the codec decides.
        pace: A ``camera`` has its own, a ``recording`` none, a ``pipe`` that of the program at its other end, and
            ``undeclared`` is a camera's if the source declares no duration once it is open. A ``topic`` buffers its
            images itself and never ends.
        is_paced: Whether its address asks for a recording to be played in real time.
        has_times: Whether it can be.
    """

    name: str
    open: Callable[[], Source]
    pace: Literal["camera", "recording", "pipe", "topic", "undeclared"]
    is_paced: bool = False
    has_times: bool = True
    open_plain: Callable[[], Source] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What is asked of each frame of a source, whatever its kind.

    Attributes:
        strict: Raise at the end of a damaged file.
        image_fps: Frames per second of still images.
        codec_motion: Give frames the motion vectors of their codec.
        input: How it is opened.
    """

    strict: bool
    image_fps: float | None
    codec_motion: bool
    input: InputOptions


def resolve(source: str | Path | int | Sequence[str | Path], options: ReadOptions) -> SourcePlan:
    """Find out what a path, number, address or list of images means; nothing is opened yet.

    An option for FFmpeg that none of its inputs is known to have is named in a warning.

    Raises:
        VideoNotFoundError: If there is no such path.
        VideoDecodeError: If a file cannot be read, is empty, or a Git-LFS pointer.
        NoFramesError: If a folder or list holds no image.
        OptionError: If an address is malformed or not supported, or images are to have motion vectors.
    """
    warn_of_unknown(options.input.ffmpeg)
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _images(_check_images([Path(item) for item in source]), options)
    if isinstance(source, str) and "://" in source:
        source = source.strip()
    camera = _camera_path(source)
    if camera is not None:
        return _camera(camera, {}, options)
    if isinstance(source, str):
        if is_standard_input(source):
            return _stream(standard_input(source, options.input), "pipe", options)
        plan = _by_scheme(source, options)
        if plan is not None:
            return plan
    if (bag := find_bag(source)) is not None:
        name = str(bag[0])
        return SourcePlan(
            name=name, open=lambda: open_bag_source(bag, codec_motion=options.codec_motion), pace="recording"
        )
    return _path(Path(source), options)  # type: ignore[arg-type]


def _by_scheme(source: str, options: ReadOptions) -> SourcePlan | None:
    """A plan for an address with a scheme; ``None`` for a path."""
    prefix, colon, rest = source.partition(":")
    match prefix.lower() if colon else "":
        case "file":
            return _file(source, options)
        case "v4l2" if rest.startswith("//"):
            return _v4l2(source, options)
        case "csi" if rest.startswith("//"):
            return _csi(source, options)
        case "gst":
            return _gstreamer(rest, options)
        case "ros2":
            return _topic(source, options)
        case _:
            return _network(source, options)


def _network(source: str, options: ReadOptions) -> SourcePlan | None:
    scheme = scheme_of(source)
    if scheme is None:
        return None
    medium = Medium(
        address=source,
        name=public_address(source),
        kind="network",
        options=stream_options(scheme) | dict(options.input.ffmpeg),
        timeout_s=options.input.timeout_s,
        stall_s=options.input.stall_s,
    )
    return _stream(medium, "camera" if scheme in LIVE_SCHEMES else "undeclared", options)


def _stream(
    medium: Medium, pace: Literal["camera", "recording", "pipe", "undeclared"], options: ReadOptions
) -> SourcePlan:
    def open_stream(*, codec_motion: bool = options.codec_motion) -> Source:
        return StreamSource(medium, strict=options.strict, codec_motion=codec_motion)

    return SourcePlan(name=medium.name, open=open_stream, pace=pace, open_plain=_plain(open_stream, options))


def _plain(opener: Callable[..., Source], options: ReadOptions) -> Callable[[], Source] | None:
    return partial(opener, codec_motion=False) if options.codec_motion else None


def _camera(path: Path, query: dict[str, str], options: ReadOptions) -> SourcePlan:
    medium = Medium(
        address=str(path),
        name=str(path),
        kind="camera",
        format="v4l2",
        options=query | dict(options.input.ffmpeg),
        stall_s=options.input.stall_s,
    )

    def open_camera(*, codec_motion: bool = options.codec_motion) -> Source:
        _check_camera(path)
        return StreamSource(medium, strict=options.strict, codec_motion=codec_motion)

    return SourcePlan(name=medium.name, open=open_camera, pace="camera", open_plain=_plain(open_camera, options))


def _v4l2(source: str, options: ReadOptions) -> SourcePlan:
    """``v4l2:///dev/video0?video_size=640x480&framerate=30``: the query is FFmpeg's options."""
    parts = split_address(source)
    device = unquote(parts.path) if not parts.netloc else f"/dev/{parts.netloc}"
    if not device:
        raise OptionError(f"{source}: expected v4l2://DEVICE, such as v4l2:///dev/video0")
    return _camera(Path(device), read_v4l2_query(parts.query, source), options)


def _csi(source: str, options: ReadOptions) -> SourcePlan:
    parse_csi(source)
    _refuse_motion(source, options)
    return SourcePlan(name=source, open=lambda: open_csi(source, options.input), pace="camera")


def _gstreamer(pipeline: str, options: ReadOptions) -> SourcePlan:
    full_pipeline(pipeline)
    name = pipeline_name(pipeline)
    _refuse_motion(name, options)

    def open_pipeline() -> Source:
        return GStreamerSource(pipeline, name=name, timeout_s=options.input.timeout_s, stall_s=options.input.stall_s)

    return SourcePlan(name=name, open=open_pipeline, pace="camera")


def _topic(source: str, options: ReadOptions) -> SourcePlan:
    name = f"ros2:{parse_topic(source).topic}"
    _refuse_motion(name, options)
    return SourcePlan(name=name, open=lambda: open_topic(source, options.input), pace="topic")


def _file(source: str, options: ReadOptions) -> SourcePlan:
    """``file:drive.mp4``, ``file:///home/me/drive.mp4``, and ``?live`` behind it."""
    rest = source.partition(":")[2]
    path, mark, query = rest.removeprefix("//").partition("?")
    if mark and query not in ("live", ""):
        raise OptionError(f"{source}: after ? expected live, got {query!r}; write a ? in a file name as %3F")
    plan = _path(Path(unquote(path)), options)
    return SourcePlan(
        name=plan.name, open=plan.open, pace=plan.pace, is_paced=query == "live", has_times=plan.has_times
    )


def _path(path: Path, options: ReadOptions) -> SourcePlan:
    check_exists(path)
    if path.is_dir():
        return _images(list_images(path), options)
    if is_image(path):
        return _images([path], options)
    if path.is_fifo():
        return _named_pipe(path, options)
    read_head(path)
    # Absolute: FFmpeg takes the part of a relative name before a colon for a protocol.
    medium = Medium(address=str(path.absolute()), name=str(path), kind="file", options=options.input.ffmpeg)
    return _stream(medium, "recording", options)


def _named_pipe(path: Path, options: ReadOptions) -> SourcePlan:
    def open_pipe() -> Source:
        descriptor = open_written_pipe(path, options.input.timeout_s)
        medium = Medium(
            address=f"pipe:{descriptor}",
            name=str(path),
            kind="pipe",
            options=options.input.ffmpeg,
            descriptor=descriptor,
        )
        return StreamSource(medium, strict=options.strict, codec_motion=options.codec_motion)

    return SourcePlan(name=str(path), open=open_pipe, pace="pipe")


def _images(paths: list[Path], options: ReadOptions) -> SourcePlan:
    name = str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
    if options.codec_motion:
        raise OptionError(
            f"{name}: images have no codec motion vectors; give a video, or use optical flow (--set motion=dis)"
        )
    return SourcePlan(
        name=name,
        open=lambda: ImageSource(paths, name=name, fps=options.image_fps),
        pace="recording",
        has_times=options.image_fps is not None,
    )


def _check_images(paths: list[Path]) -> list[Path]:
    if not paths:
        raise NoFramesError("the list of images is empty; give at least one")
    non_images = [str(path) for path in paths if not is_image(path)]
    if non_images:
        raise OptionError(f"a list of sources may contain images only, got {non_images[0]}; open videos one at a time")
    return paths


def _refuse_motion(name: str, options: ReadOptions) -> None:
    if options.codec_motion:
        raise OptionError(f"{name}: it gives no codec motion vectors; use optical flow (--set motion=dis)")


def _camera_path(source: str | Path | int) -> Path | None:
    """The device path of a camera given by number or path; ``None`` for other sources."""
    if isinstance(source, int):
        path = Path(f"/dev/video{source}")
    elif isinstance(source, str) and re.fullmatch(r"[0-9]{1,9}", source):
        path = Path(f"/dev/video{int(source)}")
    else:
        path = Path(source)
        if not (path.match("/dev/video*") or path.match("/dev/v4l/*/*") or _is_device(path)):
            return None
    return path


def _is_device(path: Path) -> bool:
    try:
        return path.is_char_device()
    except OSError:  # an address may be too long for a file's name
        return False


def _check_camera(path: Path) -> None:
    if not path.exists():
        cameras = sorted((str(item) for item in Path("/dev").glob("video*")), key=natural_key)
        hint = f"found {', '.join(cameras)}" if cameras else "no camera is connected"
        raise VideoNotFoundError(f"there is no camera {path}; {hint}")
