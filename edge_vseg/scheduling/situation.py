"""The input of a policy: the state of the video before a decision, and what each action costs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_vseg.decision import Decision, Work


@dataclass(frozen=True, slots=True)
class MotionStatistics:
    """Statistics of the motion from the previous frame to this one, averaged over the frame.

    Attributes:
        speed: Mean length of the motion vectors; x counts in frame widths, y in frame heights.
        spread: Mean distance from the mean vector, in the same unit: parallax and independently moving objects.
        unexplained: Mean absolute gray difference, 0 to 1, after the previous frame is warped along the motion.
        changed: The same difference without warping.
    """

    speed: float = 0.0
    spread: float = 0.0
    unexplained: float = 0.0
    changed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aging:
    """How contexts and tiles age, compared with a map that is carried: measured by ``edge-vseg calibrate``.

    The defaults: on CamVid's val clip with the middle network, contexts spread over 2, 3, 4 frames lose as much mIoU as
    keyframes spread over 0.5 n + 0.8.

    Attributes:
        context_per_frame: A frame of age of the context makes fresh details as wrong as so many of a carried map.
        context_base: The same of a context of this frame: details are fresh, but not the whole network's.
        tile_error: Share of a fresh tile's pixels that differ from the whole network's.
    """

    context_per_frame: float = 0.5
    context_base: float = 0.95
    tile_error: float = 0.01


DEFAULT_AGING = Aging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of the video at a frame, before anything is done for it.

    Attributes:
        frame_index: Frames answered before this one.
        age_frames: Frames since the image that the oldest cell of the shown map comes from; ``None`` if there is none.
        age_ms: Milliseconds since the capture of that image.
        scene_age_ms: The same in the video's own time, if it has one: a file is read faster than it was filmed.
        drift: Predicted share of pixels in which the carried map differs from the network's own, 0 to 1.
        drift_rate: Share that one more frame adds, as a running mean.
        aging: How contexts and tiles age.
        tile_drift: The same by tile; empty if the variant has no tile graph.
        tile_age_frames: Age of the oldest cell of each tile.
        motion: This frame's motion statistics; ``None`` if no motion was estimated.
        still: Whether nothing has moved since the image of the shown map.
        slice_count: Slices of the network; 0 if it is not partitioned.
        context_slices: First and one past the last slice of the context stage; ``None`` if there is no such stage.
        context_age_frames: Frames since the image of the carried context; ``None`` if there is none.
        keyframe_slices_done: Slices done of the keyframe under way in the frame lane; 0 if there is none.
        keyframe_age_frames: Frames since the image of that keyframe.
        refresh_slices_done: Slices done of the context under way in the frame lane; 0 if there is none.
        refresh_age_frames: Frames since the image of that context.
        background: Whether the background lane takes a frame; not while it rests after failures, nor when it is another
            camera's turn.
        background_rests: Whether it rests now, to keep to its share of the machine.
        idle_share: Share of the frame period in which the frame lane idles, 0 to 1.
        period_ms: Frame period in ms; 0 before it is known.
        background_work: What the background lane has under way; ``None`` if nothing.
        background_age_frames: Frames since the image of that.
        background_scene_age_ms: Milliseconds since that image, in the video's own time if it has one.
        background_drift: Predicted drift since that image.
        background_done: Whether it is done.
        companion: Whether there is a companion.
        previous: The decision for the last frame; ``None`` for the first.
    """

    frame_index: int
    age_frames: int | None = None
    age_ms: float = 0.0
    scene_age_ms: float = 0.0
    drift: float = 0.0
    drift_rate: float = 0.0
    aging: Aging = DEFAULT_AGING
    tile_drift: tuple[float, ...] = ()
    tile_age_frames: tuple[float, ...] = ()
    motion: MotionStatistics | None = None
    still: bool = False
    slice_count: int = 0
    context_slices: tuple[int, int] | None = None
    context_age_frames: int | None = None
    keyframe_slices_done: int = 0
    keyframe_age_frames: int = 0
    refresh_slices_done: int = 0
    refresh_age_frames: int = 0
    background: bool = False
    background_rests: bool = False
    idle_share: float = 0.0
    period_ms: float = 0.0
    background_work: Work | None = None
    background_age_frames: int = 0
    background_scene_age_ms: float = 0.0
    background_drift: float = 0.0
    background_done: bool = False
    companion: bool = False
    previous: Decision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Expected durations on this machine in ms.

    Sums of them hold as such: each is a median times one margin, which is what makes the sum of a frame's steps hold
    on 99 frames of 100.

    Attributes:
        infer_ms: The whole network, its input included, without :attr:`fuse_ms`.
        slices_ms: Each slice.
        tile_ms: One tile, softmax and fusion included.
        motions_ms: Each motion estimator with a known cost, by name.
        fixed_ms: What the frame pays whatever is decided: its motion, as it took, and the decision.
        motion_ms: The part of :attr:`fixed_ms` that is its motion.
        propagate_ms: Warping the label map.
        fuse_ms: What follows fresh logits: softmax, fusion and the label map.
        carry_ms: Warping the context.
        input_ms: Making the network's input, for slices and tiles.
        background_ms: A keyframe in the background; 0 if it is not known.
        companion_ms: The companion on a frame, its label map included.
    """

    infer_ms: float
    slices_ms: tuple[float, ...] = ()
    tile_ms: float = 0.0
    motions_ms: Mapping[str, float] = field(default_factory=dict)
    fixed_ms: float = 0.0
    motion_ms: float = 0.0
    propagate_ms: float = 0.0
    fuse_ms: float = 0.0
    carry_ms: float = 0.0
    input_ms: float = 0.0
    background_ms: float = 0.0
    companion_ms: float = 0.0
