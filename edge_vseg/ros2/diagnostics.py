"""The node's health, for ``/diagnostics``: what happened since the last report, and a level for it."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_vseg.messages import definitions as ros
from edge_vseg.pipeline.health import Health
from edge_vseg.types import Result
from edge_vseg.video import Connection

OK, WARN, ERROR, STALE = range(4)
"""Levels of :class:`~edge_vseg.messages.definitions.DiagnosticStatus`."""

STALE_AFTER_S = 1.0
_NOTHING: Mapping[str, str] = {}
MISSED_SHARE = 0.1
"""Share of frames over their deadline from which it is a warning."""


@dataclass(slots=True, kw_only=True)
class _Window:
    """What happened since the last report."""

    latencies_ms: list[float] = field(default_factory=list)
    oldest_map_ms: float = 0.0
    missed: int = 0
    failed: int = 0
    failure: str = ""


def judge_health(health: Health, connection: Connection) -> tuple[int, str]:
    """The level of a pipeline's health, and the reason; empty if it is well.

    Stale is the camera's fault, and an error the segmenter's; before the first label map it is stale, too.
    """
    match health.state:
        case "ok":
            level = OK
        case "degraded":
            level = WARN
        case "stale" if connection.state != "connected" or health.age_ms == float("inf"):
            level = STALE
        case _:
            level = ERROR
    return level, health.reason


class HealthReport:
    """Collects results and failures, and reports them; from any thread.

    Args:
        name: Name of the node.
        camera: Name of the camera's topic.
        facts: What does not change, such as the bundle.
        now_ns: ``time.monotonic_ns()``.
    """

    def __init__(self, name: str, camera: str, facts: Mapping[str, str], now_ns: int) -> None:
        self._name = name
        self._camera = camera
        self._facts = dict(facts)
        self._last_image_ns = now_ns
        self._images = 0
        self._results = 0
        self._failed = 0
        self._window = _Window()
        self._lock = threading.Lock()

    def add(self, result: Result) -> None:
        """A frame was segmented."""
        with self._lock:
            self._results += 1
            self._window.latencies_ms.append(result.latency_ms.get("total", 0.0))
            self._window.oldest_map_ms = max(self._window.oldest_map_ms, result.map_age_ms)
            self._window.missed += result.deadline_missed

    def arrived(self, now_ns: int) -> None:
        """A camera image came, whether or not it can be segmented; needless if the health is judged elsewhere."""
        with self._lock:
            self._images += 1
            self._last_image_ns = now_ns

    def fail(self, reason: str, count: int = 1) -> None:
        """Images were not segmented, or a message not published."""
        with self._lock:
            self._failed += count
            self._window.failed += count
            self._window.failure = reason

    def report(
        self,
        now_ns: int,
        *,
        received: int,
        dropped: int,
        judged: tuple[int, str] | None = None,
        more: Mapping[str, str] = _NOTHING,
    ) -> ros.DiagnosticStatus:
        """How the node is; begins a new window.

        Args:
            now_ns: ``time.monotonic_ns()``.
            received: Images that came.
            dropped: Images that a newer one replaced, or that could not be decoded.
            judged: Level and reason of :func:`judge_health`; ``None`` judges by what this report collected.
            more: Figures of the caller.
        """
        with self._lock:
            window, self._window = self._window, _Window()
            level, message = self._judge(window, now_ns, judged)
        latencies = window.latencies_ms
        figures = {
            **self._facts,
            "images received": str(received),
            "images dropped": str(dropped),
            "label maps": str(self._results),
            "failures": str(self._failed),
            "deadlines missed": str(window.missed),
            "latency median ms": f"{statistics.median(latencies):.2f}" if latencies else "",
            "latency max ms": f"{max(latencies):.2f}" if latencies else "",
            "oldest map ms": f"{window.oldest_map_ms:.1f}" if latencies else "",
            **more,
        }
        return ros.DiagnosticStatus(
            level=level,
            name=f"{self._name}: segmentation",
            message=message,
            hardware_id=self._camera,
            values=tuple(ros.KeyValue(key=key, value=value) for key, value in figures.items()),
        )

    def _judge(self, window: _Window, now_ns: int, judged: tuple[int, str] | None) -> tuple[int, str]:
        if judged is not None and judged[0] == ERROR:
            return judged
        if window.failed:
            return ERROR, f"{window.failed} failures, the last one: {window.failure}"
        frames = len(window.latencies_ms)
        if judged is not None:
            return judged[0], judged[1] or f"{frames} frames"
        silent_s = (now_ns - self._last_image_ns) / 1e9
        if silent_s > STALE_AFTER_S:
            since = f"for {silent_s:.1f} s" if self._images else "yet"
            return STALE, f"no image on {self._camera} {since}"
        if frames and window.missed > MISSED_SHARE * frames:
            return WARN, f"{window.missed} of {frames} frames over their deadline"
        return OK, f"{frames} frames"
