"""Everything that the engine carries from frame to frame, each with the motion and the drift since its own frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.decision import Work
from edge_vseg.imaging.class_probabilities import class_probabilities
from edge_vseg.imaging.guided_filter import Grey
from edge_vseg.motion import resize_field, sampling_map
from edge_vseg.motion.field import RemapTables, remap_tables
from edge_vseg.motion.warp import inside
from edge_vseg.scheduling.background import BackgroundRun
from edge_vseg.scheduling.cell_origins import CellOrigins
from edge_vseg.types import LabelMap, Logits, MotionField, Probabilities, Size, Tensor, softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The frame of the video that something was made from.

    Attributes:
        frame: Its number in the video: where frames were dropped, it grows by more than one from call to call.
        capture_ns: Its capture time.
        pts_ns: Its time in the video, if the source has times: a file is read faster than it was filmed.
    """

    frame: int
    capture_ns: int
    pts_ns: int | None = None

    def scene_ms_since(self, older: Origin) -> float:
        """Milliseconds in which the scene has moved on since another frame: of the video, or else of its capture."""
        if self.pts_ns is not None and older.pts_ns is not None:
            return (self.pts_ns - older.pts_ns) / 1e6
        return (self.capture_ns - older.capture_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionStep:
    """The motion of one frame, by which all tracks are extended.

    Attributes:
        motion: ``(h, w, 2)`` float32 field to the previous frame, in cells of its own; ``None`` if nothing moved.
        tables: The field as remap tables.
        coarse_tables: The same in cells of the statistics.
        drift: ``(h', w')`` float32, drift that the frame adds.
        changed: Whether the picture has changed at all; motion may stand still for lack of time, too.
    """

    motion: MotionField | None
    tables: RemapTables | None
    coarse_tables: RemapTables | None
    drift: NDArray[np.float32]
    changed: bool = True

    @classmethod
    def of(
        cls,
        motion: MotionField,
        coarse: MotionField,
        drift: NDArray[np.float32],
        *,
        still: bool = False,
        changed: bool = True,
    ) -> MotionStep:
        """Make a step from a field in its own cells and in cells of the statistics."""
        if still:
            return cls(motion=None, tables=None, coarse_tables=None, drift=drift, changed=changed)
        return cls(motion=motion, tables=remap_tables(motion), coarse_tables=remap_tables(coarse), drift=drift)


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """The motion from the current frame back to an older one. Everything made from that frame shares it.

    Attributes:
        origin: The older frame.
        drift: ``(h', w')`` float32, predicted share of wrong pixels by cell of the statistics.
        motion: ``(h, w, 2)`` float32 composed motion field in cells of its own size, whatever that of the scores is;
            ``None`` if no motion was found since, so that nothing needs warping.
        changed: Whether the picture has changed since.
        seen: The last frame before it did: until then, what was made of the older frame is of the present picture.
        grey: ``(H, W)`` uint8, the older frame in grey, along whose edges borders are drawn; ``None`` without a guide.
    """

    origin: Origin
    seen: Origin
    drift: NDArray[np.float32]
    motion: MotionField | None = None
    changed: bool = False
    grey: Grey | None = None

    @classmethod
    def begin(cls, origin: Origin, statistics_hw: Size, grey: Grey | None = None) -> Track:
        """Start at the current frame."""
        return cls(origin=origin, seen=origin, drift=np.zeros(statistics_hw, np.float32), grey=grey)

    def outdated(self, capture_ns: int) -> bool:
        """Whether the picture has changed since, and already before a time."""
        return self.changed and self.seen.capture_ns < capture_ns

    def copy(self) -> Track:
        """A copy that is not extended with this one."""
        return replace(self)  # fields are replaced as they change, and never written to

    def extend(self, step: MotionStep, now: Origin) -> None:
        """Extend by one frame, ``now``."""
        self.changed = self.changed or step.changed
        self.seen = self.seen if self.changed else now
        drift = self.drift
        if step.motion is not None:
            assert step.tables is not None
            assert step.coarse_tables is not None
            self.motion = step.motion if self.motion is None else step.motion + _remap(self.motion, step.tables)
            drift = _remap(drift, step.coarse_tables)
        self.drift = np.asarray(np.minimum(drift + step.drift, 1), np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class ShownMap:
    """The map of an older frame, from which the maps of all frames since are warped.

    Attributes:
        track: Motion since that frame.
        origins: Frames that its cells come from, oldest first: one, unless tiles or a late keyframe were pasted in.
        cells: ``(h, w)`` uint8, the oldest of them that each cell comes from; ``None`` if there is one.
        mixture: The share that each of them has in each cell; ``None`` if there is one.
        logits: ``(C, h, w)`` float32, the network's own, if nothing was warped or fused into the map.
        head: What they are; ``None`` for logits.
        fused: ``(C, h, w)`` float32 probabilities, if something was.
        coarse_labels: ``(h, w)`` uint8, for networks that give label maps instead of scores.
        labels: The label map at the size of the video's frames, made once.
        moved: Whether anything moved from the oldest of the frames to the one that the track begins at.
        last_seen: Then, of each frame but that one, the last frame before its picture changed.
    """

    track: Track
    origins: tuple[Origin, ...]
    cells: NDArray[np.uint8] | None = None
    mixture: CellOrigins | None = None
    logits: Logits | None = None
    head: HeadSpec | None = None
    fused: Probabilities | None = None
    coarse_labels: LabelMap | None = None
    labels: LabelMap | None = None
    moved: bool = False
    last_seen: Mapping[Origin, Origin] = field(default_factory=dict)
    _softmax: Probabilities | None = None

    @property
    def oldest(self) -> Origin:
        """The oldest frame that a cell comes from."""
        return self.origins[0]

    @property
    def still(self) -> bool:
        """Whether the picture has not changed since the oldest frame."""
        return not self.track.changed and not self.moved

    @property
    def seen(self) -> Origin:
        """The last frame whose picture was that of the oldest frame."""
        return self.seen_of(self.oldest)

    @property
    def probabilities(self) -> Probabilities | None:
        """``(C, h, w)`` float32, not to be written to; ``None`` for networks that give label maps."""
        if self.fused is not None:
            return self.fused
        if self._softmax is None and self.logits is not None:
            head = self.head
            self._softmax = softmax(self.logits) if head is None else class_probabilities(self.logits, head)
        return self._softmax

    def origin_cells(self, motion: MotionField | None, cells_hw: Size) -> NDArray[np.uint8]:
        """Which of :attr:`origins` each cell comes from, ``(h, w)`` uint8, seen along a motion from a later frame."""
        if self.cells is None:
            return np.zeros(cells_hw, np.uint8)
        if motion is None:
            return self.cells
        x, y = sampling_map(resize_field(motion, cells_hw))
        # The nearest cell's, for an interpolated age belongs to no image; and the oldest of its neighbours', for scores
        # are interpolated between them.
        oldest = cv2.erode(self.cells, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.remap(oldest, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def ages(self, now: Origin, motion: MotionField | None, cells_hw: Size) -> NDArray[np.float32]:
        """Age in frames by cell, ``(h, w)`` float32; one more where the motion leads out of the older frame."""
        return self._ages([now.frame - origin.frame for origin in self.origins], motion, cells_hw)

    def unseen_frames(
        self, now: Origin, seen: Origin, motion: MotionField | None, cells_hw: Size
    ) -> NDArray[np.float32]:
        """The same since the last frame whose picture was that of the cell's image; ``seen`` is the track's, then."""
        table = [now.frame - self.seen_of(origin, seen).frame for origin in self.origins]
        return self._ages(table, motion, cells_hw)

    def _ages(self, table: Sequence[int], motion: MotionField | None, cells_hw: Size) -> NDArray[np.float32]:
        ages = np.array(table, np.float32)[self.origin_cells(motion, cells_hw)]
        if motion is not None:
            ages += ~inside(resize_field(motion, cells_hw))
        return np.asarray(ages, np.float32)

    def seen_of(self, origin: Origin, seen: Origin | None = None) -> Origin:
        """The last frame whose picture was that of one of the origins; ``seen`` is the track's, or what that was."""
        if self.moved and origin != self.track.origin:
            return self.last_seen.get(origin, origin)
        return seen or self.track.seen

    def ages_ms(self, now: Origin, motion: MotionField | None, cells_hw: Size) -> NDArray[np.float32]:
        """Milliseconds from the capture of each cell's image to that of ``now``, ``(h, w)`` float32."""
        table = np.array([(now.capture_ns - origin.capture_ns) / 1e6 for origin in self.origins], np.float32)
        return np.asarray(table[self.origin_cells(motion, cells_hw)], np.float32)

    def scene_ages_ms(self, now: Origin, motion: MotionField | None, cells_hw: Size) -> NDArray[np.float32]:
        """Milliseconds since the scene was last that of each cell's image, ``(h, w)`` float32."""
        table = np.array([now.scene_ms_since(self.seen_of(origin)) for origin in self.origins], np.float32)
        return np.asarray(table[self.origin_cells(motion, cells_hw)], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """What a new map of a frame is fused with: the map that was shown, as seen from that frame.

    Attributes:
        shown: The shown map.
        motion: ``(h, w, 2)`` float32 from the frame to that of the shown map; ``None`` if nothing has moved.
        unexplained: ``(h', w')`` float32, gray difference after warping; ``None`` if no motion was estimated.
    """

    shown: ShownMap
    motion: MotionField | None
    unexplained: NDArray[np.float32] | None


@dataclass(slots=True, kw_only=True, eq=False)
class CarriedContext:
    """Output of the context stage for an older frame.

    Attributes:
        tensors: Tensors by name.
        track: Motion since that frame.
    """

    tensors: dict[str, Tensor]
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class PartialRun:
    """A run of slices under way in the frame lane.

    Attributes:
        tensors: All tensors so far, by name.
        done: Slices done.
        track: Motion since the frame that it runs on.
        past: What the map of that frame is fused with.
    """

    tensors: dict[str, Tensor]
    done: int
    track: Track
    past: Past | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """What the background lane makes of a frame.

    Attributes:
        shown: Its map; ``None`` from a context alone.
        context: Its context; ``None`` if the network has none.
    """

    shown: ShownMap | None
    context: CarriedContext | None


@dataclass(slots=True, kw_only=True, eq=False)
class BackgroundJob:
    """A frame in the background lane.

    Attributes:
        work: What is made of it.
        run: The network at work on it.
        track: Motion since its frame.
        started_ns: When it was handed over, by the engine's clock.
    """

    work: Work
    run: BackgroundRun[Made]
    track: Track
    started_ns: int


@dataclass(slots=True, kw_only=True, eq=False)
class EngineState:
    """All that the engine knows between two frames.

    Attributes:
        now: The frame at hand; ``None`` before the first.
        frames: Frames that were answered.
        shown: The map that is shown.
        shown_motion: ``(h, w, 2)`` float32 along which it was last shown; ``None`` for as it is.
        context: The last context.
        keyframe: The keyframe under way in the frame lane.
        refresh: The context under way in the frame lane.
        job: What the background lane has under way.
    """

    now: Origin | None = None
    frames: int = 0
    shown: ShownMap | None = None
    shown_motion: MotionField | None = None
    context: CarriedContext | None = None
    keyframe: PartialRun | None = None
    refresh: PartialRun | None = None
    job: BackgroundJob | None = None

    def tracks(self) -> list[Track]:
        """The tracks of everything that is carried, each once."""
        carried = (self.shown, self.context, self.keyframe, self.refresh, self.job)
        return list({id(each.track): each.track for each in carried if each is not None}.values())

    def show(self, made: ShownMap) -> None:
        """Show another map, from now on along its own motion: that of the last one leads elsewhere."""
        self.shown_motion = made.track.motion
        self.shown = made

    def forget(self) -> None:
        """Drop everything that was made from older frames, save what the background lane still works on."""
        self.shown = self.shown_motion = self.context = self.keyframe = self.refresh = None

    def forget_older(self, capture_ns: int) -> bool:
        """Drop what was made from pictures that were last seen before.

        Returns:
            Whether the background lane works on such a frame; its job stays here.
        """
        if self.shown is not None and not self.shown.still and self.shown.seen.capture_ns < capture_ns:
            self.shown = self.shown_motion = None
        if self.context is not None and self.context.track.outdated(capture_ns):
            self.context = None
        if self.keyframe is not None and self.keyframe.track.outdated(capture_ns):
            self.keyframe = None
        if self.refresh is not None and self.refresh.track.outdated(capture_ns):
            self.refresh = None
        return self.job is not None and self.job.track.outdated(capture_ns)

    def age_frames(self, origin: Origin) -> int:
        """Frames of the video since an older frame."""
        assert self.now is not None
        return self.now.frame - origin.frame


def _remap(values: NDArray[np.float32], tables: RemapTables) -> NDArray[np.float32]:
    remapped = cv2.remap(values, *tables, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(remapped, np.float32)
