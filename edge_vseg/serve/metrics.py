"""Metrics for Prometheus, collected when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge_vseg.pipeline.health import HealthState
from edge_vseg.serve.live import LivePipeline
from edge_vseg.serve.machine_meter import MachineMeter
from edge_vseg.serve.recorder import BUCKETS_MS, Histogram


class LiveCollector(Collector):
    """What the pipelines have counted so far, each under the name of its camera.

    Args:
        cameras: The pipelines by name.
        machine: The machine.
        viewers: Number of pages that are open.
    """

    def __init__(self, cameras: Mapping[str, LivePipeline], machine: MachineMeter, viewers: Callable[[], int]) -> None:
        self._cameras = cameras
        self._machine = machine
        self._viewers = viewers

    def describe(self) -> list[Metric]:
        """Nothing in advance: a registry would collect everything once to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        families = _camera_families()
        for camera, live in self._cameras.items():
            _add_frames(families, camera, live)
            _add_latencies(families, camera, live)
            _add_health(families, camera, live)
        yield from families.values()
        machine = self._machine.read()
        yield _gauge("process_cpu_share", "Share of the usable cores that the process uses, 0 to 1.", machine.cpu_share)
        temperatures = GaugeMetricFamily(
            "edge_vseg_temperature_celsius", "Temperature of the machine.", labels=["sensor"]
        )
        for sensor, degrees in machine.temperature_c.items():
            temperatures.add_metric([sensor], degrees)
        yield temperatures
        yield _gauge("viewers", "Pages that are open.", self._viewers())


def _camera_families() -> dict[str, Metric]:
    """A family for each metric that every camera has, by its name without the prefix."""
    counters = {
        "deadline_missed": "Frames that took longer than their deadline.",
        "background_busy_seconds": "Time that the background lane has worked.",
        "worker_restarts": "Restarts of the segmenter.",
        "source_reconnects": "How often the source came back.",
    }
    gauges = {
        "frames_in_flight": "Frames in the source's buffer or in the segmenter.",
        "health_state_seconds": "Time in that state of health.",
        "labels_age_seconds": "Time since the capture of what the newest labels show.",
    }
    families: dict[str, Metric] = {
        "frames": CounterMetricFamily(
            "edge_vseg_frames",
            "Frames by fate; captured is the sum of the others and of those in flight.",
            labels=["camera", "fate"],
        ),
        "pipeline": InfoMetricFamily("edge_vseg_pipeline", "What runs.", labels=["camera"]),
        "latency_seconds": HistogramMetricFamily(
            "edge_vseg_latency_seconds",
            "Time by step of a frame; 'total' is from its turn to its labels.",
            labels=["camera", "step"],
        ),
        "health": GaugeMetricFamily("edge_vseg_health", "1 for the state that it is in.", labels=["camera", "state"]),
    }
    for name, text in counters.items():
        families[name] = CounterMetricFamily(f"edge_vseg_{name}", text, labels=["camera"])
    for name, text in gauges.items():
        families[name] = GaugeMetricFamily(f"edge_vseg_{name}", text, labels=["camera"])
    return families


def _add_frames(families: Mapping[str, Any], camera: str, live: LivePipeline) -> None:
    counts = live.counts
    for fate in ("captured", "delivered", "dropped", "failed"):
        families["frames"].add_metric([camera, fate], getattr(counts, fate))
    families["frames_in_flight"].add_metric([camera], counts.in_flight)
    families["deadline_missed"].add_metric([camera], live.recorder.missed)
    families["background_busy_seconds"].add_metric([camera], live.recorder.background_ns / 1e9)
    info = {
        "bundle": live.bundle_name,
        "variant": live.variant,
        "provider": live.provider,
        "policy": live.policy.name if live.policy is not None else "every-frame",
    }
    families["pipeline"].add_metric([camera], info)


def _add_latencies(families: Mapping[str, Any], camera: str, live: LivePipeline) -> None:
    for step, histogram in list(live.recorder.histograms.items()):
        families["latency_seconds"].add_metric(
            [camera, step], buckets=_buckets(histogram), sum_value=histogram.sum_ms / 1e3
        )


def _add_health(families: Mapping[str, Any], camera: str, live: LivePipeline) -> None:
    health = live.health
    for state in get_args(HealthState):
        families["health"].add_metric([camera, state], float(state == health.state))
    since_s = max(0.0, (time.monotonic_ns() - health.since_ns) / 1e9)
    families["health_state_seconds"].add_metric([camera], since_s)
    families["labels_age_seconds"].add_metric([camera], health.age_ms / 1e3)
    families["worker_restarts"].add_metric([camera], health.restarts)
    families["source_reconnects"].add_metric([camera], health.reconnects)


def make_registry(
    cameras: Mapping[str, LivePipeline], machine: MachineMeter, viewers: Callable[[], int]
) -> CollectorRegistry:
    """A registry of its own, so that a process with other metrics, or another server, keeps them apart."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LiveCollector(cameras, machine, viewers))
    return registry


def render_metrics(registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus's text format."""
    return generate_latest(registry)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [repr(bound / 1e3) for bound in BUCKETS_MS] + ["+Inf"]
    return list(zip(bounds, accumulate(map(float, histogram.counts)), strict=True))


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_vseg_{name}", help_text, value=value)
