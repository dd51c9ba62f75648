"""The manifest of a bundle, and its consistency checks."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

import msgspec

from edge_vseg.bundle.manifest.schedule import ScheduleSpec
from edge_vseg.bundle.manifest.tensors import FrameSpec, HeadSpec, Label, Sha256, Spec
from edge_vseg.bundle.manifest.variants import FailedVariant, TileGraph, Variant
from edge_vseg.errors import ManifestError
from edge_vseg.types import ColorOrder


class SampledFrame(Spec, frozen=True, kw_only=True):
    """A frame of a sample video: file name, frame number, presentation time."""

    file: str
    seq: int
    time_s: float | None


class CalibrationSpec(Spec, frozen=True, kw_only=True):
    """The calibration set and the validation set.

    ``sha256`` covers the pixels of both sets as the bundle was exported. ``validation_sha256`` is that of the sample
    that an update validated on instead; ``None`` if there was none.
    """

    frames: tuple[SampledFrame, ...] = ()
    validation_frames: tuple[SampledFrame, ...] = ()
    sha256: Sha256 | None = None
    validation_sha256: Sha256 | None = None
    seed: int = 0
    seen: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)


class SourceSpec(Spec, frozen=True, kw_only=True):
    """The trained network that the bundle was made from.

    ``agreement`` is the share of pixels that the canonical float graph and the original network label alike, on
    validation frames; ``noise_agreement`` is the share that the float graph labels alike when every channel of every
    pixel changes by at most one grey level, so what may be asked of int8 at most; ``mean``, ``scale`` and ``color`` are
    what the network expects; ``frame_color`` is the channel order that the bundle's graphs take; ``output`` names the
    one taken of several outputs.
    """

    name: str
    kind: Literal["torch", "onnx", "tflite", "openvino", "reference"]
    sha256: Sha256
    macs: int | None = None
    parameters: int | None = None
    agreement: float | None = None
    noise_agreement: float | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    color: ColorOrder = "rgb"
    frame_color: ColorOrder = "bgr"
    output: str = ""


class FileSpec(Spec, frozen=True, kw_only=True):
    """Size and hash of one file."""

    bytes: int
    sha256: Sha256


class Manifest(Spec, frozen=True, kw_only=True):
    """The content of ``manifest.json``."""

    schema_version: int
    name: str
    labels: tuple[Label, ...]
    frame: FrameSpec
    head: HeadSpec
    source: SourceSpec
    variants: tuple[Variant, ...]
    calibration: CalibrationSpec
    files: dict[str, FileSpec]
    failed: tuple[FailedVariant, ...] = ()
    made_with: dict[str, str] = msgspec.field(default_factory=dict)
    made_on: dict[str, str] = msgspec.field(default_factory=dict)
    schedule: ScheduleSpec | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if parts of the manifest contradict each other."""
        _check_labels(self)
        for path in self.files:
            _check_path(path)
        ids = [v.id for v in self.variants] + [failure.id for failure in self.failed]
        if len(set(ids)) != len(ids):
            raise ValueError(f"variant ids are not unique: {ids}")
        for variant in self.variants:
            _check_variant(self, variant)
        if self.schedule is not None and self.schedule.variant not in ("", *(each.id for each in self.variants)):
            raise ValueError(f"the schedule wants variant {self.schedule.variant!r}, which the bundle does not have")

    def variant(self, variant_id: str) -> Variant:
        """Get a variant by id.

        Raises:
            ManifestError: If there is none; the message lists the ids.
        """
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        known = ", ".join(v.id for v in self.variants)
        for failure in self.failed:
            if failure.id == variant_id:
                raise ManifestError(f"bundle {self.name!r} has no {variant_id!r}, {failure.message}; it has: {known}")
        raise ManifestError(f"bundle {self.name!r} has no variant {variant_id!r}; it has: {known}")


def _check_labels(manifest: Manifest) -> None:
    ids = [label.id for label in manifest.labels]
    if ids != list(range(len(ids))) or len(ids) < 2:
        raise ValueError(f"label ids must count up from 0 without gaps, for at least two classes, got {ids}")


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    odd = any(mark in path for mark in "\\:") or not path.isprintable()
    if pure.is_absolute() or ".." in pure.parts or path != str(pure) or not pure.parts or odd:
        raise ValueError(f"path {path!r} is not a plain relative path inside the bundle")


