"""Regional keys: only what changed is inferred again (T6)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Decision, Infer, InferTiles, Propagate
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Regional:
    """Tiles whose predicted drift passes a limit are inferred as crops; the rest is carried along.

    Where so many need it that the crops would cost more than the whole frame, the whole frame it is. A network that
    needs much around a place to judge it does worse on crops: the bundle's manifest says how well crops agree.

    Reference: Xu et al., Dynamic Video Segmentation Network, CVPR 2018, whose decision network is the drift model
    here; Rhee et al., 2022, for regional keys.

    Attributes:
        limit: Share of a tile's pixels that may have drifted.
        oldest: Frames after which a tile is inferred in any case.
        most: Tiles a frame at most; 0 for as many as are cheaper than the whole frame.
        motion: Motion estimator.
    """

    limit: float = 0.04
    oldest: int = 30
    most: int = 0
    motion: str = "dis"
    name: str = "regional"
    needs: str = "tiles"

    def __post_init__(self) -> None:
        """Refuse limits that are no share or no number of frames."""
        if not 0 < self.limit <= 1 or self.oldest < 1 or self.most < 0:
            raise OptionError(f"limit is a share of pixels, oldest and most are numbers, got {self}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if now.age is None:
            return Decision(actions=(Infer(),), reason="first frame")
        due = [
            number
            for number, (drift, age) in enumerate(zip(now.tiles, now.tile_ages, strict=True))
            if drift > self.limit or age >= self.oldest
        ]
        if not due:
            return Decision(actions=(Propagate(),), reason=f"drift {max(now.tiles, default=0):.1%} at most")
        if not self.most and len(due) * costs.tile > costs.whole:
            return Decision(actions=(Infer(),), reason=f"{len(due)} tiles cost more than the whole frame")
        due.sort(key=lambda number: (now.tile_ages[number] < self.oldest, -now.tiles[number]))
        chosen = tuple(sorted(due[: self.most or len(due)]))
        return Decision(actions=(InferTiles(chosen),), reason=f"drift {max(now.tiles):.1%} at most")
