"""Policies: for every frame, what to compute and what to carry over. One file each."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import (
    Action,
    Advance,
    Collect,
    Decision,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
)
from edge_vseg.scheduling.policies.adaptive import Adaptive
from edge_vseg.scheduling.policies.asynchronous import Async
from edge_vseg.scheduling.policies.clockwork import Clockwork
from edge_vseg.scheduling.policies.deadline import Deadline
from edge_vseg.scheduling.policies.every_frame import EveryFrame
from edge_vseg.scheduling.policies.feature import Feature
from edge_vseg.scheduling.policies.fixed import Fixed
from edge_vseg.scheduling.policies.port import Policy
from edge_vseg.scheduling.policies.regional import Regional
from edge_vseg.scheduling.policies.sliced import Sliced
from edge_vseg.scheduling.situation import Costs, MotionStatistics, Situation

POLICIES: dict[str, Any] = {
    "every-frame": EveryFrame,
    "fixed": Fixed,
    "adaptive": Adaptive,
    "feature": Feature,
    "clockwork": Clockwork,
    "sliced": Sliced,
    "regional": Regional,
    "async": Async,
    "deadline": Deadline,
}

_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}


def make_policy(name: str, **options: Any) -> Policy:
    """A policy by name.

    Args:
        name: One of :data:`POLICIES`.
        options: Its parameters.

    Raises:
        OptionError: If there is no such policy, or it has no such parameter or refuses its value.
    """
    if name not in POLICIES:
        raise OptionError(f"unknown policy {name!r}; known: {', '.join(POLICIES)}")
    known = {field.name: field for field in fields(POLICIES[name]) if field.name not in ("name", "needs")}
    for key, value in options.items():
        if key not in known:
            raise OptionError(f"policy {name!r} has no parameter {key!r}; it has: {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, _KINDS[str(known[key].type)]):
            raise OptionError(f"{key} of policy {name!r} is a value of type {known[key].type}, got {value!r}")
    lacking = [key for key, field in known.items() if field.default is MISSING and key not in options]
    if lacking:
        raise OptionError(f"policy {name!r} needs {', '.join(lacking)}")
    made: Policy = POLICIES[name](**options)
    return made


__all__ = [
    "POLICIES",
    "Action",
    "Adaptive",
    "Advance",
    "Async",
    "Clockwork",
    "Collect",
    "Costs",
    "Deadline",
    "Decision",
    "Detail",
    "EveryFrame",
    "Feature",
    "Fixed",
    "Hold",
    "Infer",
    "InferTiles",
    "Launch",
    "MotionStatistics",
    "Policy",
    "Propagate",
    "Refresh",
    "Regional",
    "Situation",
    "Sliced",
    "make_policy",
]
