"""Give an existing bundle other variants, slices, tiles or another validation, without starting again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import onnx

from edge_vseg.bundle import Bundle, check_target, open_bundle, stage_bundle
from edge_vseg.bundle.manifest import CalibrationSpec, FailedVariant, Manifest, Variant
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import BackendError, ModelFileError, SourceChangedError
from edge_vseg.export.export_options import RUNTIMES, ExportOptions
from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.graph.head import Head
from edge_vseg.export.graph.input_stage import FRAME, Normalization
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.pipeline.bundle_update import BundleUpdate, check_update, sample_sha256
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph, build_float_graph, graph_sha256
from edge_vseg.export.pipeline.job import ExportJob, Progress, full_disk_named, open_job
from edge_vseg.export.pipeline.partition_step import PartitionPlan, needs_source, partition_variants, scheduled_ids
from edge_vseg.export.pipeline.quantize_step import QuantizedVariants, default_plans, quantize_variants
from edge_vseg.export.pipeline.validate_step import ValidatedVariants, validate_variants
from edge_vseg.export.pipeline.write_step import BundleContent, Exported, write_bundle
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network
from edge_vseg.export.variant_plan import VariantPlan
from edge_vseg.export.variant_validation import ValidatedVariant, ValidationSpec, VariantValidator
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.types import LabelMap

log = logging.getLogger(__name__)


def update_bundle(
    bundle: Path,
    frames: SampleFrames | None,
    update: BundleUpdate,
    progress: Progress = lambda step: None,
    *,
    output: Path | None = None,
    work_dir: Path | None = None,
) -> Exported:
    """Change a bundle; the old one stays until the new one is complete.

    Args:
        bundle: The bundle.
        frames: The frames that the bundle was made with; others only to validate again, while slices may be removed;
            none only to remove slices.
        update: What to change.
        progress: Called with a line on each step.
        output: Where the result goes; in place of the bundle by default.
        work_dir: The work folder of the export, if it was kept; see :func:`~edge_vseg.export.export_bundle`.

    Returns:
        The bundle's path and manifest. A graph that was there and cannot be run here stays, with a warning.

    Raises:
        SourceChangedError: If the source is not the network that the bundle was made from.
        SourceError: If the source is needed and cannot be used.
        CalibrationError: If the frames are not those of the bundle.
        OptionError: If the bundle cannot be changed in that way.
        BundleError: If the bundle cannot be read, trusted or replaced.
    """
    opened = open_bundle(bundle)
    target = output if output is not None else bundle
    check_target(target)
    manifest = opened.manifest
    check_update(manifest, frames, update)
    options = _options(manifest, update)
    source = update.source or manifest.source.name
    with (
        open_job(source, target, options, frames=frames, progress=progress, work_dir=work_dir) as job,
        stage_bundle(target) as staging,
        full_disk_named(job.work.root),
    ):
        for name in (name for variant in manifest.variants for name in variant.files):
            path = job.work.variants / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opened.file(name), path)
        updater = _Updater(job, opened, update)
        exported = write_bundle(job, staging, updater.run(), old=opened if frames is None else None)
        return replace(exported, warnings=(*updater.warnings, *exported.warnings))


class _Updater:
    """One update, with the variants of the bundle in the work folder.

    Args:
        job: The update as an export.
        opened: The bundle.
        update: What to change.

    Attributes:
        warnings: Variants that stay as they were, because they do not run here; logged, too.
    """

    def __init__(self, job: ExportJob, opened: Bundle, update: BundleUpdate) -> None:
        self._job = job
        self._opened = opened
        self._manifest = opened.manifest
        self._update = update
        self.warnings: list[str] = []
        self._kept: set[str] = set()

    def run(self) -> BundleContent:
        """The content of the new bundle."""
        manifest, update = self._manifest, self._update
        if self._job.frames is None:  # slices are removed, and nothing else
            variants = tuple(ValidatedVariant(variant=_unsliced(v), worst=None) for v in manifest.variants)
            return self._content(ValidatedVariants(variants=variants, failed=manifest.failed, baseline=()))
        here = {variant.id for variant in manifest.variants}
        plans = [p for p in default_plans(self._job) if p.id not in here or p.precision != "float"]
        plans = plans if update.runtimes else []
        partition = self._partition_plan(plans)
        network = self._open_network(partition)
        built = self._float_graph(network)
        if update.node_times is not None:
            update.node_times.require_network(built.graph.model, built.graph.size_hw)
        quantized = (
            quantize_variants(self._job, built, plans) if update.builds else QuantizedVariants(variants=(), failed=())
        )
        validated = self._validate(built, quantized, plans)
        if update.builds:
            partition = self._partition_plan(plans, validated)
            validated = partition_variants(self._job, network, built, quantized, validated, partition)
        if update.slices == "remove":
            validated = replace(
                validated, variants=tuple(replace(v, variant=_unsliced(v.variant)) for v in validated.variants)
            )
        kept = (
            each
            for each in validated.variants
            if each.variant.id in here or each.variant.precision in self._job.options.precisions
        )
        return self._content(replace(validated, variants=tuple(kept)))

    def _partition_plan(
        self, plans: Sequence[VariantPlan], validated: ValidatedVariants | None = None
    ) -> PartitionPlan:
        """Which variants are cut: the new ones as the others are, or all if that is asked for."""
        manifest, update = self._manifest, self._update
        new = {plan.id for plan in plans}
        if validated is None:  # before they are built, all count as if they could be
            scheduled = new | {variant.id for variant in manifest.variants}
        else:
            precisions = {v.precision for v in manifest.variants} | set(self._job.options.precisions)
            scheduled = set(scheduled_ids((v.variant for v in validated.variants), precisions)) - self._kept
        has_slices = any(v.slices or v.unsliced for v in manifest.variants)
        sliced = {"keep": scheduled & new if has_slices else set(), "cut": scheduled, "remove": set()}[update.slices]
        tiled = scheduled if update.tiles is not None else scheduled & new if self._job.options.tiles else set()
        return PartitionPlan(sliced=frozenset(sliced), tiled=frozenset(tiled))

    def _open_network(self, partition: PartitionPlan) -> SourceNetwork | None:
        """The source, if it was given or the bundle does not hold enough."""
        manifest, update, job = self._manifest, self._update, self._job
        stored = self._stored_float is not None and not needs_source(job, manifest.source.kind, partition)
        if stored and not update.source:
            return None
        job.progress("reading the network")
        try:
            network = open_source_network(
                job.source,
                weights=update.weights,
                size_hw=job.options.size_hw,
                output_name=job.options.output_name,
                classes=len(manifest.labels),
                normalization=job.options.normalization,
            )
        except ModelFileError as exc:
            if update.source:
                raise
            raise ModelFileError(f"{exc}; this update needs the network: give it as SOURCE") from exc
        return network

    @property
    def _stored_float(self) -> Variant | None:
        """ONNX Runtime's float variant: the float graph itself."""
        return next((v for v in self._manifest.variants if v.id == "onnxruntime/float"), None)

    def _float_graph(self, network: SourceNetwork | None) -> BuiltFloatGraph:
        manifest = self._manifest
        if network is not None:
            built = build_float_graph(self._job, network)
            if built.source_sha256 != manifest.source.sha256:
                raise SourceChangedError(
                    f"{self._job.source} is not the network that {self._opened.root} was made from (SHA-256"
                    f" {built.source_sha256[:12]}, the bundle says {manifest.source.sha256[:12]}); give the same code"
                    " and --weights, or export a new bundle"
                )
            return built
        stored = self._stored_float
        assert stored is not None
        model = onnx.load(self._opened.entry(stored))
        del model.metadata_props[:]
        head, size = manifest.head, manifest.frame.size_hw
        kind: Literal["scores", "labels"] = "labels" if head.kind == "labels" else "scores"
        graph = FloatGraph(
            model=model,
            image=ImageInput(name=FRAME, layout="NHWC", size_hw=size, dtype=onnx.TensorProto.UINT8),
            size_hw=size,
            head=Head(
                kind=kind,
                classes=len(manifest.labels) if kind == "scores" else 0,
                size_hw=head.size_hw,
                cut=head.cut,
                align=head.align,
                probabilities=kind == "scores" and head.holds_probabilities,
            ),
            labels=manifest.labels,
        )
        return BuiltFloatGraph(graph=graph, source_sha256=manifest.source.sha256, sha256=graph_sha256(model))

    def _validate(
        self, built: BuiltFloatGraph, quantized: QuantizedVariants, plans: Sequence[VariantPlan]
    ) -> ValidatedVariants:
        """Validate new variants with the others of their runtimes; all of them on new frames or on another machine."""
        manifest = self._manifest
        planned = {plan.id for plan in plans}
        variants = {v.id: v for v in manifest.variants if v.id not in planned} | {v.id: v for v in quantized.variants}
        runtimes = {plan.runtime for plan in plans}
        elsewhere = manifest.made_on.get("cpu") != cpu_features().model
        if not self._update.builds or self._has_new_validation or elsewhere:
            runtimes = {variant.runtime for variant in variants.values()}
        again = [_unvalidated(variant) for variant in variants.values() if variant.runtime in runtimes]
        found = validate_variants(self._job, built, QuantizedVariants(variants=tuple(again), failed=()))
        by_id = {each.variant.id: each for each in found.variants}
        built_here = {variant.id for variant in quantized.variants}
        broken = {failure.id: failure for failure in found.failed if failure.id in built_here}
        self._keep([failure for failure in found.failed if failure.id not in built_here])
        worst = self._worst_maps(built, [v for v in variants.values() if v.runtime not in runtimes])
        merged = [
            by_id.get(name) or ValidatedVariant(variant=variant, worst=worst.get(name))
            for name, variant in variants.items()
            if name not in broken
        ]
        order = [v.id for v in (*manifest.variants, *variants.values())]
        merged.sort(key=lambda each: order.index(each.variant.id))
        failed: list[FailedVariant] = [f for f in manifest.failed if f.id not in planned]
        return ValidatedVariants(
            variants=tuple(merged), failed=(*failed, *quantized.failed, *broken.values()), baseline=found.baseline
        )

    def _keep(self, failures: Sequence[FailedVariant]) -> None:
        """Leave variants as they were: that they do not run here is no reason to take them from those that run them."""
        for failure in failures:
            warning = f"{failure.id} could not be validated and stays as it was, with its old figures: {failure.reason}"
            log.warning("%s: %s", self._opened.root.name, warning)
            self.warnings.append(warning)
            self._kept.add(failure.id)

    def _worst_maps(self, built: BuiltFloatGraph, variants: Sequence[Variant]) -> dict[str, LabelMap]:
        """What variants that are not validated again give on their worst frame, for the report."""
        graph, maps = built.graph, {}
        frames = self._job.validation_frames(graph.size_hw)
        spec = ValidationSpec(frames=frames, head=graph.head_spec, labels=graph.labels, max_drop=1.0)
        validator = VariantValidator(self._job.work.variants, spec)
        for variant in variants:
            if variant.parity is not None and variant.parity.worst_frame < len(frames):
                try:
                    (output,) = validator.run_variant(variant, [frames[variant.parity.worst_frame]])
                except BackendError:
                    continue  # its runtime is not here; the report goes without its picture
                maps[variant.id] = output.labels
        return maps

    @property
    def _has_new_validation(self) -> bool:
        calibration = self._manifest.calibration
        return sample_sha256(self._job.sample) != (calibration.validation_sha256 or calibration.sha256)

    def _content(self, validated: ValidatedVariants) -> BundleContent:
        manifest = self._manifest
        return BundleContent(
            labels=manifest.labels,
            size_hw=manifest.frame.size_hw,
            head=manifest.head,
            source=manifest.source,
            calibration=self._calibration_spec(),
            validated=validated,
        )

    def _calibration_spec(self) -> CalibrationSpec:
        spec = self._manifest.calibration
        if self._job.frames is None or not self._has_new_validation:
            return spec
        digest = sample_sha256(self._job.sample)
        return msgspec.structs.replace(
            spec,
            validation_frames=self._job.sample.spec.validation_frames,
            validation_sha256=None if digest == spec.sha256 else digest,
        )


