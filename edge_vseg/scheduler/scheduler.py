"""The executor: one mechanism that carries out what any policy decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError
from edge_vseg.fuse import FRESH_SHARE, fuse, to_probabilities
from edge_vseg.manifest import HeadSpec
from edge_vseg.policies import (
    Advance,
    Decision,
    Detail,
    Hold,
    Infer,
    MotionFacts,
    Policy,
    Propagate,
    Refresh,
    Situation,
)
from edge_vseg.postprocess import to_scores
from edge_vseg.propagate import inside, warp_scores, warp_tensor
from edge_vseg.scheduler.costs import CostMeter
from edge_vseg.scheduler.drift import DriftModel
from edge_vseg.scheduler.graphs import Graphs
from edge_vseg.scheduler.looking import Looker
from edge_vseg.scheduler.memory import Context, Memory, Track, Underway
from edge_vseg.types import Image, MotionField, Origin, Scores, Size, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What the scheduler has for a frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32, at the network's output size.
        fresh: Whether they differ from the last frame's, so that a new label map is due.
        source: ``inferred`` by the whole network from this very frame, ``partial``: by some stages of it,
        ``propagated``
            along the motion, or ``held``.
        age_frames: Frames since the image that the probabilities come from.
        age_map: ``(h, w)`` float32, the same for every cell; where the motion leads out of the older frame, a
            frame more than anything else is old.
        decision: What was decided, and why.
    """

    probabilities: Scores
    fresh: bool
    source: Origin
    age_frames: int
    age_map: NDArray[np.float32]
    decision: Decision


WARM_UPS = 6


