"""A video of numbered frames, and what holds of every answer to them: see :mod:`numbered_network`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numbered_network import Network, image_of, open_numbered

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.decision import Detail, InferTiles
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.policies import Policy, renewal_ms
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.scheduling.state import CarriedContext, EngineState, ShownMap, Track
from edge_vseg.types import Frame, Result

MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """A frame of a generated video, against the one before: capture, frame number, motion, size."""

    gap_ms: float = 33.0
    seq: int = 1
    shift: int = 2
    size_hw: tuple[int, int] = (64, 64)
    late_ms: float = 0.0


class Video:
    """Gives frames to a segmenter on the virtual clock, and checks every answer against the numbers in its map."""

    def __init__(
        self,
        policy: Policy,
        profile,
        network: Network | None = None,
        *,
        open_segmenter: Callable[[OpenOptions], Segmenter] | None = None,
        clock=None,
    ) -> None:
        """Open a segmenter: by default of the network without files; or ``open_segmenter`` opens one, given options.

        The clock is a virtual one, on which the profile is replayed, or one that the caller brings.
        """
        self.network = network or Network()
        self.clock = clock or VirtualClock()
        options = OpenOptions(replay=profile, clock=self.clock)
        self.segmenter = open_segmenter(options) if open_segmenter else open_numbered(self.network, policy, options)
        self.engine = self.segmenter._engine
        self.observer = self.engine._parts.observer
        self.frames: list[Frame] = []
        self.segments: list[int] = []
        self._shift = 0
        self._capture_ns = self._seq = 0
        self._last: Result | None = None

    def __call__(self, step: Step) -> Result:
        return self.check(self.segmenter(self.next_frame(step)))

    def next_frame(self, step: Step) -> Frame:
        self._shift += step.shift
        self._seq += step.seq
        self._capture_ns += round(step.gap_ms * MS) + 1  # no two frames of one capture time
        self.clock.advance_to(self._capture_ns + round(step.late_ms * MS))
        frame = Frame(
            image=image_of(len(self.frames), self._shift, step.size_hw), seq=self._seq, capture_ns=self._capture_ns
        )
        meter = self.engine.meter
        whole_ms = meter.usual_ms(steps.INFER)
        if steps.INFER not in meter.samples_ms():  # never run whole: no less than its slices
            slices = range(self.engine._parts.slice_count)
            whole_ms = max(whole_ms, sum(meter.usual_ms(steps.slice_step(number)) for number in slices))
        network_ms = max(whole_ms, meter.usual_ms(steps.BACKGROUND))
        pace = copy.deepcopy(self.engine._pace)
        pace.arrive(self.clock())
        # It follows the measured costs, and where tiles are inferred the pace.
        self.max_age_ms = self.engine.limits.oldest_ms(network_ms, renewal_ms(self.engine.policy, pace.period_ns / MS))
        cut = bool(self.frames) and (
            step.seq < 1 or not 0 <= frame.capture_ns - self.frames[-1].capture_ns <= self.max_age_ms * MS
        )
        self.segments.append(self.segments[-1] + cut if self.segments else 0)
        self.frames.append(frame)
        return frame

    def check(self, result: Result) -> Result:
        now = self.frames[-1]
        given = np.unique(result.labels)
        seen = [self.frames[number] for number in given]
        assert result.labels.shape == now.image.shape[:2]
        assert {self.segments[number] for number in given} == {self.segments[-1]}, "a map from before a cut"
        ages = {now.seq - frame.seq for frame in seen}
        ages_ms = {(now.capture_ns - frame.capture_ns) / MS for frame in seen}
        assert max(ages) <= result.age_frames
        assert max(ages_ms) <= result.map_age_ms
        if len(given) == 1 and self.state.shown.cells is None:
            assert (result.age_frames, result.map_age_ms) == (max(ages), max(ages_ms))
        assert now.capture_ns - result.labels_ns <= self.max_age_ms * MS
        assert now.capture_ns - result.map_age_ms * MS <= result.labels_ns + 1 <= now.capture_ns + 1
        self._check_cells(result)
        self._check_source(result, ages)
        check_state(self.state, self.frames)
        self._last = result
        return result

    @property
    def state(self) -> EngineState:
        return self.engine.state

    def _check_cells(self, result: Result) -> None:
        """Class of the probabilities, age in frames and age in ms, cell by cell."""
        if result.probabilities is None:
            return
        now, numbers = self.frames[-1], result.probabilities.argmax(0)
        seq, capture = (np.array([getattr(each, name) for each in self.frames]) for name in ("seq", "capture_ns"))
        ages, ages_ms = now.seq - seq[numbers], (now.capture_ns - capture[numbers]) / MS
        beyond = result.age_map - ages
        if self.state.shown.cells is None:
            assert set(np.unique(beyond)) <= {0, 1}
            assert np.allclose(result.age_ms_map, ages_ms, rtol=1e-5)
        else:  # where tiles of several frames meet, scores are interpolated: the age is that of the oldest
            assert beyond.min() >= 0
            assert (result.age_ms_map >= ages_ms * (1 - 1e-5)).all()
        assert float(result.age_ms_map.max()) <= np.float32(result.map_age_ms)

    def _check_source(self, result: Result, ages: set[int]) -> None:
        decided, last = {type(action) for action in result.decision.actions}, self._last
        match result.source:
            case "inferred":
                assert ages == {0}
                assert result.age_frames == 0
            case "partial":
                assert 0 in ages
                assert decided & {Detail, InferTiles}
            case "propagated":
                assert 0 not in ages
            case "held":
                assert 0 not in ages
                assert last is not None
                if last.labels.shape == result.labels.shape:
                    np.testing.assert_array_equal(result.labels, last.labels)


def check_state(state: EngineState, frames: list[Frame]) -> None:
    """Whatever is carried is finite, and from the frame that its track begins at."""
    by_capture = {(frame.capture_ns): number for number, frame in enumerate(frames)}

    def number_of(track: Track) -> int:
        return by_capture[track.origin.capture_ns]

    assert state.now is not None
    assert state.now.capture_ns == frames[-1].capture_ns
    for track in state.tracks():
        assert track.origin.frame <= state.now.frame
        assert track.motion is None or np.isfinite(track.motion).all()
        assert np.isfinite(track.drift).all()
        assert track.drift.min() >= 0
        assert track.drift.max() <= 1
    context, shown = state.context, state.shown
    if isinstance(context, CarriedContext):
        assert np.unique(context.tensors["context"]).tolist() == [number_of(context.track)]
    for run in (state.keyframe, state.refresh):
        if run is not None:
            assert np.unique(run.tensors["frame"][..., 0]).tolist() == [number_of(run.track)]
    if isinstance(shown, ShownMap) and shown.probabilities is not None:
        origins = np.array([by_capture[origin.capture_ns] for origin in shown.origins])
        assert sorted(shown.origins, key=lambda origin: origin.frame) == list(shown.origins)
        assert np.isfinite(shown.probabilities).all()
        cells = shown.origin_cells(None, shown.probabilities.shape[1:])
        assert cells.min() == 0, "an oldest frame that no cell comes from makes the map old for nothing"
        assert cells.max() < len(origins)
