"""Read the JSON that ``edge-vseg profile`` and ``edge-vseg evaluate`` write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vseg.analysis.evaluation.evaluation_record import SCHEMA as EVALUATION_SCHEMA
from edge_vseg.analysis.profiling.latency_profile import SCHEMA as PROFILE_SCHEMA
from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular, strict_json

MAX_FIGURE = 1e15
"""More than any figure; with :data:`MIN_FIGURE`, ratios of two stay finite."""
MIN_FIGURE = 1e-12
SCHEMAS = {"profile": PROFILE_SCHEMA, "evaluation": EVALUATION_SCHEMA}


def read_measurement(path: Path) -> dict[str, Any]:
    """Read a latency profile or an evaluation, and add the shares that a profile does not store.

    Raises:
        OptionError: If the file cannot be read, or is neither.
    """
    try:
        tree = strict_json(read_regular(path))
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise OptionError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(tree, dict) or tree.get("kind") not in tuple(SCHEMAS):
        raise OptionError(
            f"{path} is neither a latency profile nor an evaluation;"
            " make one with edge-vseg profile --json FILE, or edge-vseg evaluate --json > FILE"
        )
    if tree.get("schema") != SCHEMAS[tree["kind"]]:
        raise OptionError(
            f"{path} has schema {tree.get('schema')}, this version reads {SCHEMAS[tree['kind']]}; measure again"
        )
    frames = number_at(tree, ("frames",))
    if tree["kind"] == "profile" and frames is not None and frames > 0:
        dropped = max(0.0, number_at(tree, ("dropped",)) or 0.0)
        tree["dropped_share"] = dropped / (frames + dropped)
        if tree.get("limit_ms") is not None:
            tree["missed_share"] = (number_at(tree, ("missed",)) or 0) / frames
    return tree


def value_at(tree: Any, path: tuple[str, ...]) -> Any:
    """The value that keys lead to; ``None`` if there is none."""
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def number_at(tree: Any, path: tuple[str, ...]) -> float | None:
    """The number that keys lead to; ``None`` if there is none, or none that a measurement gives."""
    value = value_at(tree, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_FIGURE:
        return None
    return float(value)