def _check_variant(manifest: Manifest, variant: Variant) -> None:
    if variant.entry not in variant.files:
        raise ValueError(f"variant {variant.id!r}: entry {variant.entry!r} is not among its files")
    for path in variant.files:
        if path not in manifest.files:
            raise ValueError(f"variant {variant.id!r}: file {path!r} is not in the list of files")
    if variant.input.hwc != (*manifest.frame.size_hw, 3):
        raise ValueError(
            f"variant {variant.id!r} takes {variant.input.layout} {variant.input.shape}, not a frame of"
            f" {manifest.frame.size_hw[0]}x{manifest.frame.size_hw[1]}x3"
        )
    classes, channels = len(manifest.labels), variant.output.hwc[2]
    expected = {"scores": classes, "foreground": 1, "labels": 1}[manifest.head.kind]
    if channels != expected:
        raise ValueError(
            f"variant {variant.id!r} gives {channels} channels but the {classes} labels need {expected}"
            f" for a head of kind {manifest.head.kind!r}"
        )
    height, width = manifest.head.size_hw
    flat = variant.output.layout == "flat"
    if variant.output.hwc[:2] != ((0, height * width) if flat else (height, width)):
        raise ValueError(f"variant {variant.id!r} gives {variant.output.shape}, the head promises {height}x{width}")
    _check_slices(variant)
    if variant.tile is not None:
        _check_tile(manifest, variant, variant.tile)


def _check_slices(variant: Variant) -> None:
    known = {variant.input.name: variant.input}
    for number, part in enumerate(variant.slices):
        if part.entry not in variant.files:
            raise ValueError(f"variant {variant.id!r}: slice {part.entry!r} is not among its files")
        for tensor in part.inputs:
            given = known.get(tensor.name)
            if given is None or (given.shape, given.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(
                    f"variant {variant.id!r}: no earlier output {tensor.name!r} matches the input of slice {number}"
                )
        known |= {tensor.name: tensor for tensor in part.outputs}
    if variant.slices and variant.output not in variant.slices[-1].outputs:
        raise ValueError(f"variant {variant.id!r}: the last slice does not give the variant's output")
    if variant.context is not None:
        first, last = variant.context
        if not 0 <= first < last < len(variant.slices):
            raise ValueError(
                f"variant {variant.id!r}: a context of slices {first} to {last} of {len(variant.slices)} leaves"
                " nothing after it"
            )


def _check_tile(manifest: Manifest, variant: Variant, tile: TileGraph) -> None:
    """Check that a tile graph takes a crop of the variant's input and has the same output stride."""
    if tile.entry not in variant.files:
        raise ValueError(f"variant {variant.id!r}: tile {tile.entry!r} is not among its files")
    if manifest.head.kind == "labels":
        raise ValueError(f"variant {variant.id!r} has a tile graph, but its head gives finished label maps")
    for part, whole in ((tile.input, variant.input), (tile.output, variant.output)):
        same = msgspec.structs.replace(part, name=whole.name, shape=whole.shape)
        if same != whole or len(part.shape) != 4 or part.hwc[2] != whole.hwc[2]:
            raise ValueError(f"variant {variant.id!r}: {part.name!r} of its tile is not a smaller {whole.name!r}")
    frame, cells = variant.input.hwc, variant.output.hwc
    crop, given = tile.input.hwc, tile.output.hwc
    for side in (0, 1):
        if crop[side] > frame[side] or crop[side] <= 2 * tile.halo:
            raise ValueError(
                f"variant {variant.id!r}: a tile of {crop[0]}x{crop[1]} with a halo of {tile.halo} is no part of a"
                f" frame of {frame[0]}x{frame[1]}"
            )
        stride = frame[side] // cells[side]
        if stride * cells[side] != frame[side] or stride * given[side] != crop[side] or tile.halo % stride:
            raise ValueError(
                f"variant {variant.id!r}: {given[0]}x{given[1]} scores of a tile of {crop[0]}x{crop[1]}, halo"
                f" {tile.halo}, do not fall on those of the frame, {cells[0]}x{cells[1]} of {frame[0]}x{frame[1]}"
            )
