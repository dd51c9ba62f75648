"""The one mechanism that carries out what any policy decides, and keeps what is carried over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.errors import OptionError
from edge_vseg.imaging.label_maps import read_logits
from edge_vseg.imaging.tiles import Tile, cores
from edge_vseg.motion.warp import warp_scores, warp_tensor
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
from edge_vseg.scheduling.fusion import fresh_shares, fuse, to_probabilities
from edge_vseg.scheduling.state import BackgroundKeyframe, CarriedContext, PartialRun, ShownMap, Track
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import LabelSource, Scores, Size, Tensor


class Executor:
    """Runs the network, whole or in parts, and remembers.

    Args:
        graphs: The network.
        head: What its output is.
        statistics_hw: Size of the maps of drift.
        tiles: What the frame is divided into; empty for a network that cannot run on tiles.
        clock: Nanoseconds.
        meter: Is told what everything takes.
        fresh_share: Weight of a fresh frame against what was carried; 1 for no fusion.

    Attributes:
        shown: The last probabilities; ``None`` before the first frame.
        context: The last context.
        key: The keyframe under way in slices.
        refresh: The context under way in slices.
        launched: The keyframe that the worker has.
    """

    def __init__(
        self,
        graphs: VariantSessions,
        head: HeadSpec,
        statistics_hw: Size,
        *,
        tiles: tuple[Tile, ...],
        clock: Callable[[], int],
        meter: CostMeter,
        fresh_share: float,
    ) -> None:
        self.shown: ShownMap | None = None
        self.context: CarriedContext | None = None
        self.key: PartialRun | None = None
        self.refresh: PartialRun | None = None
        self.launched: BackgroundKeyframe | None = None
        self._graphs = graphs
        self._head = head
        self._cells: Size = head.size_hw
        self._statistics_hw = statistics_hw
        self._tiles = tiles
        self._clock = clock
        self._meter = meter
        self._share = fresh_share
        self._worker: ThreadPoolExecutor | None = None
        self._started = 0
        self._unexplained: NDArray[np.float32] | None = None

    def drop_superseded(self) -> None:
        """Forget what is under way, but comes from no newer image than what it would replace."""
        if self.key and self.shown and self.key.track.frames >= self.shown.track.frames:
            self.key = None
        if self.refresh and self.context and self.refresh.track.frames >= self.context.track.frames:
            self.refresh = None

    def tracks(self) -> list[Track]:
        """The way back to the frame of everything that is kept."""
        kept = (self.shown, self.context, self.key, self.refresh, self.launched)
        return [each.track for each in kept if each is not None]

    def execute(
        self, actions: tuple[Action, ...], tensor: Tensor, started: int, unexplained: NDArray[np.float32] | None
    ) -> LabelSource:
        """Do what was decided for a frame; afterwards the shown holds what is known of it.

        Args:
            actions: In order.
            tensor: The network's input for the frame; it is not kept.
            started: When the frame came, by the clock.
            unexplained: ``(h', w')`` float32, what the motion does not explain of the frame, in grey; ``None`` if it
                was not looked at.

        Returns:
            Where the frame's labels come from.

        Raises:
            OptionError: If the actions need what is not there.
            SessionError: If the runtime fails.
        """
        self._started, self._unexplained = started, unexplained
        source: LabelSource = "held" if self.shown else "inferred"
        stem: dict[str, Tensor] = {self._graphs.input.name: tensor}
        for action in actions:
            match action:
                case Infer():
                    self._infer(tensor)
                    source = "inferred"
                case InferTiles(tiles=numbers):
                    self._infer_tiles(numbers, tensor)
                    source = "partial"
                case Advance(slices=count, until_ms=until):
                    if self._advance(count, until, tensor):
                        source = "propagated"
                case Refresh(slices=count, until_ms=until):
                    self._run_context(count, until, stem)
                case Detail():
                    self._accept(self._run_detail(stem), None)
                    source = "partial"
                case Launch():
                    self._launch(tensor)
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
        """Wait for the worker, and release the graphs."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
        self._graphs.close()

    def _begin(self) -> Track:
        return Track.begin(self._cells, self._statistics_hw)

    def _infer(self, tensor: Tensor) -> None:
        if self.launched is not None:
            self.launched.output.exception()  # one thread at a time may use the graph
        begin = self._clock()
        raw = self._graphs.run_whole(tensor)
        self._meter.add("whole", self._clock() - begin)
        self._accept(raw, None)

    def _shares(self) -> NDArray[np.float32] | float:
        if self._unexplained is None or self._share >= 1:
            return self._share
        return fresh_shares(self._unexplained, self._cells, self._share)

    def _carried(self) -> Scores | None:
        """The last probabilities in the present frame, to be fused with fresh ones."""
        old = self.shown
        if old is None:
            return None
        return old.probabilities if old.track.still else warp_scores(old.probabilities, old.track.field)

    def _accept(self, raw: Tensor, track: Track | None) -> None:
        """Take fresh scores, of this frame or of the older one that ``track`` leads to, into the shown."""
        begin = self._clock()
        raw_scores = read_logits(raw, self._graphs.output, self._head)
        assert raw_scores is not None
        fresh = to_probabilities(raw_scores)
        if track is not None and not track.still:
            fresh = warp_scores(fresh, track.field)
        carried = self._carried() if self._share < 1 else None
        mixed = carried is not None and self.shown is not None and self.shown.track.frames > 0
        if carried is not None and mixed:
            fuse(fresh, carried, self._shares())
        now = self._begin()
        if track is not None:
            now.frames, now.drift = track.frames, track.drift
        # Where nothing is ever mixed in, labels are the network's own. Elsewhere they all come from probabilities: a
        # border that is interpolated now in this way and now in that would flicker.
        scores = raw_scores if self._share >= 1 and (track is None or track.still) else None
        self.shown = ShownMap(probabilities=fresh, track=now, ages=np.zeros(self._cells, np.float32), scores=scores)
        self._meter.add("fresh", self._clock() - begin)

    def _infer_tiles(self, numbers: tuple[int, ...], tensor: Tensor) -> None:
        """Lay fresh scores of some tiles over the carried ones."""
        carried = self._carried()
        if carried is None or self.shown is None:
            raise OptionError("the policy infers tiles before there is a map to lay them over")
        spec = self._graphs.variant.tile
        assert spec is not None
        chosen = tuple(self._tiles[number] for number in numbers)
        probabilities, ages = carried.copy(), self.shown.ages_now()
        drift = self.shown.track.drift.copy()
        shares = np.broadcast_to(np.asarray(self._shares(), np.float32), self._cells)
        height, width, _ = spec.output.hwc
        head = msgspec.structs.replace(self._head, size_hw=(height, width))
        for tile in chosen:
            begin = self._clock()
            scores = read_logits(self._graphs.run_tile(_crop(tensor, tile, spec.input.layout)), spec.output, head)
            assert scores is not None
            top, left, bottom, right = tile.inner
            fresh = to_probabilities(np.ascontiguousarray(scores[:, top:bottom, left:right]))
            top, left, bottom, right = tile.core
            place = (slice(None), slice(top, bottom), slice(left, right))
            fuse(fresh, probabilities[place], shares[place[1:]])
            probabilities[place] = fresh
            ages[place[1:]] = 0
            self._meter.add("tile", self._clock() - begin)
        for part in cores(drift, chosen, self._cells):
            part[:] = 0
        now = self._begin()
        now.drift = drift
        self.shown = ShownMap(probabilities=probabilities, track=now, ages=ages)

    def _advance(self, count: int, until_ms: float, tensor: Tensor) -> bool:
        """Run slices of the keyframe under way; whether that finished it."""
        graphs = self._graphs
        if self.key is None:
            # A copy, for the tensor may be the caller's own image, which the next frame may overwrite.
            self.key = PartialRun(values={graphs.input.name: tensor.copy()}, done=0, track=self._begin())
        key = self.key
        self._run_slices(key, range(len(graphs.variant.slices)), count, until_ms)
        if key.done < len(graphs.variant.slices):
            return False
        self.key = None
        if graphs.variant.context is not None:  # it has made a context, too
            self._take_context(key)
        self._accept(key.values[graphs.output.name], key.track)
        return True

    def _take_context(self, under: PartialRun) -> None:
        names = [spec.name for spec in self._graphs.variant.carried]
        self.context = CarriedContext(tensors={name: under.values[name] for name in names}, track=under.track.copy())

    def _run_stem(self, stem: dict[str, Tensor]) -> None:
        """Run the stem on this frame, unless that was done."""
        assert self._graphs.variant.context is not None
        if len(stem) == 1:
            for number in range(self._graphs.variant.context[0]):
                stem |= self._run_slice(number, stem)

    def _run_context(self, count: int, until_ms: float, stem: dict[str, Tensor]) -> None:
        variant, name = self._graphs.variant, self._graphs.input.name
        assert variant.context is not None
        first, last = variant.context
        if self.refresh is None:
            self._run_stem(stem)
            self.refresh = PartialRun(values=stem | {name: stem[name].copy()}, done=0, track=self._begin())
        under = self.refresh
        self._run_slices(under, range(first, last), count, until_ms)
        if under.done == last - first:
            self._take_context(under)
            self.refresh = None

    def _run_detail(self, stem: dict[str, Tensor]) -> Tensor:
        variant = self._graphs.variant
        assert variant.context is not None
        if self.context is None:
            raise OptionError("the policy runs the detail stage before there is a context")
        self._run_stem(stem)
        values = dict(stem)
        track = self.context.track
        begin = self._clock()
        for spec in variant.carried:
            carried = self.context.tensors[spec.name]
            values[spec.name] = carried if track.still else warp_tensor(carried, spec.layout, track.field)
        self._meter.add("carry", self._clock() - begin)
        for number in range(variant.context[1], len(variant.slices)):
            values |= self._run_slice(number, values)
        return values[self._graphs.output.name]

    def _run_slices(self, under: PartialRun, numbers: Sequence[int], count: int, until_ms: float) -> None:
        """Run the next slices, but none that would probably end later than so long after the frame's start."""
        for number in numbers[under.done : under.done + count]:
            due = (self._clock() - self._started) / 1e6 + self._meter.expect(f"slice {number}")
            if number == len(self._graphs.variant.slices) - 1:
                due += self._meter.expect("fresh")  # its scores come with it
            if due > until_ms:
                break
            under.values |= self._run_slice(number, under.values)
            under.done += 1

    def _run_slice(self, number: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        begin = self._clock()
        given = dict(self._graphs.run_slice(number, values))
        self._meter.add(f"slice {number}", self._clock() - begin)
        return given

    def _launch(self, tensor: Tensor) -> None:
        if self.launched is not None:
            raise OptionError("the policy gives the worker a frame before it has collected the last one")
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="edge-vseg-keyframe")
        output = self._worker.submit(self._graphs.run_whole, tensor.copy())
        self.launched = BackgroundKeyframe(output=output, track=self._begin())

    def _collect(self) -> None:
        launched, self.launched = self.launched, None
        if launched is None:
            raise OptionError("the policy collects a keyframe that no worker was given")
        self._accept(launched.output.result(), launched.track)


def _crop(tensor: Tensor, tile: Tile, layout: str) -> Tensor:
    top, left, bottom, right = tile.crop
    if layout == "NCHW":
        return np.ascontiguousarray(tensor[:, :, top:bottom, left:right])
    return np.ascontiguousarray(tensor[:, top:bottom, left:right])
