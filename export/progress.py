"""How many lines of progress an export reports, for a progress bar."""

from __future__ import annotations

from edge_vseg.export.export_options import ExportOptions, native_targets
from edge_vseg.export.pipeline.finetune_step import REPORTS
from edge_vseg.export.quantization.onnxruntime_qdq import recipe_for
from edge_vseg.export.source.source_network import is_ready_made
from edge_vseg.export.variant_builder import plan_variants
from edge_vseg.runtimes.cpu import cpu_features

_READY_MADE_STEPS = 5
_LEVELS = 127


def count_steps(source: str, options: ExportOptions) -> int:
    """How often an export calls its ``progress``, or a little more: mixed precision is not always needed.

    Args:
        source: What is exported.
        options: What for.
    """
    if is_ready_made(source):
        return _READY_MADE_STEPS
    plans = plan_variants(options, options.targets or native_targets(cpu_features().has_vnni))
    int8 = [plan for plan in plans if plan.precision == "int8"]
    own_levels = {recipe_for(plan.target).levels for plan in int8 if plan.runtime == "onnxruntime"}
    # Equalizing, rounding for each number of levels, ranges, ranking of layers.
    preparing = 3 + len(own_levels | {_LEVELS}) if int8 else 0
    if int8 and options.finetune is not None:
        preparing += REPORTS + 2
    scheduled = sum(plan.precision in options.precisions for plan in plans)
    cutting = scheduled * (options.slices + (options.tiles is not None))
    # Reading, checking and writing; every graph is built and compared, every runtime timed.
    return 3 + preparing + 2 * len(plans) + len(options.runtimes) + cutting
