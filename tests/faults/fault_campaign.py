"""Every policy against every fault, at every graph that it runs, in both lanes; and against motion, clocks and cameras.

A case plays a video of numbered frames. Every answer is checked against the frames themselves: its map, its ages and
its source. Frames with the fault may be refused, by a named error; all others have to be right.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import random
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from faulty_runtime import DEADLY, FAULTS, FaultPlan, registered
from numbered_network import make_profile
from numbered_runtime import RUNTIME, NumberedRuntime, write_numbered_bundle
from numbered_video import MS, Step, Video

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.bundle import open_bundle
from edge_vseg.errors import EdgeVsegError
from edge_vseg.scheduling import background, background_lane
from edge_vseg.scheduling.policies import POLICIES as REGISTERED
from edge_vseg.scheduling.policies import Async, Clockwork, Deadline, Feature, Fixed, Policy, Regional, Sliced
from edge_vseg.scheduling.policies.adaptive import Adaptive
from edge_vseg.scheduling.policies.every_frame import EveryFrame

POLICIES: dict[str, Policy] = {
    "every-frame": EveryFrame(),
    "fixed": Fixed(period_frames=3),
    "adaptive": Adaptive(),
    "feature": Feature(),
    "clockwork": Clockwork(),
    "sliced": Sliced(),
    "regional": Regional(max_drift=0.002, max_age_frames=3),
    "async": Async(),
    "async, lag of 2": Async(lag_frames=2),
    "deadline": Deadline(milliseconds=8.0),
}
assert {policy.name for policy in POLICIES.values()} == set(REGISTERED)
FRAMES = 40
HANG_S = 1.0
NOT_NETWORK = (
    "motion fails",
    "labels fail",
    "clock jumps ahead",
    "clock jumps back",
    "10 s gap",
    "capture jumps ahead",
    "capture jumps back",
    "frames are lost",
    "another size",
)
OUTCOMES = ("right", "refused", "wrong", "uncaught", "died", "hung")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault in one video.

    Attributes:
        policy: Name in :data:`POLICIES`.
        fault: Name in :data:`FAULTS`, or one of :data:`NOT_NETWORK`.
        graph: Stem of the graph's file.
        lane: ``frame`` or ``background``.
        run: The number of the run, or of the frame, that has it.
        times: So many runs or frames in a row have it.
        live: Real time and a real worker, instead of costs replayed on a virtual clock.
    """

    policy: str
    fault: str
    graph: str = ""
    lane: str = "frame"
    run: int = 3
    times: int = 1
    live: bool = False

    def __str__(self) -> str:
        where = f"{self.graph}, {self.lane} lane, run" if self.graph else "frame"
        clock = "live" if self.live else "replayed"
        return f"{self.policy}: {self.fault} at {where} {self.run} (x{self.times}, {clock})"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case: one of :data:`OUTCOMES` or ``never met``, with the reason where it failed."""

    kind: str
    reason: str = ""


class LiveClock:
    """The machine's clock, plus jumps."""

    def __init__(self, pause_s: float) -> None:
        self.jumped_ns = 0
        self._pause_s = pause_s

    def __call__(self) -> int:
        return time.perf_counter_ns() + self.jumped_ns

    def advance_to(self, time_ns: int) -> None:
        time.sleep(self._pause_s)  # the worker's turn


