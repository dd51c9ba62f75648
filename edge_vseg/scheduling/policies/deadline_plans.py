"""Ways to spend the time of a frame before its deadline, each with how stale it keeps the maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edge_vseg.decision import ALL_SLICES, Action, Advance, Detail, InferTiles, Propagate, Refresh
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What could be done on this frame and the next ones like it.

    Attributes:
        actions: For this frame.
        staleness: Expected staleness of the maps, in frames: their predicted drift over that of one frame. Fresh
            details on an old context, and tiles, count as much as a carried map that is as wrong.
        reason: For people.
    """

    actions: tuple[Action, ...]
    staleness: float
    reason: str


def mean_age(frames: float) -> float:
    """Mean age of maps in frames, where a keyframe takes so many frames and the next one then starts."""
    return 1.5 * frames - 0.5


def plans(situation: Situation, costs: Costs, left_ms: float, until_ms: float, max_age_frames: int) -> Iterator[Plan]:
    """All plans that fit.

    Args:
        situation: The state of the video.
        costs: What each action costs here.
        left_ms: Milliseconds of the frame that are left for actions.
        until_ms: When the actions must be done, in ms from the frame's start.
        max_age_frames: A map of this age must be renewed.
    """
    for plan in (
        _tiles(situation, costs, left_ms, max_age_frames),
        _feature_reuse(situation, costs, left_ms, until_ms, max_age_frames),
        _keyframe_slices(situation, costs, left_ms, until_ms, max_age_frames),
    ):
        if plan is not None:
            yield plan


def detail_ms(situation: Situation, costs: Costs) -> float:
    """Milliseconds of stem, detail stage and what follows; infinite without a context stage."""
    if situation.context_slices is None:
        return math.inf
    first, end = situation.context_slices
    parts = sum(costs.slices_ms[:first]) + sum(costs.slices_ms[end:])
    return costs.input_ms + parts + costs.carry_ms + costs.fuse_ms


def _tiles(situation: Situation, costs: Costs, left_ms: float, max_age_frames: int) -> Plan | None:
    """As many tiles as fit: first those that are too old, then those with the most drift."""
    drift, ages = situation.tile_drift, situation.tile_age_frames
    free_ms = left_ms - costs.propagate_ms - costs.fuse_ms - costs.input_ms
    if not drift or costs.tile_ms <= 0 or free_ms < costs.tile_ms:
        return None
    count = min(len(drift), int(free_ms / costs.tile_ms))
    ranked = sorted(range(len(drift)), key=lambda tile: (ages[tile] < max_age_frames, -drift[tile], -ages[tile]))
    chosen, total = tuple(sorted(ranked[:count])), sum(drift)
    covered = sum(drift[tile] for tile in chosen) / total if total else count / len(drift)
    # Where the drift is everywhere, all tiles take turns; where it is in few, the rest hardly ages.
    staleness = (1 - covered) * len(drift) / count / 2 + situation.aging.tile_error / max(situation.drift_rate, 1e-4)
    return Plan(
        actions=(InferTiles(chosen),), staleness=staleness, reason=f"{count} tiles with {covered:.0%} of the drift"
    )


def _feature_reuse(
    situation: Situation, costs: Costs, left_ms: float, until_ms: float, max_age_frames: int
) -> Plan | None:
    """Carried context and fresh detail, and slices of the next context in the time left."""
    age = situation.context_age_frames
    if situation.context_slices is None or age is None:
        return None  # a keyframe brings a context, too
    first, end = situation.context_slices
    context_ms, free_ms = costs.slices_ms[first:end], left_ms - detail_ms(situation, costs)
    if free_ms < max(context_ms) or age > 2 * max_age_frames:  # it would hardly be renewed
        return None
    aging = situation.aging
    staleness = aging.context_base + aging.context_per_frame * mean_age(sum(context_ms) / free_ms)
    actions = (Detail(), Refresh(ALL_SLICES, until_ms))
    return Plan(actions=actions, staleness=staleness, reason=f"context {age} frames old")


def _keyframe_slices(
    situation: Situation, costs: Costs, left_ms: float, until_ms: float, max_age_frames: int
) -> Plan | None:
    """As many slices of a keyframe as there is time for, and the last map propagated."""
    total, done = situation.slice_count, situation.keyframe_slices_done
    if not total:
        return None
    last, input_ms = done == total - 1, 0.0 if done else costs.input_ms
    next_ms = costs.slices_ms[done] + input_ms + (costs.fuse_ms if last else 0.0)
    free_ms = left_ms - costs.propagate_ms
    if next_ms > free_ms:
        # The last slice may fit beside a held map: its own scores are the better map.
        if not last or next_ms > left_ms:
            return None
        return Plan(actions=(Advance(1, until_ms),), staleness=mean_age(total), reason="last slice")
    frames = (sum(costs.slices_ms) + costs.fuse_ms + costs.input_ms) / max(free_ms, max(costs.slices_ms))
    # Renewing a map that is too old matters more than a slice that may finish late.
    forced = (Advance(1),) if (situation.age_frames or 0) >= max_age_frames else ()
    actions = (*forced, Advance(ALL_SLICES, until_ms - costs.propagate_ms), Propagate())
    return Plan(actions=actions, staleness=mean_age(max(1.0, frames)), reason=f"{done} of {total} slices done")
