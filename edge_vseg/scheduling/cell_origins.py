"""Which frames the cells of a map come from, where tiles of several frames were pasted into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion.warp import warp_scores
from edge_vseg.types import MotionField, Size

WHOLE = 255
MIN_SHARE = 26
"""A tenth: an image that gives less than that to every cell decides no label."""
MAX_ORIGINS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellOrigins:
    """How much of each cell's scores comes from which frame.

    Scores are interpolated anew with every tile that is pasted, so an image fades out of the cells around. Its shares
    are warped as the scores are: to follow the nearest cell alone would call maps younger than they are, and the oldest
    of the neighbours would spread by a cell each time and never leave.

    Attributes:
        shares: ``(n, h, w)`` uint8 of each frame, oldest first; 255 is all of the cell.
    """

    shares: NDArray[np.uint8]

    @classmethod
    def single(cls, cells_hw: Size) -> CellOrigins:
        """All cells come from one frame."""
        return cls(shares=np.full((1, *cells_hw), WHOLE, np.uint8))

    @property
    def cells(self) -> NDArray[np.uint8]:
        """The oldest frame that has a tenth or more of a cell: ``(h, w)`` uint8 of indices."""
        return np.asarray((self.shares >= MIN_SHARE).argmax(0), np.uint8)

    def pasted(
        self, places: Sequence[tuple[slice, slice]], motion: MotionField | None
    ) -> tuple[CellOrigins, list[int]]:
        """The cells of a later frame of which some places are new.

        Args:
            places: Of the new cells.
            motion: ``(H, W, 2)`` float32 from the later frame to this one; ``None`` if nothing has moved.

        Returns:
            The new cells, and which of the earlier frames, with the new one behind them, still have a part in them.
        """
        old = self.shares if motion is None else warp_scores(self.shares, motion)
        shares = np.concatenate([old, np.zeros((1, *old.shape[1:]), np.uint8)])
        for place in places:
            shares[(slice(None), *place)] = 0
            shares[(-1, *place)] = WHOLE
        kept = [index for index, share in enumerate(shares) if share.max() >= MIN_SHARE]
        while len(kept) > MAX_ORIGINS:  # rather too old than too young
            np.maximum(shares[kept[0]], shares[kept[1]], out=shares[kept[0]])
            del kept[1]
        return CellOrigins(shares=shares[kept]), kept
