"""What ``edge-vseg run`` counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from edge_vseg.cli import console
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Result

# A day of video at 30 fps; older samples make room, so memory does not grow without end.
_MAX_SAMPLES = 30 * 3600 * 24


class RunStats:
    """Latencies by step, and what ran."""

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
        """Count one result."""
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
        """Plain values, ready for JSON; latencies in milliseconds."""
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
            "latency_ms": {step: _summary(samples) for step, samples in self._samples.items()},
            "class_share": {label.name: int(self._pixels[label.id]) / total for label in labels},
        }

    def show(self) -> None:
        """Print a table for people."""
        table = Table("ms", "median", "p95", "p99", "max", box=None, header_style="bold")
        for step, samples in self._samples.items():
            row = _summary(samples)
            table.add_row(step, *(f"{row[name]:.2f}" for name in ("p50", "p95", "p99", "max")))
        ending = "" if self.complete else ", stopped before the end"
        console.out.print(f"{self.frames} frames with {self._segmenter.variant.id}{ending}", highlight=False)
        console.out.print(table)
        if set(self._sources) - {"inferred"}:
            shares = ", ".join(f"{name} {count}" for name, count in self._sources.most_common())
            console.out.print(f"{shares}; oldest map {self._oldest} frames", highlight=False)
        if self._deadline_ms is not None:
            console.out.print(f"{self._missed} of {self.frames} frames over {self._deadline_ms:g} ms", highlight=False)
        if self.damaged:
            console.out.print(f"[yellow]{escape(self.damaged)}[/]")


def _summary(samples: list[float]) -> dict[str, float]:
    p50, p95, p99, largest = (float(v) for v in np.percentile(samples, [50, 95, 99, 100]))
    return {"mean": float(np.mean(samples)), "p50": p50, "p95": p95, "p99": p99, "max": largest}
