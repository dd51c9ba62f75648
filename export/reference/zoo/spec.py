"""Widths and depths of the two-branch networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_vseg.export.reference.zoo.blocks import Activation, BlockKind

STEM_STRIDE = 8
SCORES_STRIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Widths and depths of a two-branch network.

    Attributes:
        name: ``small``, ``middle``, ``large``, ``middle_thin``, or a name of your own.
        classes: Number of classes.
        stem: Channels at strides 2, 4 and 8; the last is the width of the detail path.
        detail_blocks: Blocks at stride 8 in the detail path.
        head: Channels of the convolution before the logits.
        context_blocks: Blocks at stride 8 in the context path.
        deep: Channels at strides 16 and 32.
        deep_blocks: Number of blocks at strides 16 and 32, after the downsampling one.
        block: Kind of the blocks at strides 16 and 32.
        activation: Activation of all blocks.
        own_stem: Channels at strides 4 and 8 of a stem that the detail path has for itself, so that the other one need
            not run on every frame; the last is then the width of the detail path. Empty: they share one.
    """

    name: str
    classes: int = 11
    stem: tuple[int, int, int]
    detail_blocks: tuple[BlockKind, ...]
    head: int
    context_blocks: tuple[BlockKind, ...]
    deep: tuple[int, int]
    deep_blocks: tuple[int, int]
    block: BlockKind = "residual"
    activation: Activation = "relu"
    own_stem: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: If a width, depth or the number of classes is out of range.
        """
        if not 2 <= self.classes <= 255:
            raise ValueError(f"classes must be 2 to 255, got {self.classes}")
        if len(self.own_stem) not in (0, 2):
            raise ValueError(f"own_stem must be empty or have two widths, got {self.own_stem}")
        if min(*self.stem, self.head, *self.deep, *self.own_stem) < 1 or min(self.deep_blocks) < 0:
            raise ValueError(f"widths must be positive and depths not negative: {self}")

    @property
    def context_width(self) -> int:
        """Channels of the context."""
        return self.head if self.own_stem else self.stem[-1]


SMALL = NetworkSpec(
    name="small",
    stem=(16, 32, 48),
    detail_blocks=("plain",),
    head=48,
    context_blocks=("plain",),
    deep=(96, 192),
    deep_blocks=(2, 1),
)
MIDDLE = NetworkSpec(
    name="middle",
    stem=(32, 48, 64),
    detail_blocks=("residual", "plain"),
    head=96,
    context_blocks=("residual", "residual", "plain"),
    deep=(128, 256),
    deep_blocks=(3, 2),
)
LARGE = NetworkSpec(
    name="large",
    stem=(32, 64, 96),
    detail_blocks=("residual", "plain"),
    head=128,
    context_blocks=("residual", "residual", "plain"),
    deep=(192, 384),
    deep_blocks=(4, 2),
)
MIDDLE_THIN = replace(MIDDLE, name="middle_thin", own_stem=(24, 48), detail_blocks=("plain", "plain"))
SPECS = {spec.name: spec for spec in (SMALL, MIDDLE, LARGE, MIDDLE_THIN)}
