"""What an update of a bundle is asked to change, and what it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_vseg.bundle.manifest import Manifest
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export.conversion_limits import ConversionLimits
from edge_vseg.export.export_options import DEFAULT_PRECISIONS
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.pipeline.work_folder import frames_sha256
from edge_vseg.export.quantization.device_times import DeviceTimes
from edge_vseg.types import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleUpdate:
    """What to change in a bundle; everything else stays, byte for byte.

    If nothing is built, all variants are validated again on the frames given. Classes, input size and normalization are
    those of the bundle.

    Attributes:
        source: The network; empty for the name in the manifest, which is opened only if the bundle does not hold
            enough. It must be the very network that the bundle was made from.
        weights: Weights of a torch module; the manifest does not name them.
        runtimes: Build the variants of these runtimes; those that are there are built again, except float ones.
        targets: Machines that ONNX Runtime's int8 graphs are made for; empty for this one.
        precisions: Of ``int8``, ``float`` and ``float16``.
        slices: ``keep`` cuts new variants if the bundle has slices; ``cut`` cuts all again; ``remove`` removes them.
        carried: Tensors that may be carried over; see :class:`~edge_vseg.export.ExportOptions`.
        tiles: Make tile graphs of this size for all variants; ``None`` keeps those that are there, and makes some of
            the same size for new variants.
        max_drop: Largest share of pixels in which int8 and float16 may differ from float.
        min_speedup: How many times as fast as float int8 must be; see :class:`~edge_vseg.export.ExportOptions`.
        node_times: What nodes take on the device; see :class:`~edge_vseg.export.ExportOptions`.
        seed: Seed of everything random; ``None`` for that of the sample frames.
        limits: What one conversion may take; see :class:`~edge_vseg.export.ExportOptions`.
        thresholds: What is accepted.
    """

    source: str = ""
    weights: Path | None = None
    runtimes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = DEFAULT_PRECISIONS
    slices: Literal["keep", "cut", "remove"] = "keep"
    carried: tuple[str, ...] = ()
    tiles: Size | None = None
    max_drop: float = 0.02
    min_speedup: float | None = None
    node_times: DeviceTimes | None = None
    seed: int | None = None
    limits: ConversionLimits = field(default_factory=ConversionLimits)
    thresholds: ExportThresholds = field(default_factory=ExportThresholds)

    @property
    def builds(self) -> bool:
        """Whether graphs are made, so that the frames must be those of the bundle."""
        return bool(self.runtimes) or self.slices == "cut" or self.tiles is not None


def check_update(manifest: Manifest, frames: SampleFrames | None, update: BundleUpdate) -> None:
    """Raise for what cannot be done, before anything takes long."""
    if manifest.source.kind not in ("torch", "onnx"):
        raise OptionError(
            f"bundle {manifest.name!r} wraps {manifest.source.name} as it came and cannot be updated; export it again"
        )
    if update.weights is not None and not update.source and manifest.source.kind != "torch":
        raise OptionError(f"--weights does not apply to {manifest.source.name}: an ONNX file holds its weights")
    if update.targets and "onnxruntime" not in update.runtimes:
        raise OptionError("--targets are those of ONNX Runtime's int8 graphs; add onnxruntime to --runtimes")
    if update.node_times is not None and not update.runtimes:
        raise OptionError("--node-times is for int8 graphs, and this update builds none; give --runtimes or --targets")
    if update.carried and not _cuts(manifest, update):
        raise OptionError("--carry says where to cut slices, and this update cuts none; give --slices, too")
    if frames is None:
        if update.builds or update.slices != "remove":
            raise CalibrationError("this update needs sample frames; give the video of the export with --frames")
        return
    if not update.builds:
        return
    digest = manifest.calibration.sha256
    if digest is not None and sample_sha256(frames) != digest:
        names = sorted({frame.file for frame in manifest.calibration.frames})
        raise CalibrationError(
            f"bundle {manifest.name!r} was calibrated on other frames"
            + (f", out of {', '.join(names)}" if names else "")
            + "; give the same video, counts and seed, or only --frames to validate again"
        )
    trained = [variant.id for variant in manifest.variants if "fine-tuned" in variant.recipe]
    if trained and (update.runtimes or update.tiles):
        raise OptionError(
            f"{trained[0]} was fine-tuned, and an update would build others from weights that were not; export the"
            " bundle again, with --finetune"
        )
    for variant in manifest.variants:
        if update.tiles and "nodes in float" in variant.recipe and not variant.float_nodes:
            raise OptionError(
                f"{variant.id} does not say which nodes it keeps in float, being made by an older edge-vseg;"
                f" build it again with --runtimes {variant.runtime}"
            )


def _cuts(manifest: Manifest, update: BundleUpdate) -> bool:
    """Whether any graph is cut: all, or new ones as the others are."""
    has_slices = any(variant.slices or variant.unsliced for variant in manifest.variants)
    return update.slices == "cut" or (update.slices == "keep" and bool(update.runtimes) and has_slices)


def sample_sha256(frames: SampleFrames) -> str:
    """A hash of the pixels of all sample frames, as the manifest has it."""
    return frames_sha256([*frames.calibration, *frames.validation])
