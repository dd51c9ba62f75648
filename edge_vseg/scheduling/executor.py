"""Execute the actions of any policy, and keep what is carried from frame to frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.imaging.label_maps import read_logits
from edge_vseg.imaging.tiles import Tile, cores
from edge_vseg.motion.warp import warp_scores, warp_tensor
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.actions import (
    Action,
    Advance,
    Collect,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
)
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.fusion import fresh_weights, fuse
from edge_vseg.scheduling.state import BackgroundKeyframe, CarriedContext, PartialRun, ShownMap, Track
from edge_vseg.scheduling.steps import slice_step
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import LabelSource, Probabilities, Size, Tensor, softmax


class Executor:
    """Runs the network, whole or in parts, and holds all state between frames.

    Args:
        sessions: Sessions of the variant.
        head: The network's output.
        statistics_hw: Size of drift maps.
        tiles: Tiles of the frame; empty without a tile graph.
        clock: Time in ns.
        meter: Records the duration of every step.
        fresh_weight: Weight of fresh against carried probabilities, 0 to 1; 1 for no fusion.

    Attributes:
        shown: The last probabilities; ``None`` before the first frame.
        context: The last context; ``None`` if there is none yet.
        keyframe: The keyframe in progress.
        refresh: The context in progress.
        worker_run: The keyframe in the background.
    """

    def __init__(
        self,
        sessions: VariantSessions,
        head: HeadSpec,
        statistics_hw: Size,
        *,
        tiles: tuple[Tile, ...],
        clock: Callable[[], int],
        meter: CostMeter,
        fresh_weight: float,
    ) -> None:
        self.shown: ShownMap | None = None
        self.context: CarriedContext | None = None
        self.keyframe: PartialRun | None = None
        self.refresh: PartialRun | None = None
        self.worker_run: BackgroundKeyframe | None = None
        self._sessions = sessions
        self._head = head
        self._cells: Size = head.size_hw
        self._statistics_hw = statistics_hw
        self._tiles = tiles
        self._clock = clock
        self._meter = meter
        self._fresh_weight = fresh_weight
        self._started_ns = 0
        self._unexplained: NDArray[np.float32] | None = None

    def drop_superseded(self) -> None:
        """Drop runs in progress on an image no newer than that of what they would replace."""
        if self.keyframe and self.shown and self.keyframe.track.frames >= self.shown.track.frames:
            self.keyframe = None
        if self.refresh and self.context and self.refresh.track.frames >= self.context.track.frames:
            self.refresh = None

    def tracks(self) -> list[Track]:
        """The tracks of everything that is carried."""
        carried = (self.shown, self.context, self.keyframe, self.refresh, self.worker_run)
        return [each.track for each in carried if each is not None]

    def execute(
        self,
        actions: tuple[Action, ...],
        image: Callable[[], Tensor],
        started_ns: int,
        unexplained: NDArray[np.float32] | None,
    ) -> LabelSource:
        """Execute the actions of a frame; :attr:`shown` then holds its probabilities.

        Args:
            actions: Executed in this order.
            image: Gives the network's input for the frame, made when it is first asked for; not kept.
            started_ns: Arrival of the frame, by the clock.
            unexplained: ``(h', w')`` float32 gray difference after warping; ``None`` if no motion was estimated.

        Returns:
            Where the frame's labels come from.

        Raises:
            OptionError: If an action needs what is not there, such as a context.
            SessionError: If the runtime fails.
        """
        self._started_ns, self._unexplained = started_ns, unexplained
        source: LabelSource = "held" if self.shown else "inferred"
        stem: dict[str, Tensor] = {}
        for action in actions:
            match action:
                case Infer():
                    self._infer(image())
                    source = "inferred"
                case InferTiles(tiles=numbers):
                    self._infer_tiles(numbers, image())
                    source = "partial"
                case Advance(slices=count, until_ms=until):
                    if self._advance(count, until, image):
                        source = "propagated"
                case Refresh(slices=count, until_ms=until):
                    self._run_context(count, until, stem, image)
                case Detail():
                    self._accept(self._run_detail(stem, image), None)
                    source = "partial"
                case Launch():
                    self._launch(image())
                case Collect():
                    self._collect()
                    source = "propagated"
                case Propagate():
                    source = "propagated"
                case Hold():
                    source = "held"
        if self.shown is None:
            raise OptionError("the policy did not infer the first frame")
        return source

    def close(self) -> None:
        """End the background, and close the sessions."""
        self._sessions.close()

    def _new_track(self) -> Track:
        return Track.begin(self._cells, self._statistics_hw)

    def _infer(self, tensor: Tensor) -> None:
        begin_ns = self._clock()
        raw = self._sessions.run_whole(tensor)
        self._meter.add(steps.INFER, self._clock() - begin_ns)
        self._accept(raw, None)

    def _weights(self) -> NDArray[np.float32] | float:
        if self._unexplained is None or self._fresh_weight >= 1:
            return self._fresh_weight
        return fresh_weights(self._unexplained, self._cells, self._fresh_weight)

    def _carried(self) -> Probabilities | None:
        """The last probabilities, warped to the current frame."""
        shown = self.shown
        if shown is None:
            return None
        return shown.probabilities if shown.track.still else warp_scores(shown.probabilities, shown.track.field)

    def _accept(self, raw: Tensor, track: Track | None) -> None:
        """Make fresh scores, of this frame or of the older one that ``track`` leads to, the shown map."""
        begin_ns = self._clock()
        logits = read_logits(raw, self._sessions.output, self._head)
        assert logits is not None
        fresh = softmax(logits)
        if track is not None and not track.still:
            fresh = warp_scores(fresh, track.field)
        carried = self._carried() if self._fresh_weight < 1 else None
        fused = carried is not None and self.shown is not None and self.shown.track.frames > 0
        if carried is not None and fused:
            fuse(fresh, carried, self._weights())
        new = self._new_track()
        if track is not None:
            new.frames, new.drift = track.frames, track.drift
        # Without fusion labels come from the network's own scores. With it all come from probabilities: a border
        # interpolated now from one, now from the other would flicker.
        network_logits = logits if self._fresh_weight >= 1 and (track is None or track.still) else None
        self.shown = ShownMap(
            probabilities=fresh, track=new, ages=np.zeros(self._cells, np.float32), logits=network_logits
        )
        self._meter.add(steps.FUSE, self._clock() - begin_ns)

    def _infer_tiles(self, numbers: tuple[int, ...], tensor: Tensor) -> None:
        """Infer tiles and fuse them into the carried probabilities."""
        carried = self._carried()
        if carried is None or self.shown is None:
            raise OptionError("the policy infers tiles before there is a map to paste them into")
        spec = self._sessions.variant.tile
        assert spec is not None
        chosen = tuple(self._tiles[number] for number in numbers)
        probabilities, ages = carried.copy(), self.shown.ages_now()
        drift = self.shown.track.drift.copy()
        weights = np.broadcast_to(np.asarray(self._weights(), np.float32), self._cells)
        height, width, _ = spec.output.hwc
        head = msgspec.structs.replace(self._head, size_hw=(height, width))
        for tile in chosen:
            begin_ns = self._clock()
            logits = read_logits(self._sessions.run_tile(_crop(tensor, tile, spec.input.layout)), spec.output, head)
            assert logits is not None
            top, left, bottom, right = tile.inner
            fresh = softmax(np.ascontiguousarray(logits[:, top:bottom, left:right]))
            top, left, bottom, right = tile.core
            place = (slice(None), slice(top, bottom), slice(left, right))
            fuse(fresh, probabilities[place], weights[place[1:]])
            probabilities[place] = fresh
            ages[place[1:]] = 0
            self._meter.add(steps.TILE, self._clock() - begin_ns)
        for part in cores(drift, chosen, self._cells):
            part[:] = 0
        new = self._new_track()
        new.drift = drift
        self.shown = ShownMap(probabilities=probabilities, track=new, ages=ages)

    def _advance(self, count: int, until_ms: float, image: Callable[[], Tensor]) -> bool:
        """Run slices of the keyframe in progress; returns whether that finished it."""
        sessions = self._sessions
        if self.keyframe is None:
            # A copy: the tensor may be the caller's own image, which the next frame may overwrite.
            self.keyframe = PartialRun(tensors={sessions.input.name: image().copy()}, done=0, track=self._new_track())
        run = self.keyframe
        self._run_slices(run, range(len(sessions.variant.slices)), count, until_ms)
        if run.done < len(sessions.variant.slices):
            return False
        self.keyframe = None
        if sessions.variant.context is not None:  # a keyframe includes a context
            self._store_context(run)
        self._accept(run.tensors[sessions.output.name], run.track)
        return True

    def _store_context(self, run: PartialRun) -> None:
        names = [spec.name for spec in self._sessions.variant.carried]
        self.context = CarriedContext(tensors={name: run.tensors[name] for name in names}, track=run.track.copy())

    def _run_stem(self, stem: dict[str, Tensor], image: Callable[[], Tensor]) -> None:
        """Run the stem on this frame, unless ``stem`` has its outputs already."""
        assert self._sessions.variant.context is not None
        if not stem:
            stem[self._sessions.input.name] = image()
            for number in range(self._sessions.variant.context[0]):
                stem |= self._run_slice(number, stem)

    def _run_context(self, count: int, until_ms: float, stem: dict[str, Tensor], image: Callable[[], Tensor]) -> None:
        variant, name = self._sessions.variant, self._sessions.input.name
        assert variant.context is not None
        first, end = variant.context
        if self.refresh is None:
            self._run_stem(stem, image)
            self.refresh = PartialRun(tensors=stem | {name: stem[name].copy()}, done=0, track=self._new_track())
        run = self.refresh
        self._run_slices(run, range(first, end), count, until_ms)
        if run.done == end - first:
            self._store_context(run)
            self.refresh = None

    def _run_detail(self, stem: dict[str, Tensor], image: Callable[[], Tensor]) -> Tensor:
        variant = self._sessions.variant
        assert variant.context is not None
        if self.context is None:
            raise OptionError("the policy runs the detail stage before there is a context")
        self._run_stem(stem, image)
        tensors = dict(stem)
        track = self.context.track
        begin_ns = self._clock()
        for spec in variant.carried:
            carried = self.context.tensors[spec.name]
            tensors[spec.name] = carried if track.still else warp_tensor(carried, spec.layout, track.field)
        self._meter.add(steps.CARRY, self._clock() - begin_ns)
        for number in range(variant.context[1], len(variant.slices)):
            tensors |= self._run_slice(number, tensors)
        return tensors[self._sessions.output.name]

    def _run_slices(self, run: PartialRun, numbers: Sequence[int], count: int, until_ms: float) -> None:
        """Run the next slices, up to one that would probably finish after ``until_ms``."""
        for number in numbers[run.done : run.done + count]:
            due_ms = (self._clock() - self._started_ns) / 1e6 + self._meter.expected_ms(slice_step(number))
            if number == len(self._sessions.variant.slices) - 1:
                due_ms += self._meter.expected_ms(steps.FUSE) + self._meter.expected_ms(
                    steps.LABELS
                )  # its scores are fused at once
            if due_ms > until_ms:
                break
            run.tensors |= self._run_slice(number, run.tensors)
            run.done += 1

    def _run_slice(self, number: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        begin_ns = self._clock()
        outputs = dict(self._sessions.run_slice(number, tensors))
        self._meter.add(slice_step(number), self._clock() - begin_ns)
        return outputs

    def _launch(self, tensor: Tensor) -> None:
        if self.worker_run is not None:
            raise OptionError("the policy launches a keyframe before it has collected the last one")
        # A copy: the tensor may be the caller's own image, which the next frame may overwrite.
        run = self._sessions.background.start(tensor.copy())
        self.worker_run = BackgroundKeyframe(run=run, track=self._new_track())

    def _collect(self) -> None:
        run, self.worker_run = self.worker_run, None
        if run is None:
            raise OptionError("the policy collects a keyframe that it has not launched")
        try:
            output = run.run.result()
        except Exception as exc:  # whatever the worker met, this is the frame that tells
            raise SessionError(f"the keyframe in the background failed: {exc}; the next frame starts another") from exc
        if run.run.duration_ns:
            self._meter.record(steps.BACKGROUND, run.run.duration_ns)
        self._accept(output, run.track)


def _crop(tensor: Tensor, tile: Tile, layout: str) -> Tensor:
    top, left, bottom, right = tile.crop
    if layout == "NCHW":
        return np.ascontiguousarray(tensor[:, :, top:bottom, left:right])
    return np.ascontiguousarray(tensor[:, top:bottom, left:right])