def _options(manifest: Manifest, update: BundleUpdate) -> ExportOptions:
    """The update as options of an export."""
    source = manifest.source
    tiles = update.tiles
    if tiles is None and update.runtimes:
        sizes = [variant.tile.input.hwc[:2] for variant in manifest.variants if variant.tile is not None]
        tiles = sizes[0] if sizes else None
    norm = {"mean": source.mean, "scale": source.scale} if source.mean and source.scale else {}
    return ExportOptions(
        weights=update.weights,
        labels=manifest.labels,
        size_hw=manifest.frame.size_hw,
        resize=manifest.frame.resize,
        output_name=source.output,
        normalization=msgspec.convert({"color": source.color, **norm}, Normalization),
        runtimes=update.runtimes or RUNTIMES,
        targets=update.targets,
        precisions=update.precisions,
        max_drop=update.max_drop,
        min_speedup=update.min_speedup,
        seed=manifest.calibration.seed if update.seed is None else update.seed,
        slices=update.slices != "remove",
        carried=update.carried,
        tiles=tiles,
        node_times=update.node_times,
        limits=update.limits,
        thresholds=update.thresholds,
    )


def _unsliced(variant: Variant) -> Variant:
    return msgspec.structs.replace(variant, slices=(), context=None, unsliced="", slice_overhead=None)


def _unvalidated(variant: Variant) -> Variant:
    return msgspec.structs.replace(variant, status="ok", reason="", parity=None)
