"""The label map of every scheduled frame: made when a map becomes the shown one, and warped on the frames after."""

from __future__ import annotations

from collections.abc import Callable

from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.scheduler import Outcome
from edge_vseg.scheduling.state import ShownMap
from edge_vseg.types import LabelMap, Size


class ShownLabels:
    """Makes label maps at the frames' size, and keeps the last one.

    Args:
        align: How the network's own upsampling aligns samples, see :class:`~edge_vseg.imaging.label_maps.LabelMapper`.
        meter: Measures the steps ``labels`` and ``propagate``.
        clock: Time in ns.
    """

    def __init__(self, align: str, meter: CostMeter, clock: Callable[[], int]) -> None:
        self._align = align
        self._meter = meter
        self._clock = clock
        self._size_hw: Size = (0, 0)
        self._mapper: LabelMapper | None = None
        self._warper: LabelWarper | None = None
        self._keyframe: tuple[ShownMap, LabelMap] | None = None
        self._last: LabelMap | None = None

    def __call__(self, outcome: Outcome, size_hw: Size) -> LabelMap:
        """The label map of a frame.

        Args:
            outcome: What the scheduler gives for it.
            size_hw: Size of the frame.

        Returns:
            ``(H, W)`` uint8, the caller's own.
        """
        if self._mapper is None or self._warper is None or size_hw != self._size_hw:
            self._size_hw, self._keyframe, self._last = size_hw, None, None
            self._mapper, self._warper = LabelMapper(size_hw, self._align), LabelWarper(size_hw)
        if not outcome.changed and self._last is not None:
            return self._last.copy()
        begin_ns = self._clock()
        warped = self._keyframe is not None and self._keyframe[0] is outcome.shown
        if self._keyframe is not None and warped:
            # Always from the map as it became the shown one: a warped map that is warped again gets ragged.
            base = self._keyframe[1]
            labels = base.copy() if outcome.motion is None else self._warper(base, outcome.motion)
        else:
            labels = self._mapper(outcome.label_scores)
            labels.flags.writeable = False  # the warper need not look whether it has changed
            # With motion it is a map of this frame, made from an older one because the frames' size has changed.
            self._keyframe = (outcome.shown, labels) if outcome.motion is None else None
            labels = labels.copy()
        self._last = labels.copy()  # the caller may draw on the other one
        self._meter.add(steps.PROPAGATE if warped else steps.LABELS, self._clock() - begin_ns)
        return labels
