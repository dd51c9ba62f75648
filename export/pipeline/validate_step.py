"""Step 5: compare the variants with the float graph on frames that calibration never saw, and time them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_vseg.bundle.manifest import FailedVariant, Variant
from edge_vseg.export.node_rooflines import add_rooflines
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph
from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.pipeline.quantize_step import QuantizedVariants
from edge_vseg.export.pipeline.work_folder import folder_sha256, frames_sha256, step_fingerprint
from edge_vseg.export.quantization.onnxruntime_qdq import rounding_key
from edge_vseg.export.variant_validation import (
    GraphOutput,
    ValidatedVariant,
    ValidationSpec,
    VariantValidator,
    timing_threads,
)
from edge_vseg.types import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidatedVariants:
    """The variants with their parity.

    Attributes:
        variants: Those that run.
        failed: Those that could not be built or do not run.
        baseline: Label maps of the float graph on the validation frames.
    """

    variants: tuple[ValidatedVariant, ...]
    failed: tuple[FailedVariant, ...]
    baseline: tuple[LabelMap, ...]


def validate_variants(job: ExportJob, built: BuiltFloatGraph, quantized: QuantizedVariants) -> ValidatedVariants:
    """Compare with the float graph. Give all variants of a runtime together: their times compare only within one run.

    Raises:
        CalibrationError: If there are no validation frames.
    """
    graph = built.graph
    spec = ValidationSpec(
        frames=job.validation_frames(graph.size_hw),
        head=graph.head_spec,
        labels=graph.labels,
        max_drop=job.options.max_drop,
        min_speedup=job.options.min_speedup,
        thresholds=job.options.thresholds,
    )

    def finish(variants: Sequence[ValidatedVariant]) -> list[ValidatedVariant]:
        threads = timing_threads(spec.thresholds)
        return add_rooflines(job.work.variants, graph.model, variants, spec.frames[0], threads)

    found = run_validation(
        job, spec, quantized.variants, lambda validator: validator.run_float(graph.model), built.sha256, finish
    )
    return ValidatedVariants(
        variants=found.variants, failed=(*quantized.failed, *found.failed), baseline=found.baseline
    )


def run_validation(
    job: ExportJob,
    spec: ValidationSpec,
    variants: Sequence[Variant],
    run_baseline: Callable[[VariantValidator], list[GraphOutput]],
    baseline_sha256: str,
    finish: Callable[[Sequence[ValidatedVariant]], Sequence[ValidatedVariant]] = lambda variants: variants,
) -> ValidatedVariants:
    """Compare variants in the work folder with a baseline, or take what an earlier run recorded.

    Args:
        job: The export.
        spec: What they are compared on.
        variants: The variants.
        run_baseline: Gives the outputs of the baseline.
        baseline_sha256: Changes with the baseline.
        finish: Adds what else is to be said of the variants.
    """
    root = job.work.variants
    graphs = [(variant, folder_sha256(graph_files(root, variant))) for variant in variants]
    limits = (spec.max_drop, spec.min_speedup, spec.thresholds.timing_rounds, spec.thresholds.max_timing_threads)
    exact = [rounding_key(each.runtime, each.target) for each in variants if each.precision == "int8"]
    key = step_fingerprint(
        "validation", graphs, baseline_sha256, frames_sha256(spec.frames), spec.head, spec.labels, spec.color, limits,
        exact,
    )  # fmt: skip
    maps_path = job.work.root / "validation.npz"
    record = job.work.load("validation", key)
    if record is not None:
        with np.load(maps_path) as maps:
            return ValidatedVariants(
                variants=tuple(
                    ValidatedVariant(variant=msgspec.convert(tree, Variant), worst=maps[f"worst{number}"])
                    for number, tree in enumerate(record["variants"])
                ),
                failed=(),
                baseline=tuple(maps["baseline"]),
            )
    validator = VariantValidator(root, spec)
    baseline = run_baseline(validator)
    validated, failed = validator.validate(variants, baseline, job.progress)
    result = ValidatedVariants(
        variants=tuple(finish(validated)), failed=tuple(failed), baseline=tuple(output.labels for output in baseline)
    )
    worst = {f"worst{number}": each.worst for number, each in enumerate(result.variants) if each.worst is not None}
    np.savez_compressed(maps_path, allow_pickle=False, baseline=np.stack(result.baseline), **worst)
    record = {"variants": [msgspec.to_builtins(each.variant) for each in result.variants]}
    if not failed:  # what does not run now may run later, with more memory or less beside it
        job.work.save("validation", key, record, [maps_path])
    return result


def graph_files(root: Path, variant: Variant) -> list[Path]:
    """The files of a variant's whole graph."""
    stem = Path(variant.entry).stem
    return [path for path in (root / variant.id).iterdir() if path.stem == stem]
