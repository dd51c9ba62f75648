"""The manifest of a bundle: its schema, and reading and writing it strictly.

Strict means: unknown keys, duplicate keys, NaN and infinities, wrong types and values that contradict
each other are all refused, with the path of the offending value in the message.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from edge_vseg.errors import ManifestError, SchemaVersionError
from edge_vseg.types import ColorOrder

SCHEMA_VERSION = 1

DType: TypeAlias = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Layout: TypeAlias = Literal["NHWC", "NCHW", "NHW", "flat"]
Precision: TypeAlias = Literal["int8", "float", "float16"]
Status: TypeAlias = Literal["ok", "drop", "slower-than-float", "failed"]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record in the manifest: immutable, keyword-only, closed."""


class Label(Spec, frozen=True, kw_only=True):
    """One class: its id in label maps, its name, and its colour as ``(R, G, B)``."""

    id: Annotated[int, msgspec.Meta(ge=0, le=254)]
    name: str
    color: tuple[Byte, Byte, Byte]


class FrameSpec(Spec, frozen=True, kw_only=True):
    """What a frame is turned into before any graph sees it.

    ``color`` is the channel order that the graphs take; ``resize`` the rule that brings a frame of
    another size to ``size_hw``.
    """

    size_hw: tuple[Positive, Positive]
    color: ColorOrder = "bgr"
    resize: Literal["stretch"] = "stretch"


class Quantization(Spec, frozen=True, kw_only=True):
    """``real = (stored - zero_point) * scale``."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        """Refuse a scale that cannot be divided by."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"quantization scale must be positive and finite, got {self.scale}")


class TensorSpec(Spec, frozen=True, kw_only=True):
    """A graph's input or output.

    ``mean`` and ``scale`` are what the device still has to do to an input: ``(pixel - mean) / scale``
    per channel; both empty when the graph normalises by itself.
    """

    name: str
    shape: tuple[Positive, ...]
    dtype: DType
    layout: Layout
    quantization: Quantization | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @property
    def hwc(self) -> tuple[int, int, int]:
        """Height, width and channels, whatever the layout (``flat`` has no height: 0)."""
        match self.layout:
            case "NHWC":
                return self.shape[1], self.shape[2], self.shape[3]
            case "NCHW":
                return self.shape[2], self.shape[3], self.shape[1]
            case "NHW":
                return self.shape[1], self.shape[2], 1
            case "flat":
                return 0, self.shape[1], 1

    def __post_init__(self) -> None:
        """Refuse a shape that does not fit the layout."""
        rank = {"NHWC": 4, "NCHW": 4, "NHW": 3, "flat": 2}[self.layout]
        if len(self.shape) != rank or self.shape[0] != 1:
            raise ValueError(f"{self.layout} needs {rank} dimensions and a batch of 1, got {self.shape}")
        if len(self.mean) != len(self.scale) or len(self.mean) not in (0, 3):
            raise ValueError(
                f"mean has {len(self.mean)} values and scale {len(self.scale)}; give both for all 3 channels, or none"
            )
        if not all(self.scale):
            raise ValueError(f"scale must not hold 0, got {list(self.scale)}")


class HeadSpec(Spec, frozen=True, kw_only=True):
    """What the graphs give, and what was cut off the network's own head to get there.

    ``scores`` are ``C`` channels whose largest wins; ``foreground`` is one channel that wins above
    ``threshold``; ``labels`` is a finished label map.
    """

    kind: Literal["scores", "foreground", "labels"]
    size_hw: tuple[Positive, Positive]
    cut: tuple[str, ...] = ()
    threshold: float = 0.5
    align: Literal["half_pixel", "align_corners", "asymmetric", "nearest"] = "half_pixel"


class ClassIoU(Spec, frozen=True, kw_only=True):
    """IoU of one class between a variant and the float graph; ``None`` where neither shows it."""

    name: str
    iou: float | None


class Parity(Spec, frozen=True, kw_only=True):
    """A variant against the canonical float graph on frames that calibration never saw.

    Latencies were taken where the bundle was made, in one run for all variants of a runtime; ``None``
    where the variant is meant for another kind of machine.
    """

    frames: int
    pixel_agreement: float
    mean_iou: float
    iou: tuple[ClassIoU, ...]
    sqnr_db: float | None
    worst_frame: int
    worst_agreement: float
    latency_ms: float | None
    float_latency_ms: float | None

    @property
    def speedup(self) -> float | None:
        """Float latency over this variant's, same runtime, same run."""
        if not self.latency_ms or not self.float_latency_ms:
            return None
        return self.float_latency_ms / self.latency_ms


class Variant(Spec, frozen=True, kw_only=True):
    """One graph for one runtime, precision and target.

    ``requires`` names CPU features without which the variant's figures do not hold.
    """

    id: str
    runtime: str
    precision: Precision
    target: str
    status: Status
    reason: str = ""
    recipe: str = ""
    requires: tuple[str, ...] = ()
    entry: str = ""
    files: tuple[str, ...] = ()
    input: TensorSpec | None = None
    output: TensorSpec | None = None
    parity: Parity | None = None
    bytes: int = 0

    @property
    def usable(self) -> bool:
        """Whether there is a graph to open."""
        return self.status != "failed"


