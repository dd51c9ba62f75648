"""Names of the steps of a frame, as the cost meter, device profiles and :attr:`Result.latency_ms` have them."""

from __future__ import annotations

PREPROCESS = "preprocess"
"""Resizing and converting the image into the network's input."""
DECIDE = "decide"
"""Tracking what is carried, and the policy."""
INFER = "infer"
"""The whole network."""
TILE = "tile"
"""One tile, softmax and fusion included."""
CARRY = "carry"
"""Warping the context."""
FUSE = "fuse"
"""Softmax and fusion of fresh scores."""
PROPAGATE = "propagate"
"""Warping the label map."""
CLOSE = "close"
"""Ages and drift for the result."""
BACKGROUND = "background"
"""The whole network in the background, beside frames; no part of a frame's latency."""
LABELS = "labels"
"""The label map at the frame's size."""

_MOTION_PREFIX = "motion "
_SLICE_PREFIX = "slice "


def slice_step(number: int) -> str:
    """The step of a slice: ``slice 3``."""
    return f"{_SLICE_PREFIX}{number}"


def motion_step(estimator: str) -> str:
    """The step of a motion estimator: ``motion dis``."""
    return f"{_MOTION_PREFIX}{estimator}"


def estimator_of(step: str) -> str:
    """The motion estimator of a step; empty for other steps."""
    return step.removeprefix(_MOTION_PREFIX) if step.startswith(_MOTION_PREFIX) else ""


def is_slice(step: str) -> bool:
    """Whether a step is a slice."""
    return step.startswith(_SLICE_PREFIX)
