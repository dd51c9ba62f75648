"""A setting: everything that a trial varies."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_vseg.scheduling.policies import Policy, make_policy
from edge_vseg.types import Borders


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trial runs.

    Attributes:
        network: Name of the bundle among a study's networks.
        variant: Id of its variant.
        policy: Name of the policy.
        parameters: Its parameters.
        threads: Worker threads; 0 leaves the choice to the runtime.
        borders: How borders between classes are drawn.
        companion: Name of the companion among a study's networks; empty for none.
    """

    network: str
    variant: str
    policy: str
    parameters: dict[str, int | float | str]
    threads: int = 0
    borders: Borders = "interpolated"
    companion: str = ""

    def make_policy(self) -> Policy:
        """The policy.

        Raises:
            OptionError: If there is no such policy or parameter.
        """
        return make_policy(self.policy, **self.parameters)

    def tree(self) -> dict[str, Any]:
        """As JSON types."""
        tree: dict[str, Any] = msgspec.to_builtins(self)
        return tree

    def __str__(self) -> str:
        """The policy with its parameters, and what else is not the default."""
        values = ", ".join(f"{name}={_short(value)}" for name, value in self.parameters.items())
        more = [self.variant]
        if self.threads:
            more.append(f"{self.threads} threads" if self.threads > 1 else "1 thread")
        if self.borders != "interpolated":
            more.append(f"{self.borders} borders")
        if self.companion:
            more.append(f"companion {self.companion}")
        return f"{self.policy}({values}), {self.network}, {', '.join(more)}"


def _short(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
