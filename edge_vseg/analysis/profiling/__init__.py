"""Profile a bundle on a video for minutes or days: how fast, how steady, and what it does to the machine."""

from __future__ import annotations

from edge_vseg.analysis.profiling.profile import Profile, read_profile
from edge_vseg.analysis.profiling.profiler import ProfileOptions, ProfileRun, profile_video

__all__ = ["Profile", "ProfileOptions", "ProfileRun", "profile_video", "read_profile"]
