"""Pseudo-labels: what a teacher says of frames without labels, where it is sure and says so of the frames around."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.label_propagation.carried import CarriedLabels, carry_labels
from edge_vseg.analysis.label_propagation.clip_motion import ClipMotion
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Mask

SHOWN = 0.5
"""Agreement of the images above which a neighbour shows a pixel."""
Agreement: TypeAlias = Literal["motion", "none"]


class TeacherAnswer(Protocol):
    """What is asked of a teacher about a frame; a :class:`~edge_vseg.Result` is one."""

    @property
    def labels(self) -> LabelMap: ...  # noqa: D102

    @property
    def uncertainty(self) -> NDArray[np.float32] | None: ...  # noqa: D102


class LabelTeacher(Protocol):
    """Labels frames, such as a :class:`~edge_vseg.Segmenter`."""

    @property
    def labels(self) -> tuple[Label, ...]: ...  # noqa: D102

    def __call__(self, image: Image, /) -> TeacherAnswer: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelOptions:
    """Which labels of a teacher are kept.

    Attributes:
        max_uncertainty: Pixels of more become 255; from 0 to 1, where 1 keeps all.
        agreement: ``motion`` asks the frames before and after, ``none`` nobody.
    """

    max_uncertainty: float = 0.3
    agreement: Agreement = "motion"

    def __post_init__(self) -> None:
        """Raise OptionError if a value is impossible."""
        if not 0 <= self.max_uncertainty <= 1:
            raise OptionError(f"the largest uncertainty is from 0 to 1, got {self.max_uncertainty}")
        if self.agreement not in ("motion", "none"):
            raise OptionError(f"agreement is asked along the motion or not: motion or none, got {self.agreement!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PseudoLabelled:
    """A frame with the labels of a teacher.

    Attributes:
        index: Its place in the clip.
        image: ``(H, W, 3)`` uint8 BGR.
        carried: Labels that are kept; the confidence is the probability of the class.
    """

    index: int
    image: Image
    carried: CarriedLabels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    image: Image
    labels: LabelMap
    uncertainty: NDArray[np.float32]


def pseudo_label(
    teacher: Callable[[Image], TeacherAnswer],
    images: Iterable[Image],
    options: PseudoLabelOptions | None = None,
    *,
    name: Callable[[int], str] = "frame {}".format,
) -> Iterator[PseudoLabelled]:
    """Label the frames of a clip by a teacher, and keep what can be believed.

    A pixel is kept where the teacher is sure enough, and where the labels of the frame before and of the frame after,
    carried along the motion, say the same. A neighbour that does not show the pixel, being hidden there or outside,
    says nothing; where neither shows it, it is not kept. A clip of one frame is judged by uncertainty alone.

    Args:
        teacher: Segments a frame, such as a :class:`~edge_vseg.Segmenter`.
        images: Frames that follow each other; three are in memory at a time.
        options: What is kept.
        name: Names a frame, for messages.

    Raises:
        DatasetError: If frames differ in size.
        OptionError: If the teacher gives no uncertainty, and one is asked for.

    Reference: the filters are this project's; self-training on video as in Chen et al., Naive-Student: Leveraging
    Semi-Supervised Learning in Video Sequences for Urban Scene Segmentation, ECCV 2020.
    """
    chosen = options or PseudoLabelOptions()
    window: dict[int, _Seen] = {}
    motion = ClipMotion(lambda index: window[index].image, name)
    last = -1
    for last, image in enumerate(images):
        window[last] = _ask(teacher, image, chosen)
        if last:
            yield _judge(window, motion, last - 1, chosen)
            window.pop(last - 2, None)
    if last >= 0:
        yield _judge(window, motion, last, chosen)


def _ask(teacher: Callable[[Image], TeacherAnswer], image: Image, options: PseudoLabelOptions) -> _Seen:
    result = teacher(image)
    height, width = image.shape[:2]
    if result.labels.shape != (height, width):
        raise DatasetError(
            f"the teacher labels {result.labels.shape} of a frame of {(height, width)}; open it with labels='frame'"
        )
    uncertainty = result.uncertainty
    if uncertainty is None and options.max_uncertainty < 1:
        raise OptionError(
            "the teacher gives label maps without probabilities, so nobody knows how sure it is; ask for an uncertainty"
            " of at most 1, or export it with its scores"
        )
    if uncertainty is None:
        uncertainty = np.zeros((height, width), np.float32)
    large = cv2.resize(uncertainty, (width, height), interpolation=cv2.INTER_LINEAR)
    return _Seen(image=image, labels=result.labels, uncertainty=np.asarray(large, np.float32))


def _judge(window: dict[int, _Seen], motion: ClipMotion, index: int, options: PseudoLabelOptions) -> PseudoLabelled:
    seen = window[index]
    kept: Mask = (seen.uncertainty <= options.max_uncertainty) & (seen.labels != IGNORE_ID)
    neighbours = [each for each in (index - 1, index + 1) if each in window]
    if options.agreement == "motion" and neighbours:
        shown = np.zeros_like(kept)
        for neighbour in neighbours:
            along = motion(index, neighbour)
            equal = carry_labels(window[neighbour].labels, along).labels == seen.labels
            alike = cv2.resize(along.agreement, kept.shape[::-1], interpolation=cv2.INTER_LINEAR)
            visible = np.asarray(alike) >= SHOWN
            kept &= equal | ~visible
            shown |= visible
        kept &= shown
    confidence = np.where(kept, 1 - seen.uncertainty, np.float32(0)).astype(np.float32)
    labels = np.where(kept, seen.labels, np.uint8(IGNORE_ID))
    return PseudoLabelled(index=index, image=seen.image, carried=CarriedLabels(labels=labels, confidence=confidence))
