"""Statistics of ``edge-vseg run``."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.percentiles import PercentileSketch
from edge_vseg.bundle.labels import distinct_names
from edge_vseg.cli import console
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Result
from edge_vseg.video import FrameCounts, Source


class RunStats:
    """Latencies by step, CPU use, label sources and class shares, in constant memory.

    Args:
        segmenter: The segmenter in use.
        bundle: Path of the bundle.
        source: Name of the source.
        threads: Threads of the segmenter's session; ``None`` means one per core.
        deadline_ms: Deadline that misses are counted against; ``None`` counts none.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        bundle: str,
        source: str,
        *,
        threads: int | None = None,
        deadline_ms: float | None = None,
    ) -> None:
        self.frames = 0
        self.stopped: str | None = None
        self.damaged: str | None = None
        self._segmenter = segmenter
        self._bundle = bundle
        self._source = source
        self._provider = segmenter.provider
        self._steps: dict[str, PercentileSketch] = {}
        cores = usable_cores()
        self._cpu = CpuMeter(cores, min(threads or cores, cores), time.process_time)
        self._pixels = np.zeros(256, np.int64)
        self._gaps = 0
        self._counts: FrameCounts | None = None
        self._reconnects = 0
        self._deadline_ms = deadline_ms
        self._missed = 0
        self._oldest = 0
        self._sources: Counter[str] = Counter()
        self._last_seq: int | None = None

    def add(self, result: Result) -> None:
        """Add one result."""
        self.frames += 1
        if self._last_seq is not None:
            self._gaps += max(0, result.seq - self._last_seq - 1)
        self._last_seq = result.seq
        self._pixels += np.bincount(result.labels.reshape(-1), minlength=256)
        self._sources[result.source] += 1
        self._oldest = max(self._oldest, result.age_frames)
        if self._deadline_ms is not None and self.frames > 1:
            self._missed += result.latency_ms["total"] > self._deadline_ms
        for step, milliseconds in result.latency_ms.items():
            if step not in self._steps:
                self._steps[step] = PercentileSketch()
            self._steps[step].add(milliseconds)
        if self.frames == 1:
            self._cpu.begin(time.monotonic_ns())
        else:
            self._cpu.add(result)

    def end(self, source: Source) -> None:
        """No more results come; the source tells what it captured."""
        self._cpu.end(time.monotonic_ns())
        if source.is_live:
            self._counts = source.counts
            self._reconnects = source.connection.reconnects

    @property
    def _skipped(self) -> int:
        # Of a live source, what its buffer dropped; of a file, what could not be decoded.
        return self._gaps if self._counts is None else self._counts.dropped

    def _pace_advice(self) -> str:
        """What to do where maps are old because frames came faster than a camera's; empty where they are not."""
        longest = getattr(self._segmenter.policy, "max_age_frames", None)
        if self._counts is not None or self._deadline_ms is None or longest is None or self._oldest <= longest:
            return ""
        pace = f"'file:{self._source}?live' plays it" if Path(self._source).is_file() else "evaluate plays it"
        return (
            "it was read as fast as it can be, which left the network less time between frames than a camera does, so"
            f" maps are older; {pace} at its own pace"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        chosen = self._segmenter.chosen
        total = max(int(self._pixels.sum()), 1)
        labels = self._segmenter.bundle.manifest.labels
        return {
            "bundle": self._bundle,
            "bundle_sha256": self._segmenter.bundle.sha256,
            "source": self._source,
            "variant": self._segmenter.variant.id,
            "provider": self._provider,
            "chosen": chosen.summary if chosen else None,
            "frames": self.frames,
            "frames_skipped_by_source": self._skipped,
            "frames_captured": self._counts.captured if self._counts is not None else None,
            "reconnects": self._reconnects,
            "sources": dict(self._sources),
            "oldest_frames": self._oldest,
            "deadline_ms": self._deadline_ms,
            "frames_over_deadline": self._missed if self._deadline_ms is not None else None,
            "complete": self.stopped is None,
            "stopped": self.stopped,
            "damaged": self.damaged,
            "cpu_share": self._cpu.share,
            "process_cpu_share": self._cpu.process_share,
            "latency_ms": {step: msgspec.to_builtins(found.percentiles()) for step, found in self._steps.items()},
            "class_share": {
                name: int(self._pixels[label.id]) / total
                for name, label in zip(distinct_names(labels), labels, strict=True)
            },
        }

    def show(self) -> None:
        """Print the statistics as text."""
        table = Table("ms", "median", "p95", "p99", "max", box=None, header_style="bold")
        for step, found in self._steps.items():
            table.add_row(escape(step), *(f"{found.quantile(share):.2f}" for share in (0.5, 0.95, 0.99, 1.0)))
        ending = "" if self.stopped is None else f", stopped before the end: {self.stopped}"
        console.out.print(
            f"{self.frames} frames with {self._segmenter.variant.id}{ending}", highlight=False, markup=False
        )
        console.out.print(table)
        if set(self._sources) - {"inferred"}:
            shares = ", ".join(f"{name} {count}" for name, count in self._sources.most_common())
            console.out.print(f"{shares}; oldest label map {self._oldest} frames", highlight=False)
            if advice := self._pace_advice():
                console.out.print(advice, style="yellow", highlight=False, markup=False)
        if self._deadline_ms is not None:
            counted = max(0, self.frames - 1)  # the first is start-up
            console.out.print(f"{self._missed} of {counted} frames over {self._deadline_ms:g} ms", highlight=False)
        if self._counts is not None:
            again = f"; reconnected {self._reconnects} times" if self._reconnects else ""
            console.out.print(
                f"{self._skipped} of {self._counts.captured} captured frames skipped{again}", highlight=False
            )
        if self._cpu.process_share is not None:
            console.out.print(f"{self._cpu.process_share:.0%} of the CPU", highlight=False)
        if self.damaged:
            console.out.print(f"[yellow]{escape(self.damaged)}[/]")
