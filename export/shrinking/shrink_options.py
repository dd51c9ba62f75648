"""What making a network smaller is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edge_vseg.errors import OptionError
from edge_vseg.export.shrinking.importance import Criterion
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.types import Size

ROUNDING = 1e-6
"""Share by which a time may miss the target for no other reason than how numbers are rounded."""
CRITERIA: tuple[Criterion, ...] = ("taylor", "l1", "scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkOptions:
    """Options of :func:`~edge_vseg.export.shrinking.shrink.shrink`.

    Attributes:
        target_ms: Time of the int8 graph on the device at which cutting stops, in ms; see :meth:`is_reached`.
        training: How long networks learn in all.
        points: Networks of the family, the one at the target among them; times between are spaced evenly by factor.
        rounds: Most rounds of cutting from the whole network to the target.
        criterion: How the channels of a group are compared.
        sizes: Smaller inputs to compare with, as shares of the input's sides.
        seed: Of all that is random.
    """

    target_ms: float
    training: TrainingLength = field(default_factory=lambda: TrainingLength(seconds=600.0))
    points: int = 3
    rounds: int = 16
    criterion: Criterion = "taylor"
    sizes: tuple[float, ...] = (0.85, 0.7)
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise OptionError for impossible values."""
        if not (self.target_ms > 0 and math.isfinite(self.target_ms)):
            raise OptionError(f"the target is a time in ms above 0, got {self.target_ms}")
        if self.points < 1 or self.rounds < self.points:
            raise OptionError(
                "points must be 1 or more and rounds no fewer than points, got"
                f" points {self.points} and rounds {self.rounds}; raise rounds, or ask for fewer points"
            )
        if self.criterion not in CRITERIA:
            raise OptionError(f"unknown criterion {self.criterion!r}; known: {', '.join(CRITERIA)}")
        if any(not 0.2 <= share < 1 for share in self.sizes):
            raise OptionError(f"sizes are shares of the input from 0.2 to below 1, got {self.sizes}")

    def round_targets(self, network_ms: float) -> list[float]:
        """Time that the network shall take after each round."""
        factor = (self.target_ms / network_ms) ** (1 / self.rounds)
        return [network_ms * factor ** (number + 1) for number in range(self.rounds)]

    def is_point(self, number: int) -> bool:
        """Whether the network after a round, counted from 0, is one of the family."""
        return (number + 1) * self.points // self.rounds > number * self.points // self.rounds

    def is_reached(self, ms: float) -> bool:
        """Whether a network is as fast as it is wanted."""
        return ms <= self.target_ms * (1 + ROUNDING)

    def input_sizes(self, whole: Size) -> list[Size]:
        """Smaller inputs to compare with, each once, for a network of that input.

        Their sides divide by 32 where those of the whole do, else by 16, 8 or 1 likewise.
        """
        unit = next(each for each in (32, 16, 8, 1) if whole[0] % each == whole[1] % each == 0)

        def scaled(side: int, share: float) -> int:
            return max(unit, round(side * share / unit) * unit)

        found = dict.fromkeys((scaled(whole[0], share), scaled(whole[1], share)) for share in self.sizes)
        return [size for size in found if size != whole]
