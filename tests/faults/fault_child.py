"""Runs in a process of its own, whose limits or signals a test sets; prints what happened as one line of JSON.

``python fault_child.py stop|descriptors|memory BUNDLE``
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faulty_runtime import FaultPlan, registered
from numbered_network import CLASSES, image_of
from numbered_runtime import RUNTIME, NumberedRuntime

from edge_vseg import Pipeline, PipelineOptions, Segmenter, StaleError
from edge_vseg.errors import EdgeVsegError
from edge_vseg.scheduling.policies import Async, Fixed, Policy
from edge_vseg.types import Result
from edge_vseg.video import Mailbox

MAX_AGE_MS = 300.0


def true_map(result: Result) -> bool:
    """Whether the map shows the frames that it says: none older than its age, none newer than its frame."""
    ages = {(result.seq - int(number)) % CLASSES for number in np.flatnonzero(np.bincount(result.labels.ravel()))}
    return max(ages) == result.age_frames % CLASSES


def stop(bundle: Path) -> dict[str, object]:
    """A pipeline of which the newest result is asked for all the time; the parent stops the process meanwhile."""
    counts: Counter[str] = Counter()
    captured: list[int] = []
    over = threading.Event()
    box = Mailbox(name="numbers", fps=50.0)

    def feed() -> None:
        while not over.wait(0.02):
            captured.append(time.monotonic_ns())
            box.put(image_of(len(captured) % CLASSES - 1 if len(captured) % CLASSES else CLASSES - 1, len(captured)),
                    capture_ns=captured[-1])  # fmt: skip

    def ask(pipeline: Pipeline) -> None:
        while not over.is_set():
            before_ns = time.monotonic_ns()
            try:
                result = pipeline.latest(max_age_ms=MAX_AGE_MS)
            except StaleError:
                counts["stale"] += 1
            else:
                oldest_ns = captured[result.seq - result.age_frames]
                counts["told"] += 1
                counts["too old"] += before_ns - oldest_ns > MAX_AGE_MS * 1e6
                counts["wrong age"] += abs((result.capture_ns - oldest_ns) / 1e6 - result.map_age_ms) > 0.001
                counts["wrong map"] += not true_map(result)
            time.sleep(0.001)

    opened = lambda: Segmenter.open(bundle, runtime=RUNTIME, threads=1, policy=Async())  # noqa: E731
    with Pipeline(opened, box, policy=Async(), options=PipelineOptions()) as pipeline:
        threads = [threading.Thread(target=feed), threading.Thread(target=ask, args=(pipeline,))]
        for thread in threads:
            thread.start()
        pipeline.wait(-1, timeout_ms=20_000)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        before = counts["told"]
        pipeline.wait(len(captured), timeout_ms=20_000)
        time.sleep(0.2)
        over.set()
        for thread in threads:
            thread.join()
        health = pipeline.health
        restarts = pipeline._supervisor.restarts
    left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    return {**counts, "after": counts["told"] - before, "restarts": restarts, "threads": left, "health": str(health)}


def answers(segmenter: Segmenter, numbers: range, make: Callable[[int], np.ndarray] = image_of) -> list[str]:
    """What each frame gives: ``right``, ``wrong``, or the name of the error."""
    said = []
    for number in numbers:
        try:
            result = segmenter.push(make(number), capture_ns=33_000_000 * number, seq=number)
        except EdgeVsegError as exc:
            said.append(type(exc).__name__)
        except Exception as exc:
            said.append(f"uncaught {type(exc).__name__}: {exc}")
        else:
            said.append("right" if true_map(result) else "wrong")
        time.sleep(0.005)
    return said


def descriptors(bundle: Path) -> dict[str, object]:
    """Without descriptors: opening is refused by name, frames are answered, and the worker opens its graphs later."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with Segmenter.open(bundle, runtime=RUNTIME, threads=1, policy=Async()) as segmenter:
        taken: list[int] = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        without = answers(segmenter, range(20))
        try:
            Segmenter.open(bundle, runtime=RUNTIME, threads=1)
            opening = "opened"
        except EdgeVsegError as exc:
            opening = type(exc).__name__
        except Exception as exc:
            opening = f"uncaught {type(exc).__name__}: {exc}"
        for each in taken:
            os.close(each)
        time.sleep(0.6)  # the pause after failures
        after = answers(segmenter, range(20, 60))
        last = segmenter.push(image_of(0), capture_ns=33_000_000 * 60, seq=60)
    return {"without": without, "opening": opening, "after": after, "last age": last.age_frames}


def memory(bundle: Path) -> dict[str, object]:
    """Without memory for large frames; small ones are answered before, between and after them."""
    policy: Policy = Fixed(period_frames=3)
    with Segmenter.open(bundle, runtime=RUNTIME, threads=1, policy=policy) as segmenter:
        large = [np.ascontiguousarray(image_of(number, size_hw=(2400, 3200))) for number in (6, 7)]
        before = answers(segmenter, range(6))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        free = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 4_000_000, free[1]))
        without = answers(segmenter, range(6, 8), lambda number: large[number - 6])
        small = answers(segmenter, range(8, 20))
        resource.setrlimit(resource.RLIMIT_AS, free)
        after = answers(segmenter, range(20, 40))
    return {"before": before, "without": without, "small": small, "after": after}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with registered(RUNTIME, NumberedRuntime(), FaultPlan()):
        said = {"stop": stop, "descriptors": descriptors, "memory": memory}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps(said) + "\n")
