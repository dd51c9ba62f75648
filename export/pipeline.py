"""From a trained network and sample frames to a bundle: the steps of an export, in order."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import msgspec

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, Staging, check_target, stage_bundle
from edge_vseg.bundle.manifest import (
    SCHEMA_VERSION,
    CalibrationSpec,
    FrameSpec,
    HeadSpec,
    Label,
    Manifest,
    SourceSpec,
    Variant,
)
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import CalibrationError, ExportError, OptionError, ParityError
from edge_vseg.export.export_options import ExportOptions, check_tiles_fit, native_targets
from edge_vseg.export.export_report import write_report
from edge_vseg.export.float_graph import (
    FloatGraph,
    carried_tensors,
    check_against_source,
    make_float_graph,
    warn_if_constant,
)
from edge_vseg.export.graph.macs import count_macs, count_parameters
from edge_vseg.export.parity import Answer, Judge, Judged, is_native
from edge_vseg.export.partition.slicer import Slicer
from edge_vseg.export.partition.tile_graph import make_tile_graph
from edge_vseg.export.partition.tile_graphs import TileGraphBuilder
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.source.source_network import SourceNetwork, is_ready_made, open_source_network
from edge_vseg.export.source.wrap import wrap_ready_made
from edge_vseg.export.variants import Builder, plan_variants
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.types import Image, Size

log = logging.getLogger(__name__)
Progress = Callable[[str], None]
SOURCE_CHECK_FRAMES = 3
SLICE_CHECK_FRAMES = 4
TILE_CHECK_FRAMES = 8
_TOOLS = (
    "edge-vseg", "torch", "onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "litert-torch", "ai-edge-quantizer",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        warnings: What its maker should look at.
    """

    path: Path
    manifest: Manifest
    warnings: tuple[str, ...] = ()

    @property
    def troubled(self) -> tuple[Variant, ...]:
        """Variants that failed or differ from float by more than allowed."""
        return tuple(v for v in self.manifest.variants if v.status in ("failed", "drop"))

    def require_parity(self) -> None:
        """Raise if any variant is troubled, for scripts that must not go on with it.

        Raises:
            ParityError: Naming the variants and what is wrong with them.
        """
        if self.troubled:
            reasons = "; ".join(f"{v.id} ({v.status}): {v.reason}" for v in self.troubled)
            raise ParityError(f"{self.path}: {reasons}; see report.html, or calibrate with a longer video")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Content:
    """Everything that goes into a manifest but the list of files."""

    labels: tuple[Label, ...]
    size_hw: Size
    head: HeadSpec
    source: SourceSpec
    variants: tuple[Variant, ...]
    calibration: CalibrationSpec


