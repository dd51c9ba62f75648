"""The label map of every frame: made when a map becomes the shown one, and warped on the frames after."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.map_maker import MapMaker
from edge_vseg.scheduling.state import ShownMap
from edge_vseg.scheduling.thing_follower import ThingFollower
from edge_vseg.types import LabelMap, LabelSource, Mask, MotionField, Size

log = logging.getLogger(__name__)


class ShownLabels:
    """Gives label maps at the frames' size, and keeps the last one.

    Args:
        maker: Makes new label maps.
        meter: Measures the steps ``labels`` and ``propagate``.
        clock: Time in ns.
        follower: Finds things in carried label maps that the motion has lost; ``None`` for none.

    Attributes:
        followed: ``(H, W)`` bool, what the follower changed in the last label map; ``None`` if that is nothing.
    """

    def __init__(
        self, maker: MapMaker, meter: CostMeter, clock: Callable[[], int], follower: ThingFollower | None = None
    ) -> None:
        self._maker = maker
        self._meter = meter
        self._clock = clock
        self._follower = follower
        self.followed: Mask | None = None
        self._size_hw: Size = (0, 0)
        self._warper: LabelWarper | None = None
        self._last: tuple[ShownMap, LabelMap] | None = None

    def __call__(
        self,
        shown: ShownMap,
        motion: MotionField | None,
        size_hw: Size,
        source: LabelSource,
        consulted: ShownMap | None = None,
    ) -> LabelMap:
        """The label map of a frame.

        Args:
            shown: The map to show.
            motion: ``(h, w, 2)`` float32 from the frame to that of the map; ``None`` if nothing has moved.
            size_hw: Size of the frame.
            source: Where its labels come from.
            consulted: The map with a companion's part, which is shown instead on this frame; held, it is shown again.

        Returns:
            ``(H, W)`` uint8, the caller's own.
        """
        if self._warper is None or size_hw != self._size_hw:
            self._size_hw, self._warper, self._last = size_hw, LabelWarper(size_hw), None
        # Another map may be shown meanwhile, on a frame that failed before its labels were made.
        if source == "held" and self._last is not None and self._last[0] is shown:
            return self._last[1].copy()
        self.followed = None
        carried, carried_motion = shown, motion
        if consulted is not None:
            shown, motion = consulted, None
        begin_ns, made = self._clock(), shown.labels is None or shown.labels.shape != size_hw
        if made:
            self._maker.label_map(shown, size_hw)
        labels = shown.labels
        assert labels is not None
        if consulted is not None and carried_motion is not None:
            labels = self._mended(labels, carried, carried_motion, source)
        if made:
            self._meter.add(steps.LABELS, self._clock() - begin_ns)
        if motion is not None:
            # Always from the map of its own frame: a warped map that is warped again gets ragged.
            begin_ns = self._clock()
            labels = self._warper(labels, motion)
            labels = self._mended(labels, carried, motion, source)
            self._meter.add(steps.PROPAGATE, self._clock() - begin_ns)
        self._last = carried, labels
        return labels.copy()  # the caller may draw on it

    def _mended(self, labels: LabelMap, carried: ShownMap, motion: MotionField, source: LabelSource) -> LabelMap:
        """The map with the things that are found again; as it is where that fails, for it is an answer already."""
        if self._follower is None or source == "held":  # what is held is of an older frame than the last picture
            return labels
        mended = labels.copy()
        try:
            self._follower.mend(mended, carried, motion)
        except Exception:  # of OpenCV or numpy, or a field of motion that the caller has brought
            log.warning("things are not followed until the next keyframe", exc_info=True)
            self._follower.forget()
            return labels
        changed = mended != labels
        self.followed = changed if changed.any() else None
        return mended
