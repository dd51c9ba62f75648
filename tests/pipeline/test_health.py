"""Health as a function of what was observed, on a clock that the test moves; and the ages that are allowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.errors import OptionError
from edge_vseg.pipeline.freshness import AgeLimits, PaceMeter, age_ms
from edge_vseg.pipeline.health import HealthLimits, HealthObservation, HealthTrack, RecentFrames, advance
from edge_vseg.scheduling.costs import NetworkPace
from edge_vseg.scheduling.policies import Async, Deadline, EveryFrame, FrameLimits
from edge_vseg.types import Result
from edge_vseg.video import Connection

S = 1_000_000_000
LIMITS = HealthLimits(window_frames=100, min_frames=10, max_missed=0.1, recover_s=2.0)
OPENED = 5 * S


def seen(now_s: float, **fields: object) -> HealthObservation:
    """All is well at a time: a result of 20 ms ago."""
    now_ns = round(now_s * S)
    known = {
        "now_ns": now_ns,
        "opened_ns": OPENED,
        "source": "cam",
        "connection": Connection(state="connected", since_ns=OPENED),
        "age_ms": 20.0,
        "limit_ms": 100.0,
        "expired_ns": now_ns + 0.08 * S,
        "recent": RecentFrames(frames=100),
    }
    return HealthObservation(**(known | fields))  # type: ignore[arg-type]


def none_yet(now_s: float, **fields: object) -> HealthObservation:
    return seen(now_s, **({"age_ms": float("inf"), "expired_ns": None, "recent": RecentFrames()} | fields))


def follow(*observations: HealthObservation, limits: HealthLimits = LIMITS) -> list[HealthTrack]:
    tracks: list[HealthTrack] = []
    for observation in observations:
        tracks.append(advance(tracks[-1] if tracks else None, observation, limits))
    return tracks


def states(tracks: list[HealthTrack]) -> list[str]:
    return [track.health.state for track in tracks]


def test_from_opening_to_the_first_result() -> None:
    tracks = follow(none_yet(5.5), none_yet(6), seen(7), seen(8))
    assert states(tracks) == ["stale", "stale", "ok", "ok"]
    assert tracks[1].health.since_ns == OPENED
    assert tracks[1].health.reason == "no result of cam yet, 1.0 s after opening"
    assert tracks[2].health.since_ns == tracks[3].health.since_ns == 7 * S
    assert tracks[2].health.reason == ""


def test_stale_begins_when_the_result_expires_and_not_when_somebody_looks() -> None:
    old = seen(9, expired_ns=8.1 * S, age_ms=1000.0)
    first, second = follow(seen(8), old)
    assert (first.health.state, second.health.state) == ("ok", "stale")
    assert second.health.since_ns == round(8.1 * S)
    assert second.health.reason == "the newest result of cam is 1000 ms old"


def test_a_recording_read_flat_out_is_stale_once_it_has_ended() -> None:
    never: dict[str, object] = {"limit_ms": float("inf"), "expired_ns": float("inf"), "age_ms": 3000.0}
    tracks = follow(seen(8, **never), seen(9, ended_ns=round(8.5 * S), **never))
    assert states(tracks) == ["ok", "stale"]
    assert tracks[1].health.reason == "cam has ended"
    assert tracks[1].health.since_ns == round(8.5 * S)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ended_ns": 8 * S}, "cam has ended"),
        ({"trouble": "the segmenter is opened again: it died"}, "the segmenter is opened again: it died"),
        (
            {"connection": Connection(state="reconnecting", since_ns=6 * S, reason="no route", reconnects=2)},
            "reconnecting to cam since 3.0 s: no route",
        ),
    ],
    ids=["ended", "trouble", "reconnecting"],
)
def test_why_it_is_stale(fields: dict[str, object], reason: str) -> None:
    (track,) = follow(seen(9, expired_ns=8.0 * S, **fields))
    assert (track.health.state, track.health.reason) == ("stale", reason)


def test_after_staleness_it_is_degraded_until_all_has_been_well_for_a_while() -> None:
    old = seen(9, expired_ns=8.1 * S)
    tracks = follow(seen(8), old, seen(10), seen(11.9), seen(12), seen(13))
    assert states(tracks) == ["ok", "stale", "degraded", "degraded", "ok", "ok"]
    assert tracks[2].health.since_ns == tracks[3].health.since_ns == 10 * S
    assert tracks[3].health.reason == "well again for 1.9 s"
    assert tracks[4].health.since_ns == 12 * S
    again = follow(seen(8), old, seen(10), seen(11), seen(11.5, expired_ns=11.2 * S), seen(12.5), seen(14), seen(14.5))
    assert states(again)[2:] == ["degraded", "degraded", "stale", "degraded", "degraded", "ok"]


def test_missed_deadlines_have_hysteresis() -> None:
    def missing(now_s: float, missed: int) -> HealthObservation:
        return seen(now_s, recent=RecentFrames(frames=100, missed=missed))

    tracks = follow(missing(6, 10), missing(7, 11), missing(8, 6), missing(9, 5), missing(10.9, 5), missing(11, 5))
    assert states(tracks) == ["ok", "degraded", "degraded", "degraded", "degraded", "ok"]
    assert tracks[1].health.reason == "11% of the last 100 frames missed their deadline"
    assert tracks[2].health.reason == "6% of the last 100 frames missed their deadline"
    assert tracks[1].health.missed_share == 0.11
    assert tracks[3].health.since_ns == 7 * S
    up_again = follow(missing(6, 5), missing(7, 6), missing(8, 10))
    assert states(up_again) == ["ok", "ok", "ok"], "from below the whole limit holds"


def test_few_frames_are_not_judged() -> None:
    assert states(follow(seen(6, recent=RecentFrames(frames=9, missed=9)))) == ["ok"]
    assert states(follow(seen(6, recent=RecentFrames(frames=10, missed=2)))) == ["degraded"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"recent": RecentFrames(frames=100, failed=3)}, "3% of the last 100 frames could not be segmented"),
        ({"recent": RecentFrames(frames=100, coarse=51)}, "51% of the last 100 frames had time for coarse motion only"),
        ({"throttled": ("core too hot",)}, "the machine slows down: core too hot"),
    ],
    ids=["failed", "coarse", "throttled"],
)
def test_what_degrades(fields: dict[str, object], reason: str) -> None:
    (track,) = follow(seen(6, **fields))
    assert (track.health.state, track.health.reason) == ("degraded", reason)


def test_failed_is_for_ever_and_comes_first() -> None:
    gone = {"failure": "it died too often", "failed_ns": 8 * S}
    tracks = follow(seen(7), seen(9, **gone), none_yet(10, **gone), seen(20, **gone))
    assert states(tracks) == ["ok", "failed", "failed", "failed"]
    assert {track.health.since_ns for track in tracks[1:]} == {8 * S}
    assert tracks[-1].health.reason == "it died too often"


@given(st.lists(st.tuples(st.sampled_from(["well", "old", "none", "missed", "hot"]), st.floats(0.01, 3)), max_size=30))
def test_a_state_has_a_reason_and_a_beginning(script: list[tuple[str, float]]) -> None:
    now_s, before = 6.0, None
    for what, gap_s in script:
        now_s += gap_s
        fields: dict[str, object] = {
            "well": {},
            "old": {"expired_ns": (now_s - 0.005) * S},
            "none": {"expired_ns": None, "age_ms": float("inf")},
            "missed": {"recent": RecentFrames(frames=50, missed=25)},
            "hot": {"throttled": ("hot",)},
        }[what]
        after = advance(before, seen(now_s, **fields), LIMITS)
        assert bool(after.health.reason) == (after.health.state != "ok")
        assert after.health.since_ns <= round(now_s * S)
        if before is not None and before.health.state == after.health.state:
            assert after.health.since_ns == before.health.since_ns
        assert (after.health.state == "stale") == (what in ("old", "none"))
        if what in ("missed", "hot"):
            assert after.health.state == "degraded"
        before = after


@pytest.mark.parametrize(
    "wrong",
    [{"min_frames": 0}, {"min_frames": 101}, {"max_missed": 1.5}, {"max_coarse": -1}, {"recover_s": -1}],
    ids=str,
)
def test_impossible_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        HealthLimits(**wrong)  # type: ignore[arg-type]


def result(seq: int, capture_ms: float, total_ms: float = 5.0, **fields: object) -> Result:
    capture_ns = round(capture_ms * 1e6)
    given_fields = {"done_ns": capture_ns, "latency_ms": {"total": total_ms}} | fields
    return Result(labels=np.zeros((2, 2), np.uint8), seq=seq, capture_ns=capture_ns, **given_fields)  # type: ignore


def test_age_is_that_of_what_the_labels_show() -> None:
    fresh, carried = result(0, 1000), result(0, 1000, map_age_ms=250.0)
    now_ns = 1_030_000_000
    assert age_ms(fresh, now_ns) == 30
    assert age_ms(carried, now_ns) == 280
    assert age_ms(replace(carried, still=True), now_ns) == 30
    limits = AgeLimits(frame_ms=100, map_ms=300)
    assert limits.expired_ns(fresh) == 1_100_000_000
    assert limits.expired_ns(carried) == 1_050_000_000
    assert AgeLimits.both(200).expired_ns(carried) == 950_000_000


def takes(network_ms: float, **more: object) -> NetworkPace:
    return NetworkPace(duration_ms=network_ms, **more)  # type: ignore[arg-type]


def paced(
    fps: float | None, policy: object = None, *, total_ms: float = 5.0, network_ms: float = 5.0, wait_ms: float = 0.0
):
    meter = PaceMeter(fps, policy)  # type: ignore[arg-type]
    for seq in range(20):
        meter.add(result(seq, 40.0 * seq, total_ms), takes(network_ms, wait_ms=wait_ms))
    return meter


def test_three_periods_are_the_default() -> None:
    assert PaceMeter(15, None).limits == AgeLimits.both(200)
    assert PaceMeter(None, None).limits == AgeLimits.both(100), "as if it were 30 fps"
    assert paced(None).limits == AgeLimits.both(120), "measured"
    assert paced(15, EveryFrame()).limits == AgeLimits.both(200)
    assert paced(15, total_ms=150.0).limits == AgeLimits.both(450), "of the segmenter, which is slower"


def test_a_camera_that_is_slower_than_it_tells_is_measured() -> None:
    """V4L2 tells 30 fps, and gives 7.5 in the dark."""
    meter = PaceMeter(30, None)
    limits, capture_ms = [], 0.0
    for seq in range(61):
        meter.add(result(seq, capture_ms), takes(5.0))
        limits.append(meter.limits.frame_ms)
        capture_ms += 133.0 if seq < 30 else 25.0
    assert limits[4] == pytest.approx(100), "four periods are too few to judge by"
    assert limits[5] == pytest.approx(3 * 133)
    assert limits[30] == pytest.approx(3 * 133)
    assert limits[60] == pytest.approx(100), "by day it is as told, and never less"


def test_one_frame_that_comes_late_does_not_lengthen_the_period() -> None:
    meter = PaceMeter(30, None)
    for seq, late_ms in enumerate([0.0, 0.0, 0.0, 0.0, 60_000.0, 60_000.0, 60_000.0, 60_000.0]):
        meter.add(result(seq, seq * 1000 / 30 + late_ms), takes(5.0))
    assert meter.limits.frame_ms == pytest.approx(100)


def test_dropped_frames_do_not_lengthen_the_period() -> None:
    meter = PaceMeter(None, None)
    for seq in (0, 3, 4, 9):
        meter.add(result(seq, 40.0 * seq), takes(5.0))
    assert meter.period_ms == pytest.approx(40)
    meter.add(result(2, 100.0), takes(5.0))  # another video: no period
    assert meter.period_ms == pytest.approx(40)


def test_policies_that_carry_maps_may_show_older_labels() -> None:
    quick = paced(20, Deadline(milliseconds=10, max_age_frames=6)).limits
    assert (quick.frame_ms, quick.map_ms) == (150, 150 + 6 * 50)
    slow = paced(20, Deadline(milliseconds=10, max_age_frames=6), network_ms=200.0).limits
    assert (slow.frame_ms, slow.map_ms) == (150, 150 + 3 * 200)
    strict = paced(20, Deadline(milliseconds=10, max_age_ms=250.0)).limits
    assert (strict.frame_ms, strict.map_ms) == (150, 150 + 250)
    other = paced(20, Async(lag_frames=2)).limits
    assert other.map_ms == 150 + FrameLimits().oldest_ms(5.0)


def test_a_machine_that_slows_down_later_does_not_make_older_results_fresh() -> None:
    meter = paced(30, total_ms=10.0)
    before = meter.limits
    for seq in range(20, 200):
        meter.add(result(seq, 40.0 * seq, 500.0), takes(500.0))
    assert meter.limits == before


def test_what_the_network_has_to_wait_for_makes_labels_older() -> None:
    policy = Deadline(milliseconds=10, max_age_frames=6)
    rests = paced(20, policy, network_ms=200.0, wait_ms=400.0).limits
    assert (rests.frame_ms, rests.map_ms) == (150, 150 + 3 * 200 + 400)
    quick = paced(20, policy, wait_ms=400.0).limits
    assert quick.map_ms == 150 + 6 * 50 + 400
    assert paced(20, policy, wait_ms=60_000.0).limits.map_ms == 150 + FrameLimits().oldest_ms(5.0), (
        "then it is forgotten"
    )
    strict = Deadline(milliseconds=10, max_age_ms=250.0)
    assert paced(20, strict, wait_ms=400.0).limits.map_ms == 150 + 250
    assert paced(20, EveryFrame(), wait_ms=400.0).limits == AgeLimits.both(150)


def test_the_first_map_in_the_background_is_learned_from_whenever_it_comes() -> None:
    meter = paced(20, Deadline(milliseconds=10, max_age_frames=6))
    limits = [meter.limits.map_ms]
    for seq, pace in enumerate((takes(900.0), takes(200.0, measured=True), takes(900.0, measured=True)), 20):
        meter.add(result(seq, 40.0 * seq), pace)
        limits.append(meter.limits.map_ms)
    assert limits == [150 + 300, 150 + 300, 150 + 600, 150 + 600], "and what comes later is no measure"