class SampledFrame(Spec, frozen=True, kw_only=True):
    """A frame of the sample video: file name, frame number, presentation time."""

    file: str
    seq: int
    time_s: float | None


class CalibrationSpec(Spec, frozen=True, kw_only=True):
    """Which frames calibrated the int8 graphs and which judged them; ``sha256`` covers their pixels."""

    frames: tuple[SampledFrame, ...] = ()
    parity_frames: tuple[SampledFrame, ...] = ()
    sha256: Sha256 | None = None
    seed: int = 0
    seen: int = 0
    dropped: dict[str, int] = {}


class SourceSpec(Spec, frozen=True, kw_only=True):
    """The trained network that the bundle was made from.

    ``agreement`` is the share of pixels in which the canonical float graph and the network as it came give
    the same class, on parity frames; ``mean``, ``scale`` and ``color`` are what the network expects, ``frame_color``
    the order that the bundle's graphs take.
    """

    name: str
    kind: Literal["torch", "onnx", "tflite", "openvino", "reference"]
    sha256: Sha256
    macs: int | None = None
    parameters: int | None = None
    agreement: float | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    color: ColorOrder = "rgb"
    frame_color: ColorOrder = "bgr"


class FileSpec(Spec, frozen=True, kw_only=True):
    """Size and hash of one file."""

    bytes: int
    sha256: Sha256


class Manifest(Spec, frozen=True, kw_only=True):
    """Everything a device needs to know about a bundle."""

    schema_version: int
    name: str
    labels: tuple[Label, ...]
    frame: FrameSpec
    head: HeadSpec
    source: SourceSpec
    variants: tuple[Variant, ...]
    calibration: CalibrationSpec
    files: dict[str, FileSpec]
    made_with: dict[str, str] = {}
    made_on: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse a manifest whose parts contradict each other."""
        _check_labels(self)
        for path in self.files:
            _check_path(path)
        ids = [v.id for v in self.variants]
        if len(set(ids)) != len(ids):
            raise ValueError(f"variant ids are not unique: {ids}")
        for variant in self.variants:
            _check_variant(self, variant)

    def variant(self, variant_id: str) -> Variant:
        """The variant of that id.

        Raises:
            ManifestError: If there is none.
        """
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        known = ", ".join(v.id for v in self.variants)
        raise ManifestError(f"bundle {self.name!r} has no variant {variant_id!r}; it has: {known}")


def _check_labels(manifest: Manifest) -> None:
    ids = [label.id for label in manifest.labels]
    if ids != list(range(len(ids))) or len(ids) < 2:
        raise ValueError(f"label ids must run from 0 without gaps and name at least two classes, got {ids}")


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    odd = any(mark in path for mark in "\\:") or not path.isprintable()
    if pure.is_absolute() or ".." in pure.parts or path != str(pure) or not pure.parts or odd:
        raise ValueError(f"path {path!r} is not a plain relative path inside the bundle")


def _check_variant(manifest: Manifest, variant: Variant) -> None:
    if not variant.usable:
        return
    if variant.input is None or variant.output is None:
        raise ValueError(f"variant {variant.id!r} lacks its input or output spec")
    if variant.entry not in variant.files:
        raise ValueError(f"variant {variant.id!r}: entry {variant.entry!r} is not among its files")
    for path in variant.files:
        if path not in manifest.files:
            raise ValueError(f"variant {variant.id!r}: file {path!r} is not in the list of files")
    if variant.input.hwc != (*manifest.frame.size_hw, 3):
        raise ValueError(
            f"variant {variant.id!r} takes {variant.input.layout} {variant.input.shape}, which is no frame of"
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


def dumps(manifest: Manifest) -> bytes:
    """The manifest as JSON: UTF-8, indented, keys in a fixed order, newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def loads(data: bytes, *, where: str = "manifest.json") -> Manifest:
    """Read a manifest strictly.

    Args:
        data: The bytes of ``manifest.json``.
        where: How messages call the file.

    Raises:
        SchemaVersionError: If the schema version is not :data:`SCHEMA_VERSION`.
        ManifestError: If it is not JSON, repeats a key, holds NaN or infinity, or does not fit the schema.
    """
    try:
        tree = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"{where}: not a valid manifest: {exc}; export the bundle again") from exc
    if not isinstance(tree, dict) or not isinstance(tree.get("schema_version"), int):
        raise ManifestError(f"{where}: expected an object with an integer schema_version; is this a bundle's manifest?")
    if tree["schema_version"] != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{where}: schema version {tree['schema_version']}, this edge-vseg reads {SCHEMA_VERSION};"
            " install the version that wrote the bundle, or export it again"
        )
    try:
        return msgspec.convert(tree, Manifest, strict=True)
    except msgspec.ValidationError as exc:
        raise ManifestError(f"{where}: {exc}; export the bundle again") from exc


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} appears twice")
        tree[key] = value
    return tree


def _no_constants(text: str) -> Any:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    # 1e999 is good JSON, and infinity once read.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
