"""Which of the timed variants a schedule can make use of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_vseg.bundle.manifest import Variant
from edge_vseg.runtimes.cpu import usable_cores

WHOLE_PENALTY = 2.0
"""How many times faster a variant without parts must be than one with parts, where the network does not fit into the
deadline: it can run only in the background, and has no time there when frames follow each other without a pause."""

FITTING_SHARE = 0.8
"""Share of the deadline that the whole network may take to count as fitting; the rest is motion, labels and noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleNeed:
    """What a schedule asks of a variant.

    Attributes:
        parts: ``slices``, ``context`` or ``tiles``, without which it cannot work; ``any`` uses what there is, empty
            nothing.
        deadline_ms: Milliseconds for each frame; ``None`` for no deadline.
    """

    parts: str = ""
    deadline_ms: float | None = None


def pick_timed(medians_ms: Mapping[str, float], variants: Mapping[str, Variant], need: ScheduleNeed) -> Variant:
    """The fastest variant that has what the schedule needs; the fastest of all if none has.

    Args:
        medians_ms: Median milliseconds of the whole graph, by id; not empty.
        variants: The variants, by id.
        need: What the schedule asks for.
    """
    fastest = min(medians_ms, key=medians_ms.__getitem__)
    if need.parts == "any":
        fits = need.deadline_ms is not None and medians_ms[fastest] <= FITTING_SHARE * need.deadline_ms
        chosen = fastest if fits else min(medians_ms, key=lambda name: _spread_ms(variants[name], medians_ms[name]))
        return variants[chosen]
    able = [name for name in medians_ms if _has(variants[name], need.parts)]
    return variants[min(able, key=medians_ms.__getitem__, default=fastest)]


def _has(variant: Variant, parts: str) -> bool:
    match parts:
        case "slices":
            return bool(variant.slices)
        case "context":
            return variant.context is not None
        case "tiles":
            return variant.tile is not None
        case _:
            return True


def _spread_ms(variant: Variant, median_ms: float) -> float:
    """What the network costs where it is spread over frames."""
    if variant.slices:
        return median_ms * (1 + (variant.slice_overhead or 0.0))
    if variant.tile is not None:
        return median_ms
    # On one core the background has only what frames leave.
    return median_ms * WHOLE_PENALTY if usable_cores() > 1 else float("inf")
