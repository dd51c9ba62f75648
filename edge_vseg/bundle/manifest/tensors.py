"""Manifest records of labels, frames, tensors and heads."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_vseg.types import ColorOrder

DType: TypeAlias = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Layout: TypeAlias = Literal["NHWC", "NCHW", "NHW", "flat", "any"]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]
MAX_SIDE = 1 << 14
"""Pixels: 16K video, and half of what OpenCV's resize takes."""
MAX_VALUES = 1 << 30
"""Values of a tensor: 8K frames with 30 classes at full size."""
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""Up to eleven days, so that what is reckoned with it stays finite."""
Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all manifest records: immutable, keyword-only, without unknown fields."""


class Label(Spec, frozen=True, kw_only=True):
    """One class: its id in label maps, its name, and its colour as ``(R, G, B)``."""

    id: Annotated[int, msgspec.Meta(ge=0, le=254)]
    name: str
    color: tuple[Byte, Byte, Byte]


class Letterbox(Spec, frozen=True, kw_only=True):
    """Frames keep their aspect: they lie in the middle of a border of one colour, ``(R, G, B)``."""

    kind: Literal["letterbox"] = "letterbox"
    border_rgb: tuple[Byte, Byte, Byte]


Resize: TypeAlias = Literal["stretch"] | Letterbox


class FrameSpec(Spec, frozen=True, kw_only=True):
    """The frame that all graphs take.

    ``color`` is its channel order; ``resize`` is the rule for frames of another size.
    """

    size_hw: tuple[Side, Side]
    color: ColorOrder = "bgr"
    resize: Resize = "stretch"


class Quantization(Spec, frozen=True, kw_only=True):
    """``real = (stored - zero_point) * scale``."""

    scale: float
    zero_point: Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]

    def __post_init__(self) -> None:
        """Raise ValueError if the scale is not positive and finite."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"quantization scale must be positive and finite, got {self.scale}")


class TensorSpec(Spec, frozen=True, kw_only=True):
    """A graph's input or output.

    ``mean`` and ``scale`` are the normalisation left to the device, ``(pixel - mean) / scale`` per channel; both are
    empty if the graph normalises.
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
        """Height, width and channels in any layout; 0 for those that ``flat`` and ``any`` do not have."""
        match self.layout:
            case "NHWC":
                return self.shape[1], self.shape[2], self.shape[3]
            case "NCHW":
                return self.shape[2], self.shape[3], self.shape[1]
            case "NHW":
                return self.shape[1], self.shape[2], 1
            case "flat":
                return 0, self.shape[1], 1
            case "any":
                return 0, 0, 0

    def __post_init__(self) -> None:
        """Raise ValueError if shape and layout, or mean and scale, do not match."""
        rank = {"NHWC": 4, "NCHW": 4, "NHW": 3, "flat": 2, "any": len(self.shape)}[self.layout]
        if self.layout != "any" and (len(self.shape) != rank or self.shape[0] != 1):
            raise ValueError(f"{self.layout} needs {rank} dimensions and a batch of 1, got {self.shape}")
        if len(self.mean) != len(self.scale) or len(self.mean) not in (0, 3):
            raise ValueError(
                f"mean has {len(self.mean)} values and scale {len(self.scale)}; give both for all 3 channels, or none"
            )
        if math.prod(self.shape) > MAX_VALUES:
            raise ValueError(f"a tensor of {self.shape} has more than {MAX_VALUES} values")
        if not all(self.scale):
            raise ValueError(f"scale must not hold 0, got {list(self.scale)}")


class HeadSpec(Spec, frozen=True, kw_only=True):
    """The graphs' output, and the operators that were cut off the network's own head.

    ``scores`` are ``C`` channels; ``foreground`` is one channel that wins above ``threshold``; ``labels`` is a finished
    label map. Their ``scores`` are ``logits``, or ``probabilities`` that the graph's own softmax or sigmoid has made;
    where that is not said, a foreground that wins above one half is a probability, and anything else logits.
    """

    kind: Literal["scores", "foreground", "labels"]
    size_hw: tuple[Side, Side]
    cut: tuple[str, ...] = ()
    threshold: float = 0.5
    align: Literal["half_pixel", "align_corners", "asymmetric", "nearest"] = "half_pixel"
    scores: Literal["logits", "probabilities"] | msgspec.UnsetType = msgspec.UNSET

    @property
    def holds_probabilities(self) -> bool:
        """Whether the graphs give probabilities."""
        if self.scores is msgspec.UNSET:
            return self.kind == "foreground" and self.threshold == 0.5
        return self.scores == "probabilities"
