"""Step 4: build the variants, each a graph for one runtime, precision and target."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edge_vseg.bundle.manifest import FailedVariant, Variant
from edge_vseg.export.export_options import native_targets
from edge_vseg.export.pipeline.finetune_step import FinetunedWeights, finetune_weights
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph
from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.pipeline.work_folder import frames_sha256, step_fingerprint
from edge_vseg.export.quantization.device_times import DeviceCosts
from edge_vseg.export.quantization.onnxruntime_qdq import rounding_key, weight_levels
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.quantization.trial_choice import Wanted
from edge_vseg.export.variant_builder import VariantBuilder
from edge_vseg.export.variant_plan import VariantPlan, plan_variants
from edge_vseg.export.variant_validation import is_native_target
from edge_vseg.runtimes.cpu import cpu_features

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedVariants:
    """The variants, in the work folder.

    Attributes:
        variants: Those that could be built.
        failed: Those that could not.
        prepared: What the int8 ones share; ``None`` if nothing is built.
        verdict: Whether fine-tuning helped; empty without.
    """

    variants: tuple[Variant, ...]
    failed: tuple[FailedVariant, ...]
    prepared: Int8Preparation | None = None
    verdict: str = ""


def quantize_variants(
    job: ExportJob, built: BuiltFloatGraph, plans: Sequence[VariantPlan] | None = None
) -> QuantizedVariants:
    """Build variants; what one of them becomes depends on no other.

    Args:
        job: The export.
        built: The float graph.
        plans: What to build; all that the options ask for by default.

    Raises:
        CalibrationError: If there are no calibration frames.
    """
    options, graph = job.options, built.graph
    frames = job.calibration_frames(graph.size_hw)
    limits = options.thresholds
    wanted = default_plans(job) if plans is None else plans
    grids = {weight_levels(plan.runtime, plan.target) for plan in wanted if plan.precision == "int8"}
    tuned = FinetunedWeights(
        prepared=Int8Preparation(
            graph.model, frames, options.seed, thresholds=limits, progress=job.progress, grids=grids
        )
    )
    if grids:
        tuned = finetune_weights(job, built, tuned.prepared, grids)
    wish = Wanted.of(limits, options.max_drop, options.min_speedup)
    costs = _costs_on_device(job, built, wanted)
    builder = VariantBuilder(graph, tuned.prepared, job.work.variants, job.child, wish, job.resize, costs)
    digest = frames_sha256(frames)
    variants: list[Variant] = []
    failed: list[FailedVariant] = []
    for plan in wanted:
        job.progress(f"building {plan.id}")
        recipe = rounding_key(plan.runtime, plan.target) if plan.precision == "int8" else ""
        timing = limits.timing_rounds, limits.max_timing_threads
        search = (wish, timing, limits.float_layer_counts, limits.int8_check_frames, recipe, costs.get(plan.id))
        written = graph.labels, job.resize
        key = step_fingerprint("variant", plan, built.sha256, written, digest, options.seed, search, tuned.key)
        step = f"variants/{plan.id}"
        record = job.work.load(step, key)
        if record is None:
            variant = builder.build(plan)
            if isinstance(variant, FailedVariant):
                failed.append(variant)
                continue
            files = (job.work.variants / plan.id).iterdir()
            job.work.save(step, key, msgspec.to_builtins(variant), files)
        else:
            variant = msgspec.convert(record, Variant)
        variants.append(variant)
    if options.tiles is None:
        job.child.close()  # nothing more is converted, and the converters hold a gigabyte; slicing needs none of them
    return QuantizedVariants(
        variants=tuple(variants), failed=tuple(failed), prepared=tuned.prepared, verdict=tuned.verdict
    )


def _costs_on_device(job: ExportJob, built: BuiltFloatGraph, plans: Sequence[VariantPlan]) -> dict[str, DeviceCosts]:
    """What was recorded on the device for int8 graphs, by the ids of their variants."""
    times, nodes = job.options.node_times, built.graph.model.graph.node
    found: dict[str, DeviceCosts] = {}
    if times is None:
        return found
    for plan in (each for each in plans if each.precision == "int8"):
        # A Jetson's graphs run on its GPU, and only CPUs can be recorded.
        foreign = not is_native_target(plan.target) and plan.target != "jetson"
        costs = times.costs(plan.runtime, plan.id, nodes, foreign=foreign)
        if costs is None:
            log.warning("%s says too little of %s, which is made as without it", times.path, plan.id)
        else:
            found[plan.id] = costs
    return found


def default_plans(job: ExportJob) -> list[VariantPlan]:
    """All variants that the options ask for, on this machine's target if they name none."""
    return plan_variants(job.options, job.options.targets or native_targets(cpu_features().has_vnni))
