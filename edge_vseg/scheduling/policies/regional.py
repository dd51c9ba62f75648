"""Tiles: infer only what has drifted."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Infer, InferTiles, Propagate
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Regional:
    """Infer the tiles whose predicted drift exceeds ``max_drift``, and propagate the rest.

    Use it with a fixed camera and few moving objects. When the due tiles would cost more than the whole frame, the
    whole frame is inferred. A network that needs much context is less accurate on tiles: see the tile parity in the
    bundle's manifest.

    Reference: Xu et al., Dynamic Video Segmentation Network, CVPR 2018, whose decision network is replaced by the drift
    model; Rhee et al., 2022, for regional keyframes.

    Attributes:
        max_drift: Share of a tile's pixels that may have drifted, 0 to 1.
        max_age_frames: A tile is inferred after this many frames in any case.
        max_tiles: Tiles per frame at most; 0 for as many as are cheaper than the whole frame.
        motion: Motion estimator.
    """

    max_drift: float = 0.04
    max_age_frames: int = 30
    max_tiles: int = 0
    motion: str = "dis"
    name: str = "regional"
    needs: str = "tiles"

    def __post_init__(self) -> None:
        """Raise OptionError if the drift is not a share, the age below 1 or the tiles below 0."""
        if not 0 < self.max_drift <= 1 or self.max_age_frames < 1 or self.max_tiles < 0:
            raise OptionError(
                f"max_drift must be in (0, 1], max_age_frames 1 or more and max_tiles 0 or more, got {self}"
            )

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if situation.age_frames is None:
            return Decision(actions=(Infer(),), reason="first frame")
        drift, ages = situation.tile_drift, situation.tile_age_frames
        due = [
            tile
            for tile, (share, age) in enumerate(zip(drift, ages, strict=True))
            if share > self.max_drift or age >= self.max_age_frames
        ]
        if not due:
            return Decision(actions=(Propagate(),), reason=f"drift {max(drift, default=0):.1%} at most")
        if not self.max_tiles and len(due) * costs.tile_ms > costs.infer_ms:
            return Decision(actions=(Infer(),), reason=f"{len(due)} tiles cost more than the whole frame")
        due.sort(key=lambda tile: (ages[tile] < self.max_age_frames, -drift[tile]))
        chosen = tuple(sorted(due[: self.max_tiles or len(due)]))
        return Decision(actions=(InferTiles(chosen),), reason=f"drift {max(drift):.1%} at most")
