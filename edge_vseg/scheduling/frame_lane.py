"""The frame lane: execute the actions of a frame, between its arrival and its answer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.decision import (
    Action,
    Advance,
    Cancel,
    Collect,
    Consult,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
)
from edge_vseg.errors import OptionError
from edge_vseg.imaging.class_probabilities import class_probabilities
from edge_vseg.imaging.label_maps import read_logits
from edge_vseg.imaging.letterbox import FramePlace
from edge_vseg.imaging.tiles import Tile, cores, crop_input
from edge_vseg.motion.warp import warp_scores, warp_tensor
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background_lane import BackgroundLane
from edge_vseg.scheduling.cell_origins import CellOrigins
from edge_vseg.scheduling.companion import Companion, companion_weight
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.fusion import fuse
from edge_vseg.scheduling.map_maker import MapMaker
from edge_vseg.scheduling.state import CarriedContext, EngineState, PartialRun, Past, ShownMap, Track
from edge_vseg.scheduling.steps import slice_step
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import Image, LabelSource, Size, Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameInput:
    """A frame, as its actions need it.

    Attributes:
        image: ``(H, W, 3)`` uint8, the caller's own.
        preprocess: Makes the network's input of an image.
        started_ns: Arrival of the frame, by the engine's clock.
        unexplained: ``(h', w')`` float32 gray difference after warping; ``None`` if no motion was estimated.
        track: Begins at the frame.
        labels_hw: Size of its label map.
        place: Where the frame lies in the image; ``None`` for all of it.
    """

    image: Image
    preprocess: Callable[[Image], Tensor]
    started_ns: int
    unexplained: NDArray[np.float32] | None
    track: Track
    labels_hw: Size
    place: FramePlace | None = None

    @functools.cached_property
    def tensor(self) -> Tensor:
        """The network's input, made when it is first asked for; it may be a view of the image."""
        return self.preprocess(self.image)


_HELD: LabelSource = "held"