class Campaign:
    """Plays cases on one bundle.

    Args:
        folder: Where the bundle is written.
        frames: Length of each video.
    """

    def __init__(self, folder: Path, frames: int = FRAMES) -> None:
        self._frames = frames
        self._bundle = write_numbered_bundle(folder / "numbered.evseg")
        self._sha256 = open_bundle(self._bundle).sha256

    @contextlib.contextmanager
    def video(self, policy: Policy, plan: FaultPlan, *, live: bool) -> Iterator[Video]:
        """A video whose frames go through :meth:`Segmenter.open` and the faulty runtime."""
        profile = make_profile(40.0, bundle_sha256=self._sha256, variant=f"{RUNTIME}/float", runtime=RUNTIME)
        # A hang is noticed before the video ends.
        clock = LiveClock(3 * HANG_S / self._frames if plan.fault == "hangs" else 0.002) if live else None

        def opened(options: OpenOptions) -> Segmenter:
            given = options if clock is None else OpenOptions(clock=clock)
            return Segmenter.open(self._bundle, runtime=RUNTIME, threads=1, policy=policy, options=given)

        with registered(RUNTIME, NumberedRuntime(), plan):
            video = Video(policy, profile, open_segmenter=opened, clock=clock)
            plan.armed = True
            try:
                yield video
            finally:
                video.segmenter.close()

    def graphs(self, policy: Policy, *, live: bool) -> list[tuple[str, str]]:
        """Graphs and lanes that a policy runs at least three times."""
        plan = FaultPlan()
        with self.video(policy, plan, live=live) as video:
            for _ in range(self._frames):
                video(Step(shift=3))
        return sorted(key for key, count in plan.runs.items() if count >= 3)

    def play(self, case: Case) -> Outcome:
        """Play a case, and judge it."""
        before = set(threading.enumerate())
        in_network = case.fault in FAULTS
        plan = FaultPlan(
            fault=case.fault if in_network else "",
            graph=case.graph, lane=case.lane, run=case.run, times=case.times,
        )  # fmt: skip
        try:
            with self._limits(case), self.video(POLICIES[case.policy], plan, live=case.live) as video:
                plan.hang = _hang(video, live=case.live)
                refused = list(_answers(video, case, _disturbance(case, video), self._frames))
            if in_network:
                if not plan.hits:  # where time decides which graph runs
                    return Outcome(kind="never met")
            elif case.fault == "motion fails":
                assert refused or not POLICIES[case.policy].motion, "the fault was never met"
            assert len(refused) <= case.times, f"frames {refused} were refused, and {case.times} had the fault"
            _no_thread_of(before)
            assert not plan.open, f"{len(plan.open)} sessions are open"
        except AssertionError as exc:
            return Outcome(kind="wrong", reason=_first_line(exc))
        except EdgeVsegError as exc:
            return Outcome(kind="wrong", reason=f"later: {exc}")
        except Exception as exc:
            return Outcome(kind="uncaught", reason=f"{type(exc).__name__}: {_first_line(exc)}")
        return Outcome(kind="refused" if refused else "right")

    @contextlib.contextmanager
    def _limits(self, case: Case) -> Iterator[None]:
        """What takes a second hangs here, where that is looked for; and nothing is logged."""
        short = case.live and case.fault == "hangs"
        with (
            mock.patch.object(background_lane, "MIN_HANG_S", HANG_S if short else 10.0),
            mock.patch.object(background_lane, "HANG_FACTOR", 1.0 if short else 30.0),
            mock.patch.object(background_lane, "FIRST_PAUSE_S", 0.01),
            mock.patch.object(background, "CLOSE_TIMEOUT_S", 2.0),
        ):
            logging.disable(logging.CRITICAL)
            try:
                yield
            finally:
                logging.disable(logging.NOTSET)


def cases(campaign: Campaign, *, runs: tuple[int, ...] = (3,), times: tuple[int, ...] = (1,), live: bool) -> list[Case]:
    """All cases: policies times faults times graphs, lanes and runs."""
    made = []
    for name, policy in POLICIES.items():
        for (graph, lane), fault, run, count in itertools.product(
            campaign.graphs(policy, live=live), FAULTS, runs, times
        ):
            if fault == "interrupt" and lane == "background":
                continue  # no signal reaches that thread
            made.append(Case(policy=name, fault=fault, graph=graph, lane=lane, run=run, times=count, live=live))
        made += [
            Case(policy=name, fault=fault, run=run + 5, times=count, live=live)
            for fault, run, count in itertools.product(NOT_NETWORK, runs, times)
        ]
    return made


