"""Reference networks: a two-branch family made for feature reuse.

``edge_vseg.export.reference.zoo:small`` and ``:middle`` are sources for ``edge-vseg export`` and have shipped weights.
Weights for ``:untrained_large`` come from your own training.
"""

from edge_vseg.export.reference.zoo.spec import LARGE, MIDDLE, SMALL, SPECS, NetworkSpec
from edge_vseg.export.reference.zoo.two_branch import Stage, TwoBranch
from edge_vseg.export.reference.zoo.weights import NORMALIZATION, pretrained, read_network, shipped, write_weights

__all__ = [
    "LARGE",
    "MIDDLE",
    "NORMALIZATION",
    "SMALL",
    "SPECS",
    "NetworkSpec",
    "Stage",
    "TwoBranch",
    "large",
    "middle",
    "pretrained",
    "read_network",
    "shipped",
    "small",
    "untrained_large",
    "write_weights",
]


def small() -> TwoBranch:
    """The small network (0.8 GMAC at 480x360) with the shipped weights."""
    return pretrained("small")


def middle() -> TwoBranch:
    """The middle network (2.5 GMAC at 480x360) with the shipped weights."""
    return pretrained("middle")


def large() -> TwoBranch:
    """The large network (5.8 GMAC at 480x360) with shipped weights; without, the error says how to train them."""
    return pretrained("large")


def untrained_large() -> TwoBranch:
    """The large network with random weights; load your own with ``edge-vseg export ... --weights``."""
    return TwoBranch(LARGE)