class FrameLane:
    """Executes actions. All state is in :class:`~edge_vseg.scheduling.state.EngineState`.

    Args:
        sessions: Sessions of the frame lane.
        maker: Makes maps in the frame lane.
        background: The other lane.
        companion: A second network for the frame at hand, closed with the lane; ``None`` for none.
        head: The network's output.
        tiles: Tiles of the frame; empty without a tile graph.
        clock: Time in ns.
        meter: Records the duration of every step.
    """

    def __init__(
        self,
        sessions: VariantSessions,
        maker: MapMaker,
        background: BackgroundLane,
        *,
        companion: Companion | None = None,
        head: HeadSpec,
        tiles: tuple[Tile, ...],
        clock: Callable[[], int],
        meter: CostMeter,
    ) -> None:
        self._sessions = sessions
        self._maker = maker
        self._background = background
        self._companion = companion
        self._head = head
        self._cells: Size = head.size_hw
        self._tiles = tiles
        self._clock = clock
        self._meter = meter

    def execute(
        self, state: EngineState, actions: tuple[Action, ...], frame: FrameInput
    ) -> tuple[LabelSource, ShownMap | None]:
        """Execute the actions of a frame; ``state.shown`` then has its map.

        Args:
            state: The engine's state; a run that fails leaves what is shown as it was.
            actions: Executed in this order.
            frame: The frame.

        Returns:
            Where the frame's labels come from, and its map with the companion's part; ``None`` without one.

        Raises:
            OptionError: If an action needs what is not there, such as a context.
            SessionError: If the runtime fails.
        """
        before, source = state.shown, _HELD
        consulted: ShownMap | None = None
        stem: dict[str, Tensor] = {}
        for action in actions:
            match action:
                case Infer():
                    self._infer(state, frame)
                    source = "inferred"
                case InferTiles(tiles=numbers):
                    self._infer_tiles(state, numbers, frame)
                    source = "partial"
                case Advance(slices=count, until_ms=until):
                    if self._advance(state, count, until, frame):
                        source = _source_of(state, frame)
                case Refresh(slices=count, until_ms=until):
                    stem = self._refresh(state, count, until, stem, frame)
                case Detail():
                    stem = self._detail(state, stem, frame)
                    source = "partial"
                case Launch(work=work):
                    past = self._past(state, frame)
                    self._background.launch(state, frame.image, frame.track, past, work, frame.labels_hw)
                case Collect():
                    # What is newer than the keyframe stays, and is propagated in its place.
                    if self._collect(state) or state.shown is before:
                        source = _source_of(state, frame)
                case Cancel():
                    self._background.cancel(state)
                case Propagate() if state.shown is before:  # a new map is that of this frame already
                    source = "propagated"
                case Consult():
                    consulted = self._consult(state, frame)
                    source = "partial"
                case Hold() if state.shown is before:
                    source = "held"
        if state.shown is None:
            raise OptionError("the policy did not infer the first frame")
        return source, consulted

    def close(self) -> None:
        """Close the sessions, the companion's too."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._sessions.close)
            if self._companion is not None:
                closing.callback(self._companion.close)

    def _past(self, state: EngineState, frame: FrameInput) -> Past | None:
        """What a map of the frame is fused with; ``None`` without fusion, and for a second map of the same frame."""
        shown = state.shown
        if shown is None or not self._maker.fuses or shown.track.origin == frame.track.origin:
            return None
        return Past(shown=shown, motion=shown.track.motion, unexplained=frame.unexplained)

    def _timed(self, step: steps.Step, begin_ns: int) -> None:
        self._meter.add(step, self._clock() - begin_ns)

    def _infer(self, state: EngineState, frame: FrameInput) -> None:
        tensor, begin_ns = frame.tensor, self._clock()
        raw = self._sessions.run_whole(tensor)
        self._timed(steps.INFER, begin_ns)
        self._show(state, raw, frame.track, self._past(state, frame))

    def _show(self, state: EngineState, raw: Tensor, track: Track, past: Past | None) -> None:
        begin_ns = self._clock()
        made = self._maker.make(raw, track, past)
        self._supersede(state, made)
        if past is not None:
            self._timed(steps.FUSE, begin_ns)

    def _supersede(self, state: EngineState, made: ShownMap) -> bool:
        """Show a new map, unless what is shown comes from newer frames; returns whether it is shown."""
        shown = state.shown
        if shown is not None and shown.oldest.frame > made.oldest.frame:
            return False
        state.show(made)
        if state.keyframe is not None and state.keyframe.track.origin.frame <= made.oldest.frame:
            state.keyframe = None  # it would give an older map
        return True

    def _collect(self, state: EngineState) -> bool:
        made = self._background.collect(state)
        if made.context is not None:
            self._take_context(state, made.context)
        return made.shown is not None and self._supersede(state, made.shown)

    def _infer_tiles(self, state: EngineState, numbers: tuple[int, ...], frame: FrameInput) -> None:
        """Infer tiles and fuse them into the carried probabilities."""
        shown = state.shown
        if shown is None:
            raise OptionError("the policy infers tiles before there is a map to paste them into")
        spec, old = self._sessions.variant.tile, shown.probabilities
        assert spec is not None
        assert old is not None
        chosen, tensor = tuple(self._tiles[number] for number in numbers), frame.tensor
        motion = shown.track.motion
        probabilities = old.copy() if motion is None else warp_scores(old, motion)
        drift = shown.track.drift.copy()
        weights = np.broadcast_to(np.asarray(self._maker.weights(frame.unexplained), np.float32), self._cells)
        height, width, _ = spec.output.hwc
        head = msgspec.structs.replace(self._head, size_hw=(height, width))
        for tile in chosen:
            begin_ns = self._clock()
            logits = read_logits(
                self._sessions.run_tile(crop_input(tensor, tile, spec.input.layout)), spec.output, head
            )
            assert logits is not None
            top, left, bottom, right = tile.inner
            fresh = class_probabilities(np.ascontiguousarray(logits[:, top:bottom, left:right]), head)
            rows = _core(tile)
            place = (slice(None), *rows)
            fuse(fresh, probabilities[place], weights[rows])
            probabilities[place] = fresh
            self._timed(steps.TILE, begin_ns)
        for part in cores(drift, chosen, self._cells):
            part[:] = 0
        mixture, kept = (shown.mixture or CellOrigins.single(self._cells)).pasted(
            [_core(tile) for tile in chosen], motion
        )
        origins = tuple((*shown.origins, frame.track.origin)[index] for index in kept)
        # A track of its own: the drift outside the tiles is that of the older map.
        track = replace(frame.track, drift=drift)
        moved = not shown.still and origins[0] != frame.track.origin
        seen = {origin: shown.seen_of(origin) for origin in origins[:-1]} if moved else {}
        state.show(
            ShownMap(
                track=track,
                origins=origins,
                cells=mixture.cells,
                mixture=mixture,
                fused=probabilities,
                moved=moved,
                last_seen=seen,
            )
        )

    def _consult(self, state: EngineState, frame: FrameInput) -> ShownMap:
        """The carried map fused with the companion's, for this frame alone."""
        shown, companion = state.shown, self._companion
        if companion is None or shown is None:
            missing = "a companion" if companion is None else "a map to fuse it with"
            raise OptionError(f"the policy consults the companion, and there is not {missing}")
        begin_ns = self._clock()
        fused = companion.probabilities(frame.image, frame.place)
        carried, motion = shown.probabilities, shown.track.motion
        assert carried is not None
        if motion is not None:
            carried = warp_scores(carried, motion)
        assert state.now is not None
        fuse(fused, carried, companion_weight(shown.scene_ages_ms(state.now, motion, self._cells)))
        self._timed(steps.COMPANION, begin_ns)
        return ShownMap(track=frame.track, origins=shown.origins, fused=fused)

    def _advance(self, state: EngineState, count: int, until_ms: float, frame: FrameInput) -> bool:
        """Run slices of the keyframe under way; returns whether that finished it."""
        sessions = self._sessions
        if state.keyframe is None:
            # A copy: the tensor may be the caller's own image, which the next frame may overwrite.
            tensors = {sessions.input.name: frame.tensor.copy()}
            state.keyframe = PartialRun(tensors=tensors, done=0, track=frame.track, past=self._past(state, frame))
        run = state.keyframe
        try:
            self._run_slices(run, range(len(sessions.variant.slices)), count, until_ms, frame.started_ns)
        except BaseException:
            state.keyframe = None  # on the same tensors it would fail again
            raise
        if not run.done:
            state.keyframe = None  # the next frame begins with its own image
        if run.done < len(sessions.variant.slices):
            return False
        state.keyframe = None
        before = state.shown
        self._show(state, run.tensors[sessions.output.name], run.track, run.past)
        if sessions.variant.context is not None:  # a keyframe includes a context
            self._store_context(state, run)
        return state.shown is not before

    def _store_context(self, state: EngineState, run: PartialRun) -> None:
        tensors = {spec.name: run.tensors[spec.name] for spec in self._sessions.variant.carried}
        self._take_context(state, CarriedContext(tensors=tensors, track=run.track))

    def _take_context(self, state: EngineState, made: CarriedContext) -> None:
        """Use a context from now on, unless there is a newer one."""
        frame = made.track.origin.frame
        if state.context is None or state.context.track.origin.frame <= frame:
            state.context = made
        if state.refresh is not None and state.refresh.track.origin.frame < frame:
            state.refresh = None

    def _run_stem(self, stem: dict[str, Tensor], frame: FrameInput) -> dict[str, Tensor]:
        """The stem's outputs for this frame: those of ``stem``, or those of a run now."""
        context = self._sessions.variant.context
        assert context is not None
        if stem:
            return stem
        tensors = {self._sessions.input.name: frame.tensor}
        for number in range(context[0]):
            tensors |= self._run_slice(number, tensors)
        return tensors

    def _refresh(
        self, state: EngineState, count: int, until_ms: float, stem: dict[str, Tensor], frame: FrameInput
    ) -> dict[str, Tensor]:
        variant, name = self._sessions.variant, self._sessions.input.name
        assert variant.context is not None
        first, end = variant.context
        if state.refresh is None:
            stem = self._run_stem(stem, frame)
            state.refresh = PartialRun(tensors=stem | {name: stem[name].copy()}, done=0, track=frame.track)
        run = state.refresh
        try:
            self._run_slices(run, range(first, end), count, until_ms, frame.started_ns)
        except BaseException:
            state.refresh = None
            raise
        if not run.done:
            state.refresh = None
        if run.done == end - first:
            state.refresh = None
            self._store_context(state, run)
        return stem

    def _detail(self, state: EngineState, stem: dict[str, Tensor], frame: FrameInput) -> dict[str, Tensor]:
        variant, context = self._sessions.variant, state.context
        assert variant.context is not None
        if context is None:
            raise OptionError("the policy runs the detail stage before there is a context")
        stem = self._run_stem(stem, frame)
        tensors, motion = dict(stem), context.track.motion
        begin_ns = self._clock()
        for spec in variant.carried:
            carried = context.tensors[spec.name]
            tensors[spec.name] = carried if motion is None else warp_tensor(carried, spec.layout, motion)
        self._timed(steps.CARRY, begin_ns)
        for number in range(variant.context[1], len(variant.slices)):
            tensors |= self._run_slice(number, tensors)
        self._show(state, tensors[self._sessions.output.name], frame.track, self._past(state, frame))
        return stem

    def _run_slices(
        self, run: PartialRun, numbers: Sequence[int], count: int, until_ms: float, started_ns: int
    ) -> None:
        """Run the next slices, up to one that would probably finish after ``until_ms``."""
        for number in numbers[run.done : run.done + count]:
            due_ms = (self._clock() - started_ns) / 1e6 + self._meter.expected_ms(slice_step(number))
            if number == len(self._sessions.variant.slices) - 1:  # its scores become a map at once
                due_ms += self._meter.expected_ms(steps.FUSE) + self._meter.expected_ms(steps.LABELS)
            if due_ms > until_ms:
                break
            run.tensors |= self._run_slice(number, run.tensors)
            run.done += 1

    def _run_slice(self, number: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        begin_ns = self._clock()
        outputs = dict(self._sessions.run_slice(number, tensors))
        self._timed(slice_step(number), begin_ns)
        return outputs


def _source_of(state: EngineState, frame: FrameInput) -> LabelSource:
    """What a keyframe is for a frame: the frame's own, or an older one's."""
    own = state.shown is not None and state.shown.oldest == frame.track.origin
    return "inferred" if own else "propagated"


def _core(tile: Tile) -> tuple[slice, slice]:
    """The cells of a tile."""
    top, left, bottom, right = tile.core
    return slice(top, bottom), slice(left, right)