class Scheduler:
    """Decides frame by frame, and keeps what is carried over.

    Args:
        graphs: The network.
        head: What its output is.
        frame_hw: Size of the frames that it sees.
        policy: Who decides.
        clock: Nanoseconds, such as :func:`time.perf_counter_ns`.
        meter: Knows what things cost.
        drift: Predicts how far carried maps are off.
        fresh_share: Weight of a fresh frame against what was carried; 1 for no fusion.

    Raises:
        OptionError: If the graph lacks what the policy needs, or its head gives no scores.
    """

    def __init__(
        self,
        graphs: Graphs,
        head: HeadSpec,
        frame_hw: Size,
        policy: Policy,
        *,
        clock: Callable[[], int],
        meter: CostMeter,
        drift: DriftModel,
        fresh_share: float = FRESH_SHARE,
    ) -> None:
        variant = graphs.variant
        if head.kind == "labels":
            raise OptionError("this bundle's graphs give finished label maps, which cannot be scheduled; export scores")
        if policy.needs in ("slices", "context") and not variant.slices:
            why = variant.unsliced or "it was exported without them"
            raise OptionError(f"policy {policy.name!r} needs slices, and {variant.id} has none: {why}")
        if policy.needs == "context" and variant.context is None:
            raise OptionError(
                f"policy {policy.name!r} needs a network whose context may be old, and no place to cut {variant.id}"
                " like that was found; choose sliced, fixed or adaptive"
            )
        self.policy = policy
        self.meter = meter
        self._graphs = graphs
        self._head = head
        self._cells: Size = head.size_hw
        self._clock = clock
        self._drift = drift
        self._share = fresh_share
        self._looker = Looker(policy.motion, frame_hw, self._cells) if policy.motion else None
        self._number = 0
        self._started = 0
        self._drifted = 0.0
        self._memory: Memory | None = None
        self._context: Context | None = None
        self._key: Underway | None = None
        self._refresh: Underway | None = None
        if policy.needs and variant.slices:
            self._warm_up()

    def _warm_up(self) -> None:
        """Run every slice a few times: first runs allocate, and what a slice costs must be known before it counts."""
        graphs = self._graphs
        spec = graphs.input
        for turn in range(WARM_UPS):
            values: dict[str, Tensor] = {spec.name: np.zeros(spec.shape, spec.dtype)}
            for number in range(len(graphs.variant.slices)):
                begin = self._clock()
                values |= graphs.run_slice(number, values)
                taken = self._clock() - begin
                if turn > 0:
                    self.meter.add(f"slice {number}", taken)

    def __call__(self, image: Image, tensor: Tensor, started: int) -> Outcome:
        """Decide for a frame and carry it out.

        Args:
            image: ``(H, W, 3)`` uint8 BGR, for the motion.
            tensor: The network's input.
            started: When the frame came, by the clock.
        """
        self._started = started
        begin = self._clock()
        step, facts = self._looker(image) if self._looker else (None, None)
        self._move(step, facts)
        self.meter.add("motion", self._clock() - begin)
        decision = self.policy.decide(self._situation(facts), self.meter.costs())
        source = self._carry_out(decision, tensor)
        self._number += 1
        self.meter.next_frame()
        assert self._memory is not None
        probabilities, track = self._memory.probabilities, self._memory.track
        if source == "propagated" and not track.still:
            begin = self._clock()
            probabilities = warp_scores(probabilities, track.field)
            self.meter.add("propagate", self._clock() - begin)
        return Outcome(
            probabilities=probabilities,
            fresh=source != "held",
            source=source,
            age_frames=track.frames,
            age_map=self._age_map(track),
            decision=decision,
        )

    def close(self) -> None:
        """Release the slices."""
        self._graphs.close()

    def _situation(self, facts: MotionFacts | None) -> Situation:
        return Situation(
            number=self._number,
            age=self._memory.track.frames if self._memory else None,
            drift=self._drifted,
            motion=facts,
            slices=len(self._graphs.variant.slices),
            context=self._graphs.variant.context,
            context_age=self._context.track.frames if self._context else None,
            key_done=self._key.done if self._key else 0,
            key_age=self._key.track.frames if self._key else 0,
            refresh_done=self._refresh.done - (self._graphs.variant.context or (0, 0))[0] if self._refresh else 0,
            refresh_age=self._refresh.track.frames if self._refresh else 0,
        )

    def _move(self, step: MotionField | None, facts: MotionFacts | None) -> None:
        for kept in (self._memory, self._context, self._key, self._refresh):
            if kept is not None:
                kept.track.go_on(step)
        if facts is not None:
            self._drifted += self._drift.step(facts)

    def _carry_out(self, decision: Decision, tensor: Tensor) -> Origin:
        source: Origin = "held" if self._memory else "inferred"
        stem: dict[str, Tensor] = {self._graphs.input.name: tensor}
        for action in decision.actions:
            match action:
                case Infer():
                    self._accept(self._timed("whole", lambda: self._graphs.run_whole(tensor)), None)
                    source = "inferred"
                case Advance(slices=count, until_ms=until):
                    if self._advance(count, until, tensor):
                        source = "propagated"
                case Refresh(slices=count, until_ms=until):
                    self._run_context(count, until, stem)
                case Detail():
                    self._accept(self._run_detail(stem), None)
                    source = "partial"
                case Propagate():
                    source = "propagated"
                case Hold():
                    source = "held"
        if self._memory is None:
            raise OptionError(f"policy {self.policy.name!r} did not infer the first frame")
        return source

    def _accept(self, raw: Tensor, track: Track | None) -> None:
        """Take fresh scores, of this frame or of the older one that ``track`` leads to, into the memory."""
        begin = self._clock()
        scores = to_scores(raw, self._graphs.output, self._head)
        assert scores is not None
        fresh = to_probabilities(scores)
        old = self._memory
        if track is not None and not track.still:
            fresh = warp_scores(fresh, track.field)
        if old is not None and self._share < 1 and self._looker is not None:
            carried = old.probabilities if old.track.still else warp_scores(old.probabilities, old.track.field)
            fresh = fuse(fresh, carried, self._share)
        now = Track.begin(self._cells)
        now.frames = track.frames if track is not None else 0
        self._memory = Memory(probabilities=fresh, track=now)
        self._drifted = 0.0 if track is None else self._drifted
        self.meter.add("fresh", self._clock() - begin)

    def _advance(self, count: int, until_ms: float, tensor: Tensor) -> bool:
        """Run slices of the keyframe under way; whether that finished it."""
        graphs = self._graphs
        if self._key is None:
            values = {graphs.input.name: tensor}
            self._key = Underway(values=values, done=0, track=Track.begin(self._cells))
        key = self._key
        for number in range(key.done, min(key.done + count, len(graphs.variant.slices))):
            if self._late(number, until_ms):
                break
            key.values |= self._run_slice(number, key.values)
            key.done += 1
        if key.done < len(graphs.variant.slices):
            return False
        self._key = None
        self._accept(key.values[graphs.output.name], key.track)
        return True

    def _run_stem(self, stem: dict[str, Tensor]) -> None:
        """Run the stem on this frame, unless that was done."""
        assert self._graphs.variant.context is not None
        if len(stem) == 1:
            for number in range(self._graphs.variant.context[0]):
                stem |= self._run_slice(number, stem)

    def _run_context(self, count: int, until_ms: float, stem: dict[str, Tensor]) -> None:
        variant = self._graphs.variant
        assert variant.context is not None
        first, last = variant.context
        if self._refresh is None:
            self._run_stem(stem)
            self._refresh = Underway(values=dict(stem), done=first, track=Track.begin(self._cells))
        under = self._refresh
        for number in range(under.done, min(under.done + count, last)):
            if self._late(number, until_ms):
                break
            under.values |= self._run_slice(number, under.values)
            under.done += 1
        if under.done == last:
            names = [tensor.name for tensor in variant.carried]
            self._context = Context(tensors={name: under.values[name] for name in names}, track=under.track)
            self._refresh = None

    def _run_detail(self, stem: dict[str, Tensor]) -> Tensor:
        variant = self._graphs.variant
        assert variant.context is not None
        if self._context is None:
            raise OptionError(f"policy {self.policy.name!r} runs the detail stage before there is a context")
        self._run_stem(stem)
        values = dict(stem)
        track = self._context.track
        begin = self._clock()
        for spec in variant.carried:
            carried = self._context.tensors[spec.name]
            values[spec.name] = carried if track.still else warp_tensor(carried, spec.layout, track.field)
        self.meter.add("carry", self._clock() - begin)
        for number in range(variant.context[1], len(variant.slices)):
            values |= self._run_slice(number, values)
        return values[self._graphs.output.name]

    def _late(self, number: int, until_ms: float) -> bool:
        """Whether a slice would probably end later than so long after the frame's start."""
        spent = (self._clock() - self._started) / 1e6
        return spent + self.meter.expect(f"slice {number}") > until_ms

    def _run_slice(self, number: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        begin = self._clock()
        given = dict(self._graphs.run_slice(number, values))
        self.meter.add(f"slice {number}", self._clock() - begin)
        return given

    def _timed(self, name: str, run: Callable[[], Tensor]) -> Tensor:
        begin = self._clock()
        result = run()
        self.meter.add(name, self._clock() - begin)
        return result

    def _age_map(self, track: Track) -> NDArray[np.float32]:
        ages = np.full(self._cells, track.frames, np.float32)
        if not track.still:
            ages[~inside(track.field)] += 1
        return ages
