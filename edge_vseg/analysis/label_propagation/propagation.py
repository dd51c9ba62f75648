"""Carry the labels of single frames of a clip to the frames around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.label_propagation.carried import CarriedLabels, carry_image, carry_labels, merge_carried
from edge_vseg.analysis.label_propagation.clip_motion import CheckedMotion, ClipMotion
from edge_vseg.errors import OptionError
from edge_vseg.types import Image

Images: TypeAlias = Literal["real", "warped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagationOptions:
    """How far labels are carried, and which are kept.

    Attributes:
        reach: Frames on either side of a labelled one.
        min_confidence: Pixels of less become 255.
        images: ``real`` gives a frame its labels from both sides; ``warped`` gives the image of the nearest labelled
            frame as it was carried, with its labels alone.
    """

    reach: int = 5
    min_confidence: float = 0.5
    images: Images = "real"

    def __post_init__(self) -> None:
        """Raise OptionError if a value is impossible."""
        if self.reach < 1:
            raise OptionError(f"the reach is 1 frame or more, got {self.reach}")
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(f"the least confidence is from 0 to 1, got {self.min_confidence}")
        if self.images not in ("real", "warped"):
            raise OptionError(f"images are real or warped, got {self.images!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PropagatedFrame:
    """A frame of a clip with labels.

    Attributes:
        index: Its place in the clip.
        distance: Frames to the nearest labelled frame; 0 for one itself.
        carried: The labels.
        image: The image that was carried with them; ``None`` where they are for the frame's own.
    """

    index: int
    distance: int
    carried: CarriedLabels
    image: Image | None = None


def propagate_labels(
    frames: Sequence[LabelledFrame], labelled: Sequence[bool], options: PropagationOptions | None = None
) -> Iterator[PropagatedFrame]:
    """Carry the labels of a clip's labelled frames to their neighbours.

    Frame by frame along composed motion; frames that are further than the reach from every labelled one are left out.

    Args:
        frames: Frames that follow each other; read when they are needed, one at a time.
        labelled: Which of them have labels; those of the others are not looked at.
        options: Reach, confidence, images.

    Returns:
        The labelled frames and those that were reached, in order.

    Raises:
        DatasetError: If a frame cannot be read, or frames differ in size.

    Reference: Zhu et al., Improving Semantic Segmentation via Video Propagation and Label Relaxation, CVPR 2019,
    section 3.1; see :func:`~edge_vseg.analysis.label_propagation.carried.carry_labels`.
    """
    chosen = options or PropagationOptions()
    motion = ClipMotion(
        lambda index: frames[index].image,
        lambda index: f"{frames[index].clip}/{frames[index].name}",
        kept_frames=2 * chosen.reach + 2,
    )
    anchors = [index for index, has_labels in enumerate(labelled) if has_labels]
    for place, anchor in enumerate(anchors):
        if place == 0:
            yield from _gap(frames, motion, (None, anchor), range(anchor), chosen)
        yield PropagatedFrame(index=anchor, distance=0, carried=CarriedLabels.given(frames[anchor].labels))
        after = anchors[place + 1] if place + 1 < len(anchors) else None
        between = range(anchor + 1, len(frames) if after is None else after)
        yield from _gap(frames, motion, (anchor, after), between, chosen)


def _gap(
    frames: Sequence[LabelledFrame],
    motion: Callable[[int, int], CheckedMotion],
    anchors: tuple[int | None, int | None],
    between: range,
    options: PropagationOptions,
) -> Iterator[PropagatedFrame]:
    """The frames between two labelled ones, or before the first or after the last."""
    sides: list[dict[int, PropagatedFrame]] = []
    for anchor in anchors:
        if anchor is not None:
            sides.append({each.index: each for each in _one_side(frames, motion, anchor, between, options)})
    for index in between:
        reached = [side[index] for side in sides if index in side]
        if not reached:
            continue
        nearest = min(reached, key=lambda each: each.distance)
        carried = nearest.carried
        if len(reached) == 2 and options.images == "real":
            carried = merge_carried(reached[0].carried, reached[1].carried)
        yield PropagatedFrame(
            index=index,
            distance=nearest.distance,
            carried=carried.kept(options.min_confidence),
            image=nearest.image,
        )


def _one_side(
    frames: Sequence[LabelledFrame],
    motion: Callable[[int, int], CheckedMotion],
    anchor: int,
    between: range,
    options: PropagationOptions,
) -> Iterator[PropagatedFrame]:
    """The frames that the labels of one frame reach, the nearest first."""
    step = 1 if between and between[0] > anchor else -1
    source: LabelledFrame | None = None
    track: CheckedMotion | None = None
    for distance in range(1, min(options.reach, len(between)) + 1):
        index = anchor + step * distance
        onward = motion(index, index - step)
        track = onward if track is None else onward.then(track)
        source = source or frames[anchor]
        yield PropagatedFrame(
            index=index,
            distance=distance,
            carried=carry_labels(source.labels, track),
            image=carry_image(source.image, track) if options.images == "warped" else None,
        )
