"""The clip that trials run on: frames, and for each the map that it is judged by."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame, follows
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Precision, Variant
from edge_vseg.bundle.reading import file_sha256
from edge_vseg.errors import BackendError, NoFramesError, OptionError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.input_files import read_regular
from edge_vseg.runtimes.installed_versions import installed_versions
from edge_vseg.scheduling.policies import EveryFrame
from edge_vseg.types import IGNORE_ID, LabelMap, Size
from edge_vseg.video import open_source
from edge_vseg.video.address import without_credentials
from edge_vseg.video.bag import find_bag
from edge_vseg.video.images import MAX_IMAGE_BYTES

PRECISIONS: tuple[Precision, ...] = ("float", "float16", "int8")
"""Of the reference: the first that the network has."""
LEAST_FRAMES = 8
"""Fewer labelled frames are no video to tune on."""
LEAST_SHARE = 0.001
"""Classes that cover less of what a network sees are mostly its mistakes, and would count as much as the road."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Frames and the maps that they are judged by, as files.

    Attributes:
        frames: Video or folder of images.
        truth: Maps of all of them; see :func:`write_truth`.
        count: Number of frames.
        size_hw: Their size.
        judged_by: What the maps are, in words.
        least_share: Classes that cover less than this share of the maps do not count for the quality.
    """

    frames: Path
    truth: Path
    count: int
    size_hw: Size
    judged_by: str
    least_share: float = 0.0


def read_clip(frames: Path, truth: Path, count: int) -> Iterator[LabelledFrame]:
    """The frames of a clip, each with its map.

    Raises:
        OptionError: If the maps are of another number or size of frames.
    """
    maps = read_truth(truth)
    with open_source(str(frames), max_frames=count) as source:
        number = -1
        for number, frame in enumerate(source):
            if number >= len(maps) or maps[number].shape != frame.image.shape[:2]:
                raise OptionError(f"the maps in {truth} are not of the frames in {frames}; remove them, and tune again")
            time_s = None if frame.pts_ns is None else frame.pts_ns / 1e9
            yield LabelledFrame(image=frame.image, labels=maps[number], time_s=time_s)
    if number + 1 != len(maps):
        raise OptionError(f"{frames} has {number + 1} frames and {truth} has {len(maps)}; remove it, and tune again")


def longest_clip(frames: Iterable[LabelledFrame], name: str) -> list[LabelledFrame]:
    """The longest run of frames that follow each other and has labels.

    Raises:
        OptionError: If it has fewer than :data:`LEAST_FRAMES`: a dataset of single images is no video.
    """
    runs: list[list[LabelledFrame]] = []
    for frame in frames:
        if not runs or not follows(runs[-1][-1], frame):
            runs.append([])
        runs[-1].append(frame)
    labelled = [run for run in runs if any((frame.labels != IGNORE_ID).any() for frame in run)]
    longest = max(labelled, key=len, default=[])
    if len(longest) < LEAST_FRAMES:
        raise OptionError(
            f"{name} has no recording of at least {LEAST_FRAMES} frames with labels among those that were read; give"
            " video with labels (in the layout folder, a subfolder for each recording), more --max-frames, or --frames"
        )
    return longest


def labelled_clip(frames: Sequence[LabelledFrame], folder: Path, name: str) -> Clip:
    """A clip of labelled frames of one size, written as PNG files and maps into a folder named by their content."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.image.tobytes() + frame.labels.tobytes())
    place = folder / digest.hexdigest()[:24]
    height, width = frames[0].labels.shape
    clip = Clip(
        frames=place / "frames",
        truth=place / "truth.npz",
        count=len(frames),
        size_hw=(height, width),
        judged_by=f"labels of {name}",
    )
    if not clip.truth.is_file():  # it is written last
        make_folder(clip.frames)
        for number, frame in enumerate(frames):
            _, data = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            write_whole(clip.frames / f"{number:06d}.png", data.tobytes(), flush="system")
        write_truth(clip.truth, [frame.labels for frame in frames])
    return clip


def copied_recording(images: Sequence[Path], folder: Path) -> Path:
    """Copies of the images of a recording, in a folder of their own that is named by their content.

    They are numbered in their order: a dataset may have several recordings in a folder, or none in the order of names.

    Raises:
        OptionError: If an image cannot be read.
        OutputError: If a copy cannot be written.
    """
    digest = hashlib.sha256()
    for image in images:
        digest.update(hashlib.sha256(_image_bytes(image)).digest())
    place = folder / digest.hexdigest()[:24]
    make_folder(place)
    for number, image in enumerate(images):
        copy = place / f"{number:06d}{image.suffix.lower()}"
        if not copy.is_file():
            write_whole(copy, _image_bytes(image), flush="system")
    return place


