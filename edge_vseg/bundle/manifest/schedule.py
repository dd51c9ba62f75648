"""The schedule that a bundle recommends for itself."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from edge_vseg.bundle.manifest.tensors import Sha256, Spec
from edge_vseg.types import Borders

FolderName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^/\\:\s.][^/\\:]*$", max_length=120)]


class CompanionSpec(Spec, frozen=True, kw_only=True):
    """A companion: the name of its folder beside the bundle, and the SHA-256 of its manifest."""

    name: FolderName
    sha256: Sha256


class ScheduleSpec(Spec, frozen=True, kw_only=True):
    """A policy with its parameters, and what it was tuned with; ``edge-vseg tune`` writes it.

    Attributes:
        policy: Name of a policy.
        parameters: Its parameters.
        variant: Id of the variant; empty leaves the choice to the machine.
        threads: Worker threads; 0 leaves the choice to the runtime.
        borders: How borders between classes are drawn.
        companion: A second, faster bundle; ``None`` for none.
        machine: Name of the machine that it was tuned for.
        origin: Where the settings come from, in words, by topic.
    """

    policy: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    parameters: dict[str, int | float | str] = msgspec.field(default_factory=dict)
    variant: str = ""
    threads: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    borders: Borders = "interpolated"
    companion: CompanionSpec | None = None
    machine: str = ""
    origin: dict[str, str] = msgspec.field(default_factory=dict)
