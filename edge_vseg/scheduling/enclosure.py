"""Frames in a border on their way into the engine, and results without it on their way out."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import FrameSpec, Letterbox
from edge_vseg.imaging.letterbox import FramePlace, border_color
from edge_vseg.types import ColorOrder, Frame, FrameMaps, LabelMap, Logits, Mask, MotionField, Probabilities, Size


class FrameEnclosure:
    """Gives each frame the aspect of the network's input, and knows where it lies in there.

    Behind it the engine sees frames of the input's size: motion, tiles and carried maps are of the picture and its
    border, in which nothing moves.

    Attributes:
        place: Where the frame at hand lies; ``None`` if it is stretched, or fits without a border.

    Args:
        frame: Size and rule.
        color: Channel order of the frames.
    """

    def __init__(self, frame: FrameSpec, color: ColorOrder) -> None:
        self.place: FramePlace | None = None
        self._input_hw: Size = frame.size_hw
        self._box = frame.resize if isinstance(frame.resize, Letterbox) else None
        self._border = (0, 0, 0) if self._box is None else border_color(self._box, color)

    def enter(self, frame: Frame) -> tuple[Frame, bool]:
        """A frame as the engine takes it, and whether it lies where the last one did."""
        if self._box is None:
            return frame, True
        before, frame_hw = self.place, (frame.image.shape[0], frame.image.shape[1])
        place = before
        if before is None or before.frame_hw != frame_hw:
            fitted = FramePlace.of(frame_hw, self._input_hw)
            place = None if fitted.fills else fitted
        if place is not None:
            frame = replace(frame, image=place.enclose(frame.image, self._border))
        self.place = place  # last: what fails before leaves the place of what is carried
        return frame, _inner(before) == _inner(place)

    def motion(self, field: MotionField) -> MotionField:
        """A field over a frame that has entered, as one over the input."""
        return field if self.place is None else self.place.enclose_motion(field)

    def labels_hw(self, frame: Frame) -> Size:
        """Size of the label map that :meth:`labels` crops; ``frame`` has entered."""
        return self.place.padded_hw if self.place is not None else (frame.image.shape[0], frame.image.shape[1])

    def labels(self, labels: LabelMap) -> LabelMap:
        """The frame's part of a label map of :meth:`labels_hw`, or of the network's output."""
        place = self.place
        if place is None:
            return labels
        return place.crop_labels(labels) if labels.shape == place.padded_hw else place.crop(labels).copy()

    def mask(self, mask: Mask | None) -> Mask | None:
        """The frame's part of a mask over such a label map; ``None`` if nothing of it is set."""
        if mask is None or self.place is None:
            return mask
        part = self.labels(mask.view(np.uint8)).view(np.bool_)
        return part if part.any() else None

    def within(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The picture's part of cells over the input: means over the border would make motion look small."""
        return plane if self.place is None else self.place.crop(plane)

    def maps(self, maps: FrameMaps) -> FrameMaps:
        """The frame's part of all maps of a result."""
        return maps if self.place is None else CroppedMaps(maps=maps, place=self.place)


def _inner(place: FramePlace | None) -> tuple[Size, tuple[int, int]] | None:
    return None if place is None else (place.inner_hw, place.offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class CroppedMaps:
    """Maps over the network's input, cropped to the frame when they are read, to the nearest cell.

    Attributes:
        maps: The maps.
        place: Where the frame lies.
    """

    maps: FrameMaps
    place: FramePlace

    @functools.cached_property
    def logits(self) -> Logits | None:
        """See :class:`~edge_vseg.types.Result`."""
        logits = self.maps.logits
        return None if logits is None else self.place.crop(logits)

    @functools.cached_property
    def probabilities(self) -> Probabilities | None:
        """See :class:`~edge_vseg.types.Result`."""
        probabilities = self.maps.probabilities
        return None if probabilities is None else self.place.crop(probabilities)

    @functools.cached_property
    def age_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.place.crop(self.maps.age_map)

    @functools.cached_property
    def unseen_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.FrameMaps`."""
        return self.place.crop(self.maps.unseen_map)

    @functools.cached_property
    def age_ms_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.place.crop(self.maps.age_ms_map)

    @functools.cached_property
    def drift_map(self) -> NDArray[np.float32]:
        """See :class:`~edge_vseg.types.Result`."""
        return self.place.crop(self.maps.drift_map)