def _answers(video: Video, case: Case, disturb: Callable[[int], Step], frames: int) -> Iterator[int]:
    """Give all frames and check all answers; the numbers of the frames that were refused."""
    for number in range(frames):
        step = disturb(number)
        frame = video.next_frame(step)
        try:
            result = video.segmenter(frame)
        except EdgeVsegError:
            yield number
        except KeyboardInterrupt:
            if case.fault != "interrupt":
                raise
            yield number
        else:
            video.check(result)


def _hang(video: Video, *, live: bool) -> Callable[[], object]:
    if live:
        return lambda: time.sleep(2 * HANG_S)
    clock = video.clock
    return lambda: clock.advance_to(clock.now + 20_000 * MS)


def _disturbance(case: Case, video: Video) -> Callable[[int], Step]:
    """What makes the steps of the video, and strikes at the case's frame."""

    def at(number: int) -> Step:
        usual = Step(shift=3)
        if case.graph or not case.run <= number < case.run + case.times:
            _restore(video)
            return usual
        match case.fault:
            case "motion fails":
                video.observer._observe = _fails
            case "labels fail":
                video.engine._parts.labels._maker._new_label_map = _fails
            case "clock jumps ahead" | "clock jumps back":
                jump_ns = 3600_000 * MS * (1 if case.fault.endswith("ahead") else -1)
                if isinstance(video.clock, LiveClock):
                    video.clock.jumped_ns += jump_ns
                else:
                    video.clock.now += jump_ns
            case "10 s gap":
                return Step(shift=20, gap_ms=10_000.0)
            case "capture jumps ahead":
                return Step(shift=3, gap_ms=3600_000.0)
            case "capture jumps back":
                return Step(shift=3, gap_ms=-50.0)
            case "frames are lost":
                return Step(shift=9, gap_ms=330.0, seq=10)
            case "another size":
                return Step(shift=3, size_hw=(48, 80))
        return usual

    return at


def _restore(video: Video) -> None:
    for owner, name in ((video.observer, "_observe"), (video.engine._parts.labels._maker, "_new_label_map")):
        vars(owner).pop(name, None)


def _fails(*_: object) -> None:
    import cv2

    raise cv2.error("Insufficient memory")


def _no_thread_of(before: set[threading.Thread]) -> None:
    until = time.monotonic() + 5.0
    while left := [each.name for each in set(threading.enumerate()) - before if each.is_alive()]:
        assert time.monotonic() < until, f"threads are left: {left}"
        time.sleep(0.005)


def _first_line(exc: BaseException) -> str:
    where = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{(str(exc).splitlines() or [''])[0]} ({Path(where.filename).name}:{where.lineno}: {where.line})"


def chosen_cases(campaign: Campaign, count: int, seed: int, *, live: bool) -> list[Case]:
    """So many cases out of all, with faults at different runs and for several in a row; 0 for all."""
    made = cases(campaign, runs=(1, 2, 3, 5), times=(1, 2, 4), live=live)
    return random.Random(seed).sample(made, min(count, len(made))) if count else made


def main() -> None:
    """Play the cases from a number on; a line of JSON before and after each, for :mod:`benchmarks.faults`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--plant", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        campaign = Campaign(Path(folder))
        chosen = chosen_cases(campaign, given.cases, given.seed, live=given.live)
        if given.plant:  # what takes the process with it, and what never returns
            FAULTS.update(DEADLY)
            planted = [Case(policy="fixed", fault=fault, graph="infer", live=given.live) for fault in DEADLY]
            chosen = [*planted, *chosen]
        for number, case in enumerate(chosen[given.first :], given.first):
            print(json.dumps({"number": number, "of": len(chosen), "fault": case.fault, "case": str(case)}), flush=True)
            outcome = campaign.play(case)
            print(json.dumps({"number": number, "kind": outcome.kind, "reason": outcome.reason}), flush=True)


if __name__ == "__main__":
    main()
