"""The steps of an export, for a progress bar: how many lines of progress it reports, and what each takes.

Seconds are those of two cores at 2.5 GHz: a part that no network changes, and one for each billion multiply-accumulates
(GMAC). Only their proportions matter, since :class:`~edge_vseg.export.time_left.TimeLeft` learns the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_vseg.export.export_options import ExportOptions, native_targets
from edge_vseg.export.pipeline.finetune_step import REPORTS
from edge_vseg.export.quantization.onnxruntime_qdq import weight_levels
from edge_vseg.export.source.source_network import is_ready_made
from edge_vseg.export.time_left import PlannedStep
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.export.variant_plan import VariantPlan, plan_variants
from edge_vseg.runtimes.cpu import cpu_features

_READY_MADE = ("reading the network", "running", "timing", "comparing", "writing the bundle")
_READ, _CHECK, _BUILD, _TIME, _COMPARE, _CUT, _WRITE = range(7)
_TRAINING_STEP_S = 0.15

_Cost = tuple[float, float]
"""Seconds of any network, and seconds for each GMAC."""
_PREPARING: Mapping[str, _Cost] = {
    "equalizing channels": (0.5, 1.5),
    "rounding weights": (1.5, 11.0),
    "measuring ranges": (0.5, 4.0),
    "finding the layers that int8 hurts": (0.5, 3.0),
}
_BUILDING: Mapping[tuple[str, str], _Cost] = {
    ("onnxruntime", "float"): (0.1, 0.0),
    ("onnxruntime", "float16"): (0.3, 0.5),
    ("onnxruntime", "int8"): (0.3, 0.5),
    ("openvino", "float"): (1.0, 0.4),
    ("openvino", "float16"): (1.0, 0.4),
    ("openvino", "int8"): (0.8, 1.0),
    ("tflite", "float"): (6.0, 2.5),
    ("tflite", "float16"): (2.0, 1.0),
    ("tflite", "int8"): (6.0, 8.0),
}
_CUTTING: Mapping[str, _Cost] = {"onnxruntime": (0.8, 2.0), "openvino": (4.0, 6.0), "tflite": (1.5, 3.0)}


def count_steps(source: str, options: ExportOptions) -> int:
    """How often an export calls its ``progress``, or a little more: mixed precision is not always needed.

    Args:
        source: What is exported.
        options: What for.
    """
    return len(plan_steps(source, options))


def plan_steps(source: str, options: ExportOptions, macs: int = 10**9) -> list[PlannedStep]:
    """Every step of an export, in the order in which they are likely to come.

    Args:
        source: What is exported.
        options: What for.
        macs: Multiply-accumulates of the network.
    """
    if is_ready_made(source):
        return [PlannedStep(line=line, phase=phase, seconds=1.0) for phase, line in enumerate(_READY_MADE)]
    gmac = macs / 1e9

    def step(line: str, phase: int, cost: _Cost) -> PlannedStep:
        return PlannedStep(line=line, phase=phase, seconds=cost[0] + cost[1] * gmac)

    plans = plan_variants(options, options.targets or native_targets(cpu_features().has_vnni))
    scheduled = [plan for plan in plans if plan.precision in options.precisions]
    steps = [step("reading the network", _READ, (4.0, 1.0)), step("checking the graph", _CHECK, (1.0, 1.0))]
    steps += [step(line, _BUILD, _PREPARING[line]) for line in _preparing(plans)]
    if options.finetune is not None:
        grids = {weight_levels(plan.runtime, plan.target) for plan in plans if plan.precision == "int8"}
        steps += _training(options.finetune, gmac, anew=len(grids) > 1)
    steps += [step(f"building {plan.id}", _BUILD, _BUILDING[plan.runtime, plan.precision]) for plan in plans]
    steps += [step(f"timing {runtime}", _TIME, (0.2, 0.4)) for runtime in options.runtimes]
    steps += [step(f"comparing {plan.id}", _COMPARE, (0.2, 0.4)) for plan in plans]
    for plan in scheduled:
        if options.slices:
            steps.append(step(f"cutting {plan.id}", _CUT, _CUTTING[plan.runtime]))
        if options.tiles is not None:
            # A tile graph is built like the whole, of which it is a part.
            steps.append(step(f"making {plan.id}", _CUT, _BUILDING[plan.runtime, plan.precision]))
    noise = step("measuring what noise", _WRITE, (0.5, 2.0))
    return [*steps, noise, step("writing the bundle", _WRITE, (1.0, 0.2))]


def _preparing(plans: list[VariantPlan]) -> list[str]:
    """What int8 graphs share."""
    return list(_PREPARING) if any(plan.precision == "int8" for plan in plans) else []


def _training(length: TrainingLength, gmac: float, *, anew: bool) -> list[PlannedStep]:
    seconds = length.seconds if length.seconds is not None else (length.steps or 0) * _TRAINING_STEP_S * (1 + gmac)
    lines = [PlannedStep(line="fine-tuning:", phase=_BUILD, seconds=seconds / REPORTS)] * (REPORTS + 1)
    again = PlannedStep(line="measuring ranges", phase=_BUILD, seconds=_PREPARING["measuring ranges"][0] + 4.0 * gmac)
    rounding = _PREPARING["rounding weights"]
    once_more = PlannedStep(line="rounding weights", phase=_BUILD, seconds=rounding[0] + rounding[1] * gmac)
    return [*lines, again, *[once_more] * anew, PlannedStep(line="fine-tuning", phase=_BUILD, seconds=1.0)]
