"""Profile a bundle on a video for minutes or days: latency, deadline misses, memory, heat and power."""

from __future__ import annotations

from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, read_latency_profile
from edge_vseg.analysis.profiling.profiler import ProfileOptions, ProfileRun, profile_video

__all__ = ["LatencyProfile", "ProfileOptions", "ProfileRun", "profile_video", "read_latency_profile"]