def export_bundle(
    source: str,
    output: Path,
    frames: SampleFrames,
    options: ExportOptions,
    progress: Progress = lambda step: None,
) -> Exported:
    """Export a trained network to a bundle of int8 and float graphs.

    Args:
        source: ``package.module:factory``, ``file.py:factory``, or the path of an ``.onnx``, a ``.tflite`` or
            an OpenVINO ``.xml``; the last two are wrapped as they are.
        output: Where the bundle goes; an older bundle there is replaced in one step at the end.
        frames: Sample frames; a wrapped file needs only those for validation.
        options: What to export, and for what.
        progress: Called with a line on each step.

    Returns:
        The bundle's path and manifest. Variants that failed say why in it; the others are there.

    Raises:
        SourceError: If the network cannot be used.
        BundleWriteError: If ``output`` may not be replaced.
        ExportError: If not a single graph could be made, or the canonical graph is not what the source is.
        CalibrationError: If there are no frames.

    Example:
        >>> from pathlib import Path
        >>> from edge_vseg.calibration import sample_frames
        >>> from edge_vseg.export import ExportOptions, export_bundle
        >>> frames = sample_frames(["drive.mp4"], calibration=4, validation=2)
        >>> options = ExportOptions(size_hw=(192, 256), runtimes=("onnxruntime",), targets=("x86_64",), slices=False)
        >>> exported = export_bundle("edge_vseg.export.reference.zoo:small", Path("small.evseg"), frames, options)
        >>> [variant.id for variant in exported.manifest.variants]
        ['onnxruntime/float', 'onnxruntime/int8-x86_64']
    """
    check_target(output)
    if not frames.validation:
        raise CalibrationError("an export needs frames to judge by; give a longer video with --frames")
    progress("reading the network")
    if is_ready_made(source):
        return _export_ready_made(Path(source), output, frames, options, progress)
    if not frames.calibration:
        raise CalibrationError("an export needs frames to calibrate on; give a longer video with --frames")
    network = open_source_network(source, weights=options.weights, size_hw=options.size_hw)
    graph = make_float_graph(network, options)
    if options.tiles is not None:
        check_tiles_fit(options.tiles, graph.size_hw)
    calibration = [resize_image(f, graph.size_hw) for f in frames.calibration]
    validation = [resize_image(f, graph.size_hw) for f in frames.validation]
    progress("checking the graph against the network")
    agreement = check_against_source(graph, network, options.normalization, validation[:SOURCE_CHECK_FRAMES])
    prepared = Int8Preparation(graph.model, calibration, options.seed, progress)
    with stage_bundle(output) as staging:
        builder = Builder(graph.model, graph.head, graph.labels, prepared, staging.root)
        variants = []
        for plan in plan_variants(options, options.targets or native_targets(cpu_features().has_vnni)):
            progress(f"building {plan.id}")
            variants.append(builder.build(plan))
        judge = Judge(staging.root, validation, graph.head_spec, graph.labels, options.max_drop)
        reference = judge.reference(graph.model)
        judged = [_settle(j, staging, options) for j in judge.judge(variants, reference, progress)]
        if options.slices:
            carried = options.carried or carried_tensors(graph, network, options.normalization, validation[0])
            shown = validation[:SLICE_CHECK_FRAMES]
            slicer = Slicer(graph.model, shown, staging.root, carried=carried, even=lambda: prepared.even)
            judged = _slice(judged, slicer, options, progress)
        if options.tiles is not None:
            remake = partial(make_tile_graph, source, network, graph, options)
            shown = validation[:TILE_CHECK_FRAMES]
            maker = TileGraphBuilder(remake, prepared, shown, staging.root, options.tiles, options.seed, progress)
            judged = _add_tiles(judged, maker, options, progress)
        content = _Content(
            labels=graph.labels,
            size_hw=graph.size_hw,
            head=graph.head_spec,
            source=_source_spec(network, graph, options, agreement),
            variants=tuple(j.variant for j in judged),
            calibration=frames.spec,
        )
        return _finish(staging, content, validation, reference, judged, progress)


def _export_ready_made(
    source: Path, output: Path, frames: SampleFrames, options: ExportOptions, progress: Progress
) -> Exported:
    """Wrap a file for one runtime as it is; it is its own reference."""
    if options.weights is not None or options.size_hw is not None:
        raise OptionError(f"--weights and --input-size do not apply to {source.name}: it is wrapped as it is")
    if options.tiles is not None:
        raise OptionError(f"--tiles does not apply to {source.name}: its size cannot be changed")
    with stage_bundle(output) as staging:
        wrapped = wrap_ready_made(source, staging.root, options)
        validation = [resize_image(f, wrapped.size_hw) for f in frames.validation]
        color = wrapped.source.frame_color
        judge = Judge(staging.root, validation, wrapped.head, wrapped.labels, options.max_drop, color=color)
        progress(f"running {wrapped.variant.id}")
        reference = judge.answers(wrapped.variant)
        judged = judge.judge([wrapped.variant], reference, progress)
        content = _Content(
            labels=wrapped.labels,
            size_hw=wrapped.size_hw,
            head=wrapped.head,
            source=wrapped.source,
            variants=tuple(j.variant for j in judged),
            calibration=msgspec.structs.replace(frames.spec, frames=()),
        )
        return _finish(staging, content, validation, reference, judged, progress)


