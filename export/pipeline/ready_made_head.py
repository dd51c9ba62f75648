"""What the one channel of a ready-made file holds, found by running it."""

from __future__ import annotations

import logging

import msgspec
import numpy as np

from edge_vseg.bundle.manifest import HeadSpec, Variant
from edge_vseg.export.variant_validation import ValidationSpec, VariantValidator

log = logging.getLogger(__name__)
_BEYOND = 0.25
"""How far probabilities may lie outside 0 to 1, as they do where a cubic has enlarged them. Below that are logits."""


def settle_threshold(validator: VariantValidator, variant: Variant, spec: ValidationSpec) -> tuple[HeadSpec, str]:
    """The head with the threshold that its channel needs, and a note if that channel holds no probabilities.

    Args:
        validator: Runs the file.
        variant: The file.
        spec: Its head, and frames to run it on.

    Raises:
        BackendError: If it does not run.
    """
    head = spec.head
    if head.kind != "foreground":
        return head, ""
    outputs = validator.run_variant(variant, spec.frames[: spec.thresholds.source_check_frames])
    # Logits of two channels, the second of which is the file's own less the threshold.
    values = np.stack([each.logits[1] for each in outputs if each.logits is not None]) + head.threshold
    low, high = float(values.min()), float(values.max())
    if low >= -_BEYOND and high <= 1 + _BEYOND:
        return head, ""
    threshold = 0.0 if low < -_BEYOND else head.threshold
    note = (
        f"the one channel of {variant.output.name!r} holds {low:.3g} to {high:.3g} on validation frames, which are no"
        f" probabilities; what is above {threshold:g} counts as foreground"
    )
    log.warning("%s", note)
    return msgspec.structs.replace(head, threshold=threshold), note
