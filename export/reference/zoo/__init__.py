"""Reference networks: a two-branch family made for feature reuse.

``edge_vseg.export.reference.zoo:small`` and ``:middle`` are sources for ``edge-vseg export`` and have shipped weights.
Weights for ``:untrained_large`` and ``:untrained_middle_thin`` come from your own training.
"""

from edge_vseg.export.reference.zoo.spec import LARGE, MIDDLE, MIDDLE_THIN, SMALL, SPECS, NetworkSpec
from edge_vseg.export.reference.zoo.two_branch import Stage, TwoBranch
from edge_vseg.export.reference.zoo.weights import NORMALIZATION, pretrained, read_network, shipped, write_weights

__all__ = [
    "LARGE",
    "MIDDLE",
    "MIDDLE_THIN",
    "NORMALIZATION",
    "SMALL",
    "SPECS",
    "NetworkSpec",
    "Stage",
    "TwoBranch",
    "large",
    "middle",
    "middle_thin",
    "pretrained",
    "read_network",
    "shipped",
    "small",
    "untrained_large",
    "untrained_middle_thin",
    "write_weights",
]


def small() -> TwoBranch:
    """The small network (0.8 GMAC at 480x360) with the shipped weights."""
    return pretrained("small")


def middle() -> TwoBranch:
    """The middle network (2.5 GMAC at 480x360) with the shipped weights."""
    return pretrained("middle")


def middle_thin() -> TwoBranch:
    """The middle network with a thin path (0.2 of 2.4 GMAC) for every frame; weights as for :func:`large`."""
    return pretrained("middle_thin")


def large() -> TwoBranch:
    """The large network (5.8 GMAC at 480x360) with the shipped weights."""
    return pretrained("large")


def untrained_large() -> TwoBranch:
    """The large network with random weights; load your own with ``edge-vseg export ... --weights``."""
    return TwoBranch(LARGE)


def untrained_middle_thin() -> TwoBranch:
    """The network :func:`middle_thin` with random weights; load your own with ``edge-vseg export ... --weights``."""
    return TwoBranch(MIDDLE_THIN)
