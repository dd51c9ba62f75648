"""A segmenter that takes as long as it is told, on a clock of its own, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_vseg.types import Frame, Image, LabelMap, Result

RATE = 25.0
PERIOD_MS = 40.0


@dataclass
class FakeTime:
    now_ns: int = 5_000_000

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += round(seconds * 1e9)


@dataclass
class SlowSegmenter:
    """Answers frame k with ``maps[k]`` after ``times_ms[k]``."""

    time: FakeTime
    times_ms: Sequence[float]
    maps: Sequence[LabelMap]
    age_ms: float = 0.0
    seen: list[Frame] = field(default_factory=list)

    def __call__(self, frame: Frame) -> Result:
        self.seen.append(frame)
        self.time.now_ns += round(self.times_ms[frame.seq] * 1e6)
        return Result(
            labels=self.maps[frame.seq],
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            done_ns=self.time.now_ns,
            map_age_ms=self.age_ms,
            source="propagated" if self.age_ms else "inferred",
        )


def blank(count: int, size_hw: tuple[int, int] = (4, 6)) -> list[Image]:
    return [np.full((*size_hw, 3), number, np.uint8) for number in range(count)]


def random_maps(count: int, seed: int, size_hw: tuple[int, int] = (4, 6), classes: int = 3) -> list[LabelMap]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, classes, size_hw).astype(np.uint8) for _ in range(count)]
