"""Statistics of ``edge-vseg run``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.cli import console
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Result

_MAX_SAMPLES = 30 * 3600 * 24
"""Latencies kept per step: a day at 30 frames per second. Then the oldest are replaced."""


class RunStats:
    """Latencies by step, label sources and class shares.

    Args:
        segmenter: The segmenter in use.
        bundle: Path of the bundle.
        source: Name of the source.
        deadline_ms: Deadline that misses are counted against; ``None`` counts none.
    """

    def __init__(self, segmenter: Segmenter, bundle: str, source: str, deadline_ms: float | None = None) -> None:
        self.frames = 0
        self.complete = False
        self.damaged: str | None = None
        self._segmenter = segmenter
        self._bundle = bundle
        self._source = source
        self._provider = segmenter.provider
        self._samples: dict[str, list[float]] = {}
        self._pixels = np.zeros(256, np.int64)
        self._skipped = 0
        self._deadline_ms = deadline_ms
        self._missed = 0
        self._oldest = 0
        self._sources: Counter[str] = Counter()
        self._last_seq: int | None = None

    def add(self, result: Result) -> None:
        """Add one result."""
        self.frames += 1
        if self._last_seq is not None:
            self._skipped += max(0, result.seq - self._last_seq - 1)
        self._last_seq = result.seq
        self._pixels += np.bincount(result.labels.reshape(-1), minlength=256)
        self._sources[result.source] += 1
        self._oldest = max(self._oldest, result.age_frames)
        if self._deadline_ms is not None and self.frames > 1:
            self._missed += result.latency_ms["total"] > self._deadline_ms
        for step, latency in result.latency_ms.items():
            samples = self._samples.setdefault(step, [])
            if len(samples) >= _MAX_SAMPLES:
                samples[self.frames % _MAX_SAMPLES] = latency
            else:
                samples.append(latency)

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
            "sources": dict(self._sources),
            "oldest_frames": self._oldest,
            "deadline_ms": self._deadline_ms,
            "frames_over_deadline": self._missed if self._deadline_ms is not None else None,
            "complete": self.complete,
            "damaged": self.damaged,
            "latency_ms": {step: asdict(LatencySummary.of(samples)) for step, samples in self._samples.items()},
            "class_share": {label.name: int(self._pixels[label.id]) / total for label in labels},
        }

    def show(self) -> None:
        """Print the statistics as text."""
        table = Table("ms", "median", "p95", "p99", "max", box=None, header_style="bold")
        for step, samples in self._samples.items():
            row = LatencySummary.of(samples)
            table.add_row(step, *(f"{value:.2f}" for value in (row.p50, row.p95, row.p99, row.max)))
        ending = "" if self.complete else ", stopped before the end"
        console.out.print(f"{self.frames} frames with {self._segmenter.variant.id}{ending}", highlight=False)
        console.out.print(table)
        if set(self._sources) - {"inferred"}:
            shares = ", ".join(f"{name} {count}" for name, count in self._sources.most_common())
            console.out.print(f"{shares}; oldest label map {self._oldest} frames", highlight=False)
        if self._deadline_ms is not None:
            console.out.print(f"{self._missed} of {self.frames} frames over {self._deadline_ms:g} ms", highlight=False)
        if self.damaged:
            console.out.print(f"[yellow]{escape(self.damaged)}[/]")
