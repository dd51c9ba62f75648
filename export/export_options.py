"""What an export is asked to do."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_vseg.bundle.manifest import Label, Letterbox, Resize
from edge_vseg.errors import OptionError
from edge_vseg.export.conversion_limits import ConversionLimits
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.quantization.device_times import DeviceTimes
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.imaging.tiles import ALIGNMENT_PX
from edge_vseg.types import Size

RUNTIMES = ("onnxruntime", "openvino", "tflite")
TARGETS = ("x86_64", "x86_64-avx2", "arm64", "jetson")
PRECISIONS = ("int8", "float", "float16")
DEFAULT_PRECISIONS = ("int8", "float")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        weights: Weights of a torch module.
        labels: Classes; ``None`` numbers them.
        size_hw: Input size; ``None`` for the network's own.
        resize: What becomes of frames of another shape than the input: ``stretch``, or ``letterbox``, which keeps their
            aspect inside a border; or a letterbox with its border's colour.
        output_name: The output to export of several: its ONNX name, or for a torch module the key or index, joined by
            dots if nested (``out``, ``1``, ``aux.0``); empty for the one that looks most like scores.
        normalization: What the trained network expects; ``None`` for what it says of itself, or else bytes as they are,
            with a warning.
        runtimes: Runtimes to export for.
        targets: Machines to make ONNX Runtime's int8 graphs for; empty for this one.
        precisions: Of ``int8``, ``float`` and ``float16``.
        max_drop: Largest share of pixels in which int8 and float16 may differ from float.
        min_speedup: How many times as fast as float an int8 graph must be; ``None`` for no slower than float.
        seed: Seed of everything random.
        finetune: How long int8 graphs are taught by the float graph on calibration frames; ``None`` for not at all.
        finetune_device: Torch device on which they are taught; ``auto`` for a GPU that CUDA has, or else the CPU.
        slices: Whether to cut graphs into slices; every scheduling policy but whole keyframes needs them.
        carried: Names of tensors that may be carried over from an older frame; empty for those that the network's own
            ``stages()`` name, or the best that a search finds.
        tiles: Height and width of tile graphs, which infer only what changed; ``None`` for none.
        node_times: What nodes take on the device, by which those of int8 graphs are chosen that stay in float;
            ``None`` for what they take here, or for their multiply-accumulates where a graph is for another machine.
        limits: What one conversion for OpenVINO or TFLite may take; one that takes more is a variant that failed.
        thresholds: What the export accepts.
    """

    weights: Path | None = None
    labels: tuple[Label, ...] | None = None
    size_hw: Size | None = None
    resize: Literal["letterbox"] | Resize = "stretch"
    output_name: str = ""
    normalization: Normalization | None = None
    runtimes: tuple[str, ...] = RUNTIMES
    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = DEFAULT_PRECISIONS
    max_drop: float = 0.02
    min_speedup: float | None = None
    seed: int = 0
    finetune: TrainingLength | None = None
    finetune_device: str = "auto"
    slices: bool = True
    carried: tuple[str, ...] = ()
    tiles: Size | None = None
    node_times: DeviceTimes | None = None
    limits: ConversionLimits = field(default_factory=ConversionLimits)
    thresholds: ExportThresholds = field(default_factory=ExportThresholds)

    def __post_init__(self) -> None:
        """Raise OptionError for unknown names and impossible numbers."""
        _refuse_unknown("runtime", self.runtimes, RUNTIMES)
        _refuse_unknown("target", self.targets, TARGETS)
        _refuse_unknown("precision", self.precisions, PRECISIONS)
        if not isinstance(self.resize, Letterbox) and self.resize not in ("stretch", "letterbox"):
            raise OptionError(f"resize must be stretch or letterbox, got {self.resize!r}")
        if not self.runtimes or not self.precisions:
            raise OptionError("give at least one runtime and one precision")
        if self.finetune is not None and "int8" not in self.precisions:
            raise OptionError("--finetune teaches int8 graphs, and --precision asks for none; add int8")
        if self.node_times is not None:
            _check_times(self.node_times, self.runtimes, self.precisions)
        if self.targets and "onnxruntime" not in self.runtimes:
            raise OptionError("--targets are those of ONNX Runtime's int8 graphs; add onnxruntime to --runtimes")
        if self.carried and not self.slices:
            raise OptionError("--carry says where to cut slices, and --no-slices asks for none; leave one of them out")
        if not 0 <= self.max_drop <= 1:
            raise OptionError(f"max_drop is a share of pixels between 0 and 1, got {self.max_drop}")
        if self.min_speedup is not None and not 0 < self.min_speedup < math.inf:
            raise OptionError(
                f"min_speedup is how many times as fast as float int8 must be, such as 1.5; got {self.min_speedup}"
            )
        if self.tiles is not None:
            _check_tiles(self.tiles, self.thresholds.tile_halo_px)
            if self.size_hw is not None:
                check_tiles_fit(self.tiles, self.size_hw)


def check_tiles_fit(tiles: Size, size_hw: Size) -> None:
    """Check that tiles are smaller than the input.

    Raises:
        OptionError: If they are as large as the input, or larger on a side.
    """
    if tiles[0] > size_hw[0] or tiles[1] > size_hw[1] or tiles == size_hw:
        raise OptionError(
            f"tiles of {tiles[0]}x{tiles[1]} are no parts of an input of {size_hw[0]}x{size_hw[1]}; give smaller ones"
        )


def native_targets(has_vnni: bool) -> tuple[str, ...]:
    """The int8 target of this machine."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return ("arm64",)
    return ("x86_64",) if has_vnni else ("x86_64-avx2",)


def _check_times(times: DeviceTimes, runtimes: tuple[str, ...], precisions: tuple[str, ...]) -> None:
    if "int8" not in precisions:
        raise OptionError("--node-times says which nodes of int8 graphs stay in float; add int8 to --precision")
    if not any(map(times.serves, runtimes)):
        raise OptionError(
            f"{times.path} has times of {', '.join(times.recording.runtimes)}, and --runtimes asks for"
            f" {', '.join(runtimes)}; leave one of them out"
        )


def _check_tiles(tiles: Size, halo: int) -> None:
    if any(side % ALIGNMENT_PX for side in tiles):
        raise OptionError(f"tiles must be multiples of {ALIGNMENT_PX} pixels, got {tiles[0]}x{tiles[1]}")
    smallest = 2 * halo + ALIGNMENT_PX
    if min(tiles) < smallest:
        raise OptionError(
            f"tiles of {tiles[0]}x{tiles[1]} are hardly more than their halo of {halo} pixels;"
            f" give at least {smallest}x{smallest}"
        )


def _refuse_unknown(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise OptionError(f"unknown {what} {name!r}; known: {', '.join(known)}")
