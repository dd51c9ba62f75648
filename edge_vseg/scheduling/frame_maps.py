"""Probabilities, ages and drift of a frame, computed when its result is asked for them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.state import Origin, ShownMap
from edge_vseg.types import Logits, MotionField, Probabilities, Size


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownMaps:
    """What was shown on a frame. Nothing in it changes afterwards; see :class:`~edge_vseg.types.Result`.

    Attributes:
        shown: The map.
        motion: ``(h, w, 2)`` float32 from the frame to that of the map; ``None`` if nothing has moved.
        drift: ``(h', w')`` float32, predicted drift.
        now: The frame.
        seen: The last frame before the picture changed, as of then.
        cells_hw: Size of the scores.
        inferred: Whether the whole network ran on this frame, and nothing was fused.
        consulted: ``(C, h, w)`` float32, the map's probabilities on this frame, fused with the companion's; ``None`` if
            it did not run.
    """

    shown: ShownMap
    motion: MotionField | None
    drift: NDArray[np.float32]
    now: Origin
    seen: Origin
    cells_hw: Size
    inferred: bool
    consulted: Probabilities | None = None

    @property
    def logits(self) -> Logits | None:
        """See :class:`~edge_vseg.types.Result`."""
        return _read_only(self.shown.logits) if self.inferred and self.shown.logits is not None else None

    @functools.cached_property
    def probabilities(self) -> Probabilities | None:
        """See :class:`~edge_vseg.types.Result`."""
        if self.consulted is not None:
            return _read_only(self.consulted)
        probabilities = self.shown.probabilities
        if probabilities is None:
            return None
        return _read_only(probabilities if self.motion is None else warp_scores(probabilities, self.motion))

    @functools.cached_property
    def age_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.shown.ages(self.now, self.motion, self.cells_hw)

    @functools.cached_property
    def unseen_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.FrameMaps`."""
        return self.shown.unseen_frames(self.now, self.seen, self.motion, self.cells_hw)

    @functools.cached_property
    def age_ms_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.shown.ages_ms(self.now, self.motion, self.cells_hw)

    @functools.cached_property
    def drift_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.drift.copy()


def _read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view for the caller of an array that the next frame may carry."""
    view = values.view()
    view.flags.writeable = False
    return view
