"""Records about tensors and graphs: what a frame becomes, what a graph takes and gives."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_vseg.types import ColorOrder

DType: TypeAlias = Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
Layout: TypeAlias = Literal["NHWC", "NCHW", "NHW", "flat", "any"]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
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
        """Height, width and channels, whatever the layout (``flat`` has no height: 0; ``any`` none of them)."""
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
        """Refuse a shape that does not fit the layout."""
        rank = {"NHWC": 4, "NCHW": 4, "NHW": 3, "flat": 2, "any": len(self.shape)}[self.layout]
        if self.layout != "any" and (len(self.shape) != rank or self.shape[0] != 1):
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