def _image_bytes(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_IMAGE_BYTES)
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror}; copy the dataset again") from exc


def reference_clip(
    video: Path,
    max_frames: int | None,
    network: Bundle,
    folder: Path,
    threads: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Clip:
    """A clip of a video, judged by a network that infers every frame in the best precision that it has.

    The maps are made once for each video and network.

    Raises:
        NoFramesError: If the video has none.
        BackendError: If no variant of the network can be opened.
    """
    variant = reference_variant(network)
    check_video(video)
    facts = f"{content_sha256(video)} {max_frames} {network.sha256} {variant.id} {installed_versions([variant])}"
    key = hashlib.sha256(facts.encode()).hexdigest()
    truth = folder / f"{key[:24]}.npz"
    said = f"{network.manifest.name}, {variant.id}, on every frame"
    if truth.is_file():
        return _judged_clip(video, truth, list(read_truth(truth)), said)
    maps: list[LabelMap] = []
    options = RuntimeOptions(variant=variant.id, threads=threads)
    with (
        open_source(str(video), max_frames=max_frames) as source,
        options.open_segmenter(network.root, EveryFrame()) as segmenter,
    ):
        for frame in source:
            maps.append(segmenter(frame).labels.copy())
            if maps[-1].shape != maps[0].shape:
                raise OptionError(
                    f"frame {len(maps) - 1} of {video} has another size than those before it; give one size"
                )
            progress(len(maps))
    if not maps:
        raise NoFramesError(f"{video} has no frames; give another video")
    make_folder(folder)
    write_truth(truth, maps)
    return _judged_clip(video, truth, maps, said)


def _judged_clip(video: Path, truth: Path, maps: Sequence[LabelMap], judged_by: str) -> Clip:
    height, width = maps[0].shape
    return Clip(
        frames=video,
        truth=truth,
        count=len(maps),
        size_hw=(height, width),
        judged_by=judged_by,
        least_share=LEAST_SHARE,
    )


def reference_variant(network: Bundle) -> Variant:
    """The variant that others are judged by: float before float16 before int8, of those that open on this machine.

    Raises:
        BackendError: If none does.
    """
    refused: dict[str, str] = {}
    for variant in sorted(network.manifest.variants, key=lambda variant: PRECISIONS.index(variant.precision)):
        try:
            RuntimeOptions(variant=variant.id, threads=1).open_segmenter(network.root, EveryFrame()).close()
            return variant
        except BackendError as exc:
            refused[variant.id] = str(exc)
    raise BackendError(f"no variant of {network.root} opens here: {'; '.join(map(': '.join, refused.items()))}")


def check_video(video: Path) -> None:
    """Raise OptionError if a video is no file or folder, or one topic of several: trials must see the same frames."""
    bag = find_bag(video)
    if bag is not None and bag[1]:
        raise OptionError(
            f"{video}: tuning reads a recording whose only camera is on one topic; copy {bag[1]} into a recording of"
            " its own, or give a video"
        )
    if not video.exists():
        address = re.sub(r"^([a-z0-9+]+:)/(?!/)", r"\1//", str(video))  # as it was before it became a path
        raise OptionError(
            f"{without_credentials(address)} does not exist; give a video file or a folder of images, and record a"
            " camera or stream first"
        )


def write_truth(path: Path, maps: list[LabelMap]) -> None:
    """Write label maps ``(H, W)`` uint8 of one size as one compressed file, atomically."""
    partial = path.with_name(f".{path.name}.partial.npz")
    np.savez_compressed(partial, maps=np.stack(maps))
    partial.replace(path)


def read_truth(path: Path) -> NDArray[np.uint8]:
    """The maps that :func:`write_truth` wrote, ``(N, H, W)`` uint8.

    Raises:
        OptionError: If the file is damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            maps = arrays["maps"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise OptionError(f"the maps in {path} are damaged: {exc}; remove the file, and tune again") from exc
    if maps.ndim != 3 or maps.dtype != np.uint8:
        raise OptionError(f"the maps in {path} are {maps.dtype} of shape {maps.shape}; remove the file, and tune again")
    return np.asarray(maps)


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        OptionError: If it does not exist.
    """
    check_video(path)
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if each.is_file():
            digest.update(f"{each.relative_to(path)} {file_sha256(each)}".encode())
    return digest.hexdigest()