def _scheduled(judged: Sequence[Judged], options: ExportOptions) -> set[str]:
    """Ids of the variants that a scheduler would take: int8, and float for runtimes that have no usable int8 graph."""
    kept = [j.variant for j in judged if j.variant.usable and j.variant.precision in options.precisions]
    int8 = {v.runtime for v in kept if v.precision == "int8"}
    return {v.id for v in kept if v.precision == "int8" or v.runtime not in int8}


def _slice(judged: Sequence[Judged], slicer: Slicer, options: ExportOptions, progress: Progress) -> list[Judged]:
    """Cut the variants that schedulers take."""
    scheduled = _scheduled(judged, options)
    done = []
    # This machine's graphs first: where the others are cut goes by the times that these take.
    for each in sorted(judged, key=lambda j: not is_native(j.variant)):
        variant = each.variant
        if variant.id not in scheduled:
            done.append(each)
            continue
        progress(f"cutting {variant.id} into slices")
        done.append(replace(each, variant=slicer.slice(variant, timed=is_native(variant))))
    return sorted(done, key=lambda each: [j.variant.id for j in judged].index(each.variant.id))


def _add_tiles(
    judged: Sequence[Judged], maker: TileGraphBuilder, options: ExportOptions, progress: Progress
) -> list[Judged]:
    """Give the variants that schedulers take a graph for tiles."""
    scheduled = _scheduled(judged, options)
    done = []
    for each in judged:
        variant = each.variant
        if variant.id in scheduled:
            progress(f"making {variant.id} for tiles")
            variant = maker.add(variant, timed=is_native(variant))
        done.append(replace(each, variant=variant))
    return done


def _settle(judged: Judged, staging: Staging, options: ExportOptions) -> Judged:
    """Remove the files of variants that are not part of the bundle: failed ones, and float where not asked for."""
    variant = judged.variant
    if variant.usable and variant.precision in options.precisions:
        return judged
    shutil.rmtree(staging.root / variant.id, ignore_errors=True)
    return judged


def _finish(
    staging: Staging,
    content: _Content,
    validation: Sequence[Image],
    reference: Sequence[Answer],
    judged: Sequence[Judged],
    progress: Progress,
) -> Exported:
    kept = tuple(v for v in content.variants if not v.usable or (staging.root / v.entry).is_file())
    if not any(v.usable for v in kept):
        raise ExportError("no graph could be made: " + "; ".join(f"{v.id}: {v.reason}" for v in kept))
    progress("writing the bundle")
    (staging.root / CHECK_FRAME).parent.mkdir()
    cv2.imwrite(str(staging.root / CHECK_FRAME), validation[0])
    cv2.imwrite(str(staging.root / CHECK_LABELS), reference[0].labels)
    maps = [answer.labels for answer in reference]
    warning = warn_if_constant(maps)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=staging.target.name.removesuffix(".evseg"),
        labels=content.labels,
        frame=FrameSpec(size_hw=content.size_hw, color=content.source.frame_color),
        head=content.head,
        source=content.source,
        variants=kept,
        calibration=content.calibration,
        files=staging.list_files(),
        made_with=_versions(),
        made_on={"cpu": cpu_features().model, "machine": platform.machine(), "system": platform.system()},
    )
    write_report(staging.root / "report.html", manifest, validation, maps, judged, warning)
    manifest = msgspec.structs.replace(manifest, files=staging.list_files())
    staging.commit(manifest)
    if warning:
        log.warning(warning)
    return Exported(path=staging.target, manifest=manifest, warnings=(warning,) if warning else ())


def _source_spec(network: SourceNetwork, graph: FloatGraph, options: ExportOptions, agreement: float) -> SourceSpec:
    norm = options.normalization
    return SourceSpec(
        name=network.name,
        kind=network.kind,
        sha256=network.sha256,
        macs=count_macs(graph.model),
        parameters=count_parameters(graph.model),
        agreement=agreement,
        mean=norm.mean,
        scale=norm.scale,
        color=norm.color,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
