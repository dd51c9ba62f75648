"""What several evaluations say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

_MEANS = ("miou", "every_frame_miou", "fidelity_miou", "agreement", "cost", "misses")


def summary_of(rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, and for each device profile the means over the clips and the worst of them, ready for JSON.

    Args:
        rows: Records of evaluations.
        failed: Those without a record.

    Returns:
        Means are ``None`` where no record has the figure; each clip counts the same, however long it is.
    """
    profiles = dict.fromkeys(row["replay"] for row in rows)
    return {
        "rows": len(rows),
        "failed": len(failed),
        "frames": sum(row["frames"] for row in rows),
        "profiles": [_of_profile(name, [row for row in rows if row["replay"] == name]) for name in profiles],
    }


def _of_profile(name: str | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means = {figure: _mean([row[figure] for row in rows]) for figure in _MEANS}
    misses = [row["misses"] for row in rows if row["misses"] is not None]
    worst = min(rows, key=lambda row: float(row["fidelity_miou"]))
    return {
        "replay": name,
        "rows": len(rows),
        **means,
        "worst_misses": max(misses, default=None),
        "worst_fidelity_miou": worst["fidelity_miou"],
        "worst_data": worst["data"],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
