"""What the channels of a ready-made file hold, found by running it."""

from __future__ import annotations

import logging

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec, Variant
from edge_vseg.export.variant_validation import ValidationSpec, VariantValidator

_SUM_OFF = 0.1
"""How far the sum of rounded probabilities may lie from 1."""
_ROUNDING = 1e-3
_LIKELY = 0.5
"""Some class reaches this somewhere, where sigmoids tell of classes."""

log = logging.getLogger(__name__)
_BEYOND = 0.25
"""How far probabilities may lie outside 0 to 1, as they do where a cubic has enlarged them. Below that are logits."""


def settle_head(validator: VariantValidator, variant: Variant, spec: ValidationSpec) -> tuple[HeadSpec, str]:
    """The head that says whether its channels hold probabilities; with a note if its only one holds none.

    That one gets the threshold that it needs.

    Args:
        validator: Runs the file.
        variant: The file.
        spec: Its head, and frames to run it on.

    Raises:
        BackendError: If it does not run.
    """
    head = spec.head
    if head.kind == "labels":
        return head, ""
    outputs = validator.run_variant(variant, spec.frames[: spec.thresholds.source_check_frames])
    scores = np.stack([each.logits for each in outputs if each.logits is not None])
    if head.kind == "scores":
        return msgspec.structs.replace(head, scores="probabilities") if _are_probabilities(scores) else head, ""
    # Two channels, half of what the file's own is below and above the threshold.
    values = scores[:, 1] - scores[:, 0] + head.threshold
    low, high = float(values.min()), float(values.max())
    if low >= -_BEYOND and high <= 1 + _BEYOND:
        return head, ""
    threshold = 0.0 if low < -_BEYOND else head.threshold
    note = (
        f"the one channel of {variant.output.name!r} holds {low:.3g} to {high:.3g} on validation frames, which are no"
        f" probabilities; what is above {threshold:g} counts as foreground"
    )
    log.warning("%s", note)
    return msgspec.structs.replace(head, threshold=threshold, scores="logits"), note


def _are_probabilities(scores: NDArray[np.float32]) -> bool:
    """Whether ``(N, C, h, w)`` scores are those of a softmax, which add up to 1, or of sigmoids, each below it."""
    low, high = float(scores.min()), float(scores.max())
    sums = scores.sum(axis=1)
    if low >= -_BEYOND and high <= 1 + _BEYOND and float(np.abs(sums - 1).max()) <= _SUM_OFF:
        return True
    return low >= -_ROUNDING and _LIKELY <= high <= 1 + _ROUNDING
