"""Turn raw network output into the map of a frame: probabilities, fusion, label map. Both lanes use it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec, TensorSpec
from edge_vseg.imaging.class_probabilities import class_probabilities
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels
from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.fusion import fresh_weights, fuse
from edge_vseg.scheduling.state import Past, ShownMap, Track
from edge_vseg.types import LabelMap, Logits, Probabilities, Size, Tensor


class MapMaker:
    """Makes maps of one network. One thread at a time may use it.

    Args:
        output: The network's output.
        head: What it means.
        fresh_weight: Weight of fresh against carried probabilities, 0 to 1; 1 for no fusion.
        classes: Number of classes of the bundle.
    """

    def __init__(self, output: TensorSpec, head: HeadSpec, fresh_weight: float, classes: int) -> None:
        self._output = output
        self._head = head
        self._fresh_weight = fresh_weight
        self._classes = classes
        self._mapper: LabelMapper | None = None
        self._size_hw: Size = (0, 0)

    @property
    def fuses(self) -> bool:
        """Whether maps are fused with what was carried."""
        return self._fresh_weight < 1 and self._head.kind != "labels"

    def make(self, raw: Tensor, track: Track, past: Past | None) -> ShownMap:
        """Make the map of a frame.

        Args:
            raw: The network's output for the frame, checked by :mod:`edge_vseg.runtimes.checked_run`.
            track: Motion since the frame.
            past: What was shown, as seen from that frame; ``None`` for no fusion.

        Raises:
            SessionError: If the network gives an id that is no class of the bundle.
        """
        logits = read_logits(raw, self._output, self._head)
        if logits is None:
            coarse = read_label_map(raw, self._output, self._head, self._classes)
            return ShownMap(track=track, origins=(track.origin,), coarse_labels=coarse)
        if past is None or not self.fuses:
            return ShownMap(track=track, origins=(track.origin,), logits=logits, head=self._head)
        fresh, carried = class_probabilities(logits, self._head), past.shown.probabilities
        assert carried is not None
        if past.motion is not None:
            carried = warp_scores(carried, past.motion)
        fuse(fresh, carried, self.weights(past.unexplained))
        # All labels come from probabilities then: a border interpolated now from logits, now from them would flicker.
        return ShownMap(track=track, origins=(track.origin,), fused=fresh)

    def weights(self, unexplained: NDArray[np.float32] | None) -> NDArray[np.float32] | float:
        """Weight of fresh probabilities, by cell if it is known how well the motion explains each."""
        if unexplained is None or self._fresh_weight >= 1:
            return self._fresh_weight
        return fresh_weights(unexplained, self._head.size_hw, self._fresh_weight)

    def label_map(self, shown: ShownMap, size_hw: Size) -> LabelMap:
        """The label map of a map's own frame, ``(H, W)`` uint8; made once, and not to be written to."""
        if shown.labels is None or shown.labels.shape != size_hw:
            shown.labels = self._new_label_map(shown, size_hw)
            shown.labels.flags.writeable = False  # the warper need not look whether it has changed
        return shown.labels

    def _new_label_map(self, shown: ShownMap, size_hw: Size) -> LabelMap:
        if shown.coarse_labels is not None:
            return resize_labels(shown.coarse_labels, size_hw)
        scores: Logits | Probabilities | None = shown.logits if shown.logits is not None else shown.probabilities
        assert scores is not None
        if self._mapper is None or size_hw != self._size_hw:
            self._mapper, self._size_hw = LabelMapper(size_hw, self._head.align), size_hw
        return self._mapper(scores, shown.track.grey)
