"""Policies: what to compute for a frame and what to carry over. One file each."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies.adaptive import Adaptive
from edge_vseg.scheduling.policies.asynchronous import Async
from edge_vseg.scheduling.policies.clockwork import Clockwork
from edge_vseg.scheduling.policies.deadline import Deadline
from edge_vseg.scheduling.policies.every_frame import EveryFrame
from edge_vseg.scheduling.policies.feature import Feature
from edge_vseg.scheduling.policies.fixed import Fixed
from edge_vseg.scheduling.policies.port import FrameLimits, Policy, consults, limits_of, renewal_ms
from edge_vseg.scheduling.policies.regional import Regional
from edge_vseg.scheduling.policies.sliced import Sliced

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

ALIASES = {"budget": "deadline"}
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float),
    "str": (str,),
}


def make_policy(name: str, **parameters: Any) -> Policy:
    """Make a policy from its name and parameters.

    Args:
        name: One of :data:`POLICIES`.
        parameters: Attributes of its class, such as ``period_frames=4``.

    Raises:
        OptionError: If the policy or a parameter is unknown, a required one is missing, or a value is refused.
    """
    policy = POLICIES.get(ALIASES.get(name, name))
    if policy is None:
        raise OptionError(f"unknown policy {name!r}; known: {', '.join(POLICIES)}")
    known = {field.name: field for field in fields(policy) if field.name not in ("name", "needs")}
    for key, value in parameters.items():
        if key not in known:
            raise OptionError(f"policy {name!r} has no parameter {key!r}; it has: {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, _TYPES[str(known[key].type)]):
            raise OptionError(f"{key} of policy {name!r} must be of type {known[key].type}, got {value!r}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in parameters]
    if missing:
        example = ", ".join(f"{key}=…" for key in missing)
        raise OptionError(
            f"policy {name!r} needs {', '.join(missing)}; give {policy.__name__}({example}) instead of its name"
        )
    made: Policy = policy(**parameters)
    return made


def as_policy(policy: str | Policy | None) -> Policy:
    """The policy that a name or an object stands for; ``None`` is every frame.

    Raises:
        OptionError: If there is no such policy, or it is neither.
    """
    if policy is None or isinstance(policy, str):
        return make_policy(policy or "every-frame")
    if isinstance(policy, type) or not callable(getattr(policy, "decide", None)):
        raise OptionError(
            f"policy is a name ({', '.join(POLICIES)}) or an object such as Deadline(milliseconds=15.0), got {policy!r}"
        )
    return policy


def check_consults(policy: Policy) -> None:
    """Raise OptionError, which names the policies that do, if a policy has no use for a companion."""
    if not consults(policy):
        able = " or ".join(sorted(name for name, known in POLICIES.items() if getattr(known, "consults", False)))
        raise OptionError(f"policy {policy.name!r} has no use for a companion; choose {able}, or leave it out")


__all__ = [
    "ALIASES",
    "POLICIES",
    "Adaptive",
    "Async",
    "Clockwork",
    "Deadline",
    "EveryFrame",
    "Feature",
    "Fixed",
    "FrameLimits",
    "Policy",
    "Regional",
    "Sliced",
    "as_policy",
    "check_consults",
    "limits_of",
    "make_policy",
    "renewal_ms",
]
