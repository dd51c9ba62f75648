"""Step 6: slices and tile graphs for the variants that a scheduler opens."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import msgspec

from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import ExportError
from edge_vseg.export.float_graph import FloatGraph, carried_tensors
from edge_vseg.export.partition.slicer import Slicer, SliceSpec
from edge_vseg.export.partition.tile_graph import make_tile_graph
from edge_vseg.export.partition.tile_graphs import TileGraphBuilder, TileSpec
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph
from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.pipeline.quantize_step import QuantizedVariants
from edge_vseg.export.pipeline.validate_step import ValidatedVariants, graph_files
from edge_vseg.export.pipeline.work_folder import folder_sha256, frames_sha256, step_fingerprint
from edge_vseg.export.source.source_network import SourceNetwork
from edge_vseg.export.variant_validation import is_native

_FIELDS = ("slices", "context", "unsliced", "slice_overhead", "tile", "untiled")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """Ids of the variants that get slices, and of those that get a tile graph."""

    sliced: frozenset[str]
    tiled: frozenset[str]


def plan_partition(job: ExportJob, variants: Iterable[Variant]) -> PartitionPlan:
    """What the options ask for, of the variants that a scheduler opens."""
    scheduled = scheduled_ids(variants, job.options.precisions)
    none: frozenset[str] = frozenset()
    return PartitionPlan(
        sliced=scheduled if job.options.slices else none, tiled=none if job.options.tiles is None else scheduled
    )


def scheduled_ids(variants: Iterable[Variant], precisions: Collection[str]) -> frozenset[str]:
    """Variants that a scheduler opens: all that the bundle keeps, for ``auto`` takes float where int8 is no faster."""
    return frozenset(variant.id for variant in variants if variant.precision in precisions)


def partition_variants(
    job: ExportJob,
    network: SourceNetwork | None,
    built: BuiltFloatGraph,
    quantized: QuantizedVariants,
    validated: ValidatedVariants,
    plan: PartitionPlan | None = None,
) -> ValidatedVariants:
    """Cut variants into slices and make their tile graphs.

    Args:
        job: The export.
        network: The source; ``None`` if it is not needed: see :func:`needs_source`.
        built: The float graph.
        quantized: What the int8 variants share; its variants are not read.
        validated: The variants.
        plan: Which of them; what the options ask for by default.

    Raises:
        ExportError: If nothing can be carried over at the tensors of ``options.carried``.
    """
    variants = {each.variant.id: each.variant for each in validated.variants}
    plan = plan or plan_partition(job, variants.values())
    partitioner = _Partitioner(job, network, built, quantized, plan)
    done = {name: partitioner.partition(variant, variants) for name, variant in variants.items()}
    return replace(
        validated, variants=tuple(replace(each, variant=done[each.variant.id]) for each in validated.variants)
    )


def needs_source(job: ExportJob, kind: str, plan: PartitionPlan) -> bool:
    """Whether partitioning reads the source, where the float graph alone does not tell enough.

    Args:
        job: The export.
        kind: What the source came as.
        plan: What is partitioned.
    """
    return bool(plan.tiled) or bool(plan.sliced and kind == "torch" and not job.options.carried)


class _Partitioner:
    """Partitions one variant after the other; what they share is made when the first one needs it."""

    def __init__(
        self,
        job: ExportJob,
        network: SourceNetwork | None,
        built: BuiltFloatGraph,
        quantized: QuantizedVariants,
        plan: PartitionPlan,
    ) -> None:
        options, limits, prepared = job.options, job.options.thresholds, quantized.prepared
        assert prepared is not None, "variants are partitioned with what quantizing them left"
        self._job = job
        self._plan = plan
        self._root = job.work.variants
        frames = job.validation_frames(built.graph.size_hw) if plan.sliced or plan.tiled else []
        self._slicer: Slicer | None = None
        self._tiler: TileGraphBuilder | None = None
        carried = options.carried
        if plan.sliced:
            if not carried and network is not None:
                carried = carried_tensors(built.graph, network, job.normalization, frames[0])
            spec = SliceSpec(
                frames=frames[: limits.slice_check_frames], carried=carried, thresholds=limits, child=job.child
            )
            self._slicer = Slicer(built.graph.model, self._root, spec, lambda: prepared.equalized)
        if plan.tiled:
            assert options.tiles is not None
            tile_spec = TileSpec(
                size_hw=options.tiles,
                frames=frames[: limits.tile_check_frames],
                seed=options.seed,
                thresholds=limits,
                child=job.child,
                progress=job.progress,
            )

            def make_graph() -> FloatGraph:
                if network is None:
                    raise ExportError("tile graphs are made from the source, which is not here")
                return make_tile_graph(network, built.graph, options)

            self._tiler = TileGraphBuilder(make_graph, built.graph, prepared, self._root, tile_spec)
        calibration = frames_sha256(prepared.frames)
        self._inputs = (built.sha256, frames_sha256(frames), calibration, options.seed, carried, options.tiles, limits)

    def partition(self, variant: Variant, variants: dict[str, Variant]) -> Variant:
        sliced, tiled = variant.id in self._plan.sliced, variant.id in self._plan.tiled
        if not sliced and not tiled:
            return variant
        if sliced:
            self._job.progress(f"cutting {variant.id} into slices")
        if tiled:
            self._job.progress(f"making {variant.id} for tiles")
        native = is_native(variant)
        timed = variant if native else variants.get(f"{variant.runtime}/float")
        bare = msgspec.structs.replace(variant, parity=None, status="ok", reason="")
        key = step_fingerprint(
            "partition",
            sliced,
            tiled,
            bare,
            timed is not None,
            folder_sha256(graph_files(self._root, variant)),
            self._inputs,
        )
        step = f"partition/{variant.id}"
        record = self._job.work.load(step, key)
        if record is not None:
            changes = msgspec.convert(record, Variant)
            return msgspec.structs.replace(variant, **{name: getattr(changes, name) for name in _FIELDS})
        if sliced and self._slicer is not None:
            variant = self._slicer.slice(variant, timed)
        if tiled and self._tiler is not None:
            variant = self._tiler.add(variant, timed=native)
        stopped = set() if self._slicer is None else self._slicer.stopped
        unbuilt = set() if self._tiler is None else self._tiler.unbuilt
        if variant.id in stopped | unbuilt:
            return variant  # as a variant that cannot be built: with more memory or time it may be
        stems = ("slice*",) * sliced + ("tile.*",) * tiled
        files = [path for stem in stems for path in (self._root / variant.id).glob(stem)]
        self._job.work.save(step, key, msgspec.to_builtins(variant), files)
        return variant
