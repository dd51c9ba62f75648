"""Steps of a frame, as the cost meter, device profiles and :attr:`Result.latency_ms` name them."""

from __future__ import annotations

import functools

from edge_vseg.decision import TextEnum


class StepKind(TextEnum):
    """Kinds of steps."""

    PREPROCESS = "preprocess"
    """Resizing and converting the image into the network's input."""
    MOTION = "motion"
    """Estimating the motion, with one of the estimators."""
    DECIDE = "decide"
    """Tracking what is carried, and the policy."""
    INFER = "infer"
    """The whole network."""
    SLICE = "slice"
    """One of the network's slices."""
    TILE = "tile"
    """One tile, softmax and fusion included."""
    CARRY = "carry"
    """Warping the context."""
    FUSE = "fuse"
    """Softmax and fusion of fresh scores."""
    COMPANION = "companion"
    """The companion: its input, its network, and its fusion with the carried map."""
    LABELS = "labels"
    """A new label map at the frame's size."""
    PROPAGATE = "propagate"
    """Warping the label map."""
    BACKGROUND = "background"
    """The network on one frame in the background, beside frames; no part of a frame's latency."""
    OPEN = "open"
    """Opening graphs in the background, before the first keyframe there; no part of its duration."""


class Step(str):
    """The name of a step, with its kind.

    Attributes:
        kind: Its kind.
        detail: The motion estimator, the number of the slice, or in a device profile the option that was timed.
    """

    kind: StepKind
    detail: str

    def __new__(cls, kind: StepKind, detail: str = "") -> Step:
        """Name a step; the name is its kind and its detail."""
        step = super().__new__(cls, f"{kind.value} {detail}".rstrip())
        step.kind, step.detail = kind, detail
        return step

    @classmethod
    def named(cls, name: str) -> Step:
        """The step of that name, as a file has it.

        Raises:
            ValueError: If no step has it.
        """
        kind, _, detail = name.partition(" ")
        return cls(StepKind(kind), detail)


NETWORK = (StepKind.INFER, StepKind.SLICE, StepKind.TILE)
"""Kinds that run in the network's sessions and take all of their threads."""
ALL_THREADS = (*NETWORK, StepKind.COMPANION)
"""Kinds that take all threads of a session."""
PREPROCESS = Step(StepKind.PREPROCESS)
DECIDE = Step(StepKind.DECIDE)
INFER = Step(StepKind.INFER)
TILE = Step(StepKind.TILE)
CARRY = Step(StepKind.CARRY)
FUSE = Step(StepKind.FUSE)
COMPANION = Step(StepKind.COMPANION)
LABELS = Step(StepKind.LABELS)
GUIDED_LABELS = Step(StepKind.LABELS, "guided")
"""In device profiles: what the step takes with guided borders."""
PROPAGATE = Step(StepKind.PROPAGATE)
BACKGROUND = Step(StepKind.BACKGROUND)
OPEN = Step(StepKind.OPEN)


@functools.cache
def slice_step(number: int) -> Step:
    """The step of a slice: ``slice 3``."""
    return Step(StepKind.SLICE, str(number))


@functools.cache
def companion_step(bundle_sha256: str) -> Step:
    """In device profiles: the step of a companion, by its bundle."""
    return Step(StepKind.COMPANION, bundle_sha256[:12])


@functools.cache
def motion_step(estimator: str) -> Step:
    """The step of a motion estimator: ``motion dis``."""
    return Step(StepKind.MOTION, estimator)
