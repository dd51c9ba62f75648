"""No result goes stale by the default limits because of waits that the schedule itself makes; on a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from numbered_network import CLASSES, Network, image_of, make_profile, open_numbered

from edge_vseg import OpenOptions
from edge_vseg.decision import Collect
from edge_vseg.pipeline.freshness import AgeLimits
from edge_vseg.pipeline.health import HealthLimits
from edge_vseg.pipeline.monitor import PipelineMonitor
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.scheduling.replay import VirtualClock

FPS = 30.0
PERIOD_NS = round(1e9 / FPS)
LEARNED = 30
"""Frames after which the limits are known."""


@dataclass(frozen=True, kw_only=True)
class Played:
    stale: list[int]
    over_budget: list[int]
    collected: list[int]
    ages: list[int]
    limits: AgeLimits


def play(policy: Deadline, profile: DeviceProfile, count: int, *, pause_ms: float = 0.0) -> Played:
    """Frames of a camera, the second after a pause; a result is stale if it is too old before the next one is there."""
    clock, last = VirtualClock(), None
    monitor = PipelineMonitor(FPS, policy, HealthLimits(), None)
    stale, over_budget, collected, ages = [], [], [], []
    with open_numbered(Network(), policy, OpenOptions(replay=profile, clock=clock)) as segmenter:
        for number in range(count):
            capture_ns = number * PERIOD_NS + (round(pause_ms * 1e6) if number else 0)
            clock.advance_to(capture_ns)
            result = segmenter.push(image_of(number % CLASSES, 2 * number), capture_ns=capture_ns, seq=number)
            if last is not None and monitor.age_limits.expired_ns(last) < clock.now:
                stale.append(number)
            if result.over_budget:
                over_budget.append(number)
            if any(isinstance(action, Collect) for action in result.decision.actions):
                collected.append(number)
            ages.append(result.age_frames)
            monitor.add(result, segmenter)
            last = result
    return Played(stale=stale, over_budget=over_budget, collected=collected, ages=ages, limits=monitor.age_limits)


@pytest.mark.parametrize(("network_ms", "share"), [(120.0, 0.25), (200.0, 0.4), (300.0, 0.5), (120.0, 1.0)])
def test_a_background_that_rests_makes_nothing_stale(network_ms: float, share: float) -> None:
    board = replace(make_profile(network_ms), machine="board-4-00000000", threads=4)
    played = play(Deadline(milliseconds=15.0, cpu_share=share), board, 200)
    late = [number for number in played.stale if number > LEARNED]
    assert late == []
    assert len(played.collected) > 3
    assert played.limits.map_ms <= played.limits.frame_ms + 2000, "no older than the engine lets maps become"
    if share == 0.25:
        assert max(played.ages) > 15, "else nothing rests here, and the test tests nothing"


def test_a_tighter_limit_of_the_policy_holds_where_it_rests() -> None:
    board = replace(make_profile(120.0), machine="board-4-00000000", threads=4)
    played = play(Deadline(milliseconds=15.0, cpu_share=0.25, max_age_ms=450.0), board, 60)
    assert played.limits.map_ms == played.limits.frame_ms + 450


def test_a_device_far_slower_than_where_the_bundle_was_exported() -> None:
    """Its network has a context, so it is never run whole in the frame, and takes 30 periods: its slices tell."""
    network_ms, exported = 1000.0, Cost(runs=9, p50=40.0, p90=40.0, p99=40.0)
    device = make_profile(network_ms, beside=False)
    device = replace(device, costs=device.costs | {"infer": exported, "background": exported})
    begin = play(Deadline(milliseconds=15.0), device, 25, pause_ms=1500.0)
    assert (begin.collected, begin.limits.map_ms >= 3 * network_ms) == ([], True), "known before the first map is done"
    played = play(Deadline(milliseconds=15.0), device, 300, pause_ms=1500.0)
    assert len(played.collected) > 3
    assert played.over_budget == [0], "no map is forgotten before the next one is done"
    assert [number for number in played.stale if number > 60] == []
    assert played.limits.map_ms >= 3 * network_ms
