"""Class probabilities of what a graph gives: logits, or probabilities that its own head has made already."""

from __future__ import annotations

import numpy as np

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.types import Logits, Probabilities, softmax

LEAST = 1e-6
"""Below this, a probability is rounding: of 8 bits, or of a cubic that has enlarged it."""


def class_probabilities(scores: Logits, head: HeadSpec) -> Probabilities:
    """Probabilities of the scores that :func:`~edge_vseg.imaging.label_maps.read_logits` gives.

    A softmax of probabilities would be nearly flat: of eleven classes none could be likelier than 0.22. Scores stay as
    they are, for label maps are made of what the network interpolates.

    Args:
        scores: ``(C, h, w)`` float32, the head's.
        head: Whether they are logits or probabilities, and for a foreground its threshold.

    Returns:
        ``(C, h, w)`` float32, a new array whose channels add up to 1. The largest is that of the scores: where the
        threshold of a foreground is not one half, its odds count in those of the threshold.
    """
    if not head.holds_probabilities:
        return softmax(scores)
    if head.kind == "foreground":
        foreground = np.clip(scores[1] - scores[0] + np.float32(head.threshold), LEAST, 1 - LEAST)
        background = 1 - foreground
        threshold = min(max(head.threshold, LEAST), 1 - LEAST)
        found = np.stack((background * np.float32(threshold), foreground * np.float32(1 - threshold)))
    else:
        found = np.maximum(scores, np.float32(LEAST))
    found /= found.sum(axis=0)
    return np.asarray(found, np.float32)
