"""The schedule as the page shows and changes it: a policy by name, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import msgspec

from edge_vseg.scheduling.policies import POLICIES, EveryFrame, Policy, limits_of, make_policy

_NOT_PARAMETERS = ("name", "needs")


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client asks for.

    Attributes:
        policy: Name of the policy.
        parameters: Its parameters; those that are left out have their defaults.
    """

    policy: str
    parameters: dict[str, int | float | str] = {}

    def make(self) -> Policy:
        """The policy.

        Raises:
            OptionError: If there is no such policy or parameter, or a value is refused.
        """
        return make_policy(self.policy, **self.parameters)


def describe_policies() -> list[dict[str, Any]]:
    """All policies with the types and defaults of their parameters, for a form."""
    return [
        {
            "name": name,
            "parameters": [
                {
                    "name": field.name,
                    "type": str(field.type).partition(" ")[0],
                    "optional": field.default is None,
                    "default": None if field.default is MISSING else field.default,
                }
                for field in fields(policy)
                if field.name not in _NOT_PARAMETERS
            ],
        }
        for name, policy in POLICIES.items()
    ]


def describe_schedule(policy: Policy | None) -> dict[str, Any]:
    """A policy with its parameters, and its deadline in ms."""
    policy = policy or EveryFrame()
    known = fields(policy) if policy.name in POLICIES else ()  # type: ignore[arg-type]
    parameters: Mapping[str, Any] = {
        field.name: getattr(policy, field.name) for field in known if field.name not in _NOT_PARAMETERS
    }
    limits = limits_of(policy)
    return {
        "policy": policy.name,
        "parameters": parameters,
        "deadline_ms": limits.deadline_ms,
        "cpu_share": limits.cpu_share,
    }
