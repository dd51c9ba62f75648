"""What bounds the time of a variant on the machine where the bundle was made."""

from __future__ import annotations

from typing import Literal, TypeAlias

from edge_vseg.bundle.manifest.tensors import Spec

Bound: TypeAlias = Literal["memory", "arithmetic"]


class RooflineNode(Spec, frozen=True, kw_only=True):
    """A node of the float graph, and what its variant's runtime takes for it.

    ``ms`` was measured; ``least_ms`` is what ``macs`` multiply-accumulates and ``bytes`` of tensors take at least, and
    ``bound`` the one of the two that takes longer.
    """

    name: str
    kind: str
    ms: float
    macs: int
    bytes: int
    least_ms: float
    bound: Bound


class Roofline(Spec, frozen=True, kw_only=True):
    """The time of a variant's nodes against the least that the machine could take for them.

    Attributes:
        gmac_per_s: Most multiply-accumulates a second at the variant's precision, in 10^9, as measured.
        gb_per_s: Most bytes a second, in 10^9, as measured.
        ms: Time of all nodes that could be timed.
        least_ms: The least that these could take.
        memory_share: Share of ``ms`` in nodes that are bound by memory.
        nodes: The slowest, slowest first.
    """

    gmac_per_s: float
    gb_per_s: float
    ms: float
    least_ms: float
    memory_share: float
    nodes: tuple[RooflineNode, ...]
