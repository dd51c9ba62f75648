"""How much of the view each class takes, and since when it is there: with hysteresis, so that it does not flicker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.navigation.free_space import class_mask
from edge_vseg.types import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaThresholds:
    """When a class is there.

    Attributes:
        enter: Share of the image, 0 to 1, from which on it is.
        leave: Share below which it is not any more; at most ``enter``. 0 means: not a pixel is left.
        hold_ms: For so long a share must be past its threshold.
    """

    enter: float
    leave: float
    hold_ms: float = 0.0

    def __post_init__(self) -> None:
        """Raise OptionError if the thresholds are out of order."""
        if not 0 <= self.leave <= self.enter <= 1 or not self.enter > 0:
            raise OptionError(f"expected 0 <= leave <= enter <= 1 and enter above 0, got {self.leave} and {self.enter}")
        if not self.hold_ms >= 0:
            raise OptionError(f"hold_ms must not be negative, got {self.hold_ms}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPresence:
    """A class in view.

    Attributes:
        share: Share of the image that it takes now, 0 to 1.
        present: Whether it is there.
        since_ns: Since when that holds: the first capture whose share was past the threshold.
        turning_ns: The capture since which the share has been past the other threshold; ``None`` if it is not.
    """

    share: float
    present: bool
    since_ns: int
    turning_ns: int | None = None


def follow_areas(
    before: Mapping[int, ClassPresence], labels: LabelMap, capture_ns: int, thresholds: Mapping[int, AreaThresholds]
) -> dict[int, ClassPresence]:
    """The presence of classes after another label map.

    A class of which nothing is known yet is there if its share reaches ``enter``, whatever ``hold_ms`` is.

    Args:
        before: What this function returned for the last label map; empty for the first.
        labels: ``(H, W)`` uint8.
        capture_ns: ``result.capture_ns``.
        thresholds: Thresholds by class id; other classes are left out.

    Returns:
        Presence by class id.

    Raises:
        FrameError: If it is no label map.
        OptionError: If an id is not from 0 to 255.
    """
    class_mask(labels, thresholds)  # refuses what is no label map or class id
    counts = np.bincount(labels.reshape(-1), minlength=256)
    return {
        number: _follow(before.get(number), float(counts[number] / labels.size), capture_ns, limits)
        for number, limits in thresholds.items()
    }


def _follow(before: ClassPresence | None, share: float, now_ns: int, limits: AreaThresholds) -> ClassPresence:
    if before is None:
        return ClassPresence(share=share, present=share >= limits.enter, since_ns=now_ns)
    leaves = share < limits.leave or share == 0  # nothing is below 0
    turns = leaves if before.present else share >= limits.enter
    if not turns:
        return ClassPresence(share=share, present=before.present, since_ns=before.since_ns)
    turning_ns = now_ns if before.turning_ns is None else before.turning_ns
    if now_ns - turning_ns >= limits.hold_ms * 1e6:
        return ClassPresence(share=share, present=not before.present, since_ns=turning_ns)
    return ClassPresence(share=share, present=before.present, since_ns=before.since_ns, turning_ns=turning_ns)
