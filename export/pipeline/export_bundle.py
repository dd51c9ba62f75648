"""All steps of an export, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle import check_target, stage_bundle
from edge_vseg.bundle.labels import check_distinct
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.pipeline.float_graph_step import (
    BuiltFloatGraph,
    build_float_graph,
    check_float_graph,
    describe_source,
)
from edge_vseg.export.pipeline.job import ExportJob, Progress, full_disk_named, open_job
from edge_vseg.export.pipeline.open_step import open_network_step
from edge_vseg.export.pipeline.partition_step import partition_variants
from edge_vseg.export.pipeline.quantize_step import quantize_variants
from edge_vseg.export.pipeline.ready_made_head import settle_head
from edge_vseg.export.pipeline.validate_step import ValidatedVariants, run_validation, validate_variants
from edge_vseg.export.pipeline.work_folder import frames_sha256
from edge_vseg.export.pipeline.write_step import BundleContent, Exported, write_bundle
from edge_vseg.export.source.own_normalization import ChosenNormalization, choose_normalization
from edge_vseg.export.source.ready_made import ReadyMade
from edge_vseg.export.source.source_network import SourceNetwork, is_ready_made
from edge_vseg.export.source.wrap import wrap_ready_made
from edge_vseg.export.variant_validation import ValidationSpec, VariantValidator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedNetwork:
    """A network, its float graph, and how its images are normalized."""

    network: SourceNetwork
    built: BuiltFloatGraph
    normalization: ChosenNormalization


def export_bundle(
    source: str,
    output: Path,
    frames: SampleFrames,
    options: ExportOptions,
    progress: Progress = lambda step: None,
    *,
    truth: Sequence[LabelledFrame] = (),
    work_dir: Path | None = None,
) -> Exported:
    """Export a trained network to a bundle of int8 and float graphs.

    Args:
        source: ``package.module:factory``, ``file.py:factory``, or the path of an ``.onnx``, a ``.tflite`` or
            an OpenVINO ``.xml``; the last two are wrapped as they are.
        output: Where the bundle goes; an older bundle there is replaced in one step at the end.
        frames: Sample frames; a wrapped file needs only those for validation.
        options: What to export, and for what.
        progress: Called with a line on each step.
        truth: Labelled frames for ``options.finetune`` to learn from, at any size, with the network's class ids.
        work_dir: Keep the result of each step here, so that an export that was stopped goes on where it was;
            ``None`` for a temporary folder.

    Returns:
        The bundle's path and manifest. The manifest lists variants that failed, and why.

    Raises:
        SourceError: If the network cannot be used.
        BundleWriteError: If ``output`` may not be replaced.
        ExportError: If not a single graph could be made, or the float graph is not what the source is.
        CalibrationError: If there are no frames.
        OptionError: If there are labels but ``options.finetune`` is not set, or they have classes that are not the
            network's.

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
    with open_job(source, output, options, frames=frames, truth=truth, progress=progress, work_dir=work_dir) as job:
        needed = job.sample if is_ready_made(source) else job.calibration_set
        assert needed, "both raise if there are no frames, before anything takes long"
        return export_prepared(job, prepare_source(job))


def prepare_source(job: ExportJob) -> PreparedNetwork | ReadyMade:
    """Open the source and make its float graph: all that can be refused before a long video is decoded.

    Raises:
        SourceError: If the network cannot be used.
        OptionError: If an option does not apply to it, or two classes have one name.
    """
    check_distinct(job.options.labels or (), "the classes of the export")
    opened = open_network_step(job)
    if isinstance(opened, ReadyMade):
        return opened
    if job.options.finetune is not None:
        from edge_vseg.export.training_hardware import TrainingHardware  # torch takes long to import

        TrainingHardware.of(job.options.finetune_device)
    chosen = choose_normalization(job.options.normalization, opened)
    settled = _settled(job, opened, chosen)
    built = build_float_graph(settled, opened)
    if job.options.node_times is not None:
        job.options.node_times.require_network(built.graph.model, built.graph.size_hw)
    return PreparedNetwork(network=opened, built=built, normalization=chosen)


def export_prepared(job: ExportJob, prepared: PreparedNetwork | ReadyMade) -> Exported:
    """The remaining steps, for a job with frames; see :func:`export_bundle`."""
    if isinstance(prepared, ReadyMade):
        return _export_ready_made(job, prepared)
    network, built, job = prepared.network, prepared.built, _settled(job, prepared.network, prepared.normalization)
    with stage_bundle(job.output) as staging, full_disk_named(job.work.root):
        agreement = check_float_graph(job, network, built)
        quantized = quantize_variants(job, built)
        validated = validate_variants(job, built, quantized)
        validated = partition_variants(job, network, built, quantized, validated)
        content = BundleContent(
            labels=built.graph.labels,
            size_hw=built.graph.size_hw,
            head=built.graph.head_spec,
            source=describe_source(job, network, built, agreement),
            calibration=_calibration_spec(job.sample),
            validated=_asked_for(validated, job.options.precisions),
        )
        exported = write_bundle(job, staging, content)
        notes = (quantized.verdict,) if quantized.verdict else ()
        warnings = (*network.notes, *prepared.normalization.warnings, *exported.warnings)
        return replace(exported, warnings=warnings, notes=notes)


def _settled(job: ExportJob, opened: SourceNetwork, chosen: ChosenNormalization) -> ExportJob:
    labels = job.options.labels or opened.labels
    return replace(job, options=replace(job.options, normalization=chosen.value, labels=labels))


def _export_ready_made(job: ExportJob, opened: ReadyMade) -> Exported:
    """Wrap a file for one runtime as it is; it is its own baseline."""
    with stage_bundle(job.output) as staging, full_disk_named(job.work.root):
        wrapped = wrap_ready_made(Path(job.source), opened, job.work.variants, job.options)
        spec = ValidationSpec(
            frames=job.validation_frames(wrapped.size_hw),
            head=wrapped.head,
            labels=wrapped.labels,
            color=wrapped.source.frame_color,
            max_drop=job.options.max_drop,
            thresholds=job.options.thresholds,
        )
        job.progress(f"running {wrapped.variant.id}")
        head, note = settle_head(VariantValidator(job.work.variants, spec), wrapped.variant, spec)
        spec = replace(spec, head=head)
        validated = run_validation(
            job, spec, [wrapped.variant], lambda validator: validator.run_variant(wrapped.variant), opened.sha256
        )
        content = BundleContent(
            labels=wrapped.labels,
            size_hw=wrapped.size_hw,
            head=head,
            source=wrapped.source,
            calibration=msgspec.structs.replace(_calibration_spec(job.sample), frames=()),
            validated=validated,
        )
        exported = write_bundle(job, staging, content)
        return replace(exported, warnings=(*opened.notes, *((note,) if note else ()), *exported.warnings))


def _asked_for(validated: ValidatedVariants, precisions: tuple[str, ...]) -> ValidatedVariants:
    """Without the float variants that were only built to be timed against."""
    return replace(validated, variants=tuple(v for v in validated.variants if v.variant.precision in precisions))


def _calibration_spec(sample: SampleFrames) -> CalibrationSpec:
    """The sample's own record, with the hash of its pixels filled in: an update must know the frames again."""
    if sample.spec.sha256 is not None:
        return sample.spec
    return msgspec.structs.replace(sample.spec, sha256=frames_sha256([*sample.calibration, *sample.validation]))
