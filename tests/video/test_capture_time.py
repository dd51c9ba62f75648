"""When a frame was captured, of stamps by several clocks."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.video.capture_time import ArrivalTimes, StampClock, StreamClock

SECOND = 10**9


def test_clocks_of_stamps() -> None:
    now, wall = 1_000 * SECOND, 1_700_000_000 * SECOND
    clock = StampClock(monotonic=lambda: now, wall=lambda: wall)
    arrived = now
    assert clock.capture_ns(now - SECOND // 50, arrived) == now - SECOND // 50
    assert clock.capture_ns(wall - SECOND // 50, arrived) == now - SECOND // 50
    assert clock.capture_ns(None, arrived) == arrived
    # From the start of the camera, of another machine's clock, long ago: whatever it is, it is not used.
    for stamp in (0, 3 * SECOND, wall + 3600 * SECOND, now - 60 * SECOND):
        assert clock.capture_ns(stamp, arrived) == arrived
    assert clock.capture_ns(now + 1_000_000, arrived) == arrived, "a capture never lies behind the arrival"


class Clocks:
    """A machine whose clocks are set and suspended by hand; seconds."""

    def __init__(self, *, by_driver: bool = True) -> None:
        self.now, self.wall, self.suspended = 1_000.0, 1_700_000_000.0, 0.0
        self.stamps = StampClock(
            monotonic=lambda: round(self.now * SECOND),
            wall=lambda: round((self.wall + self.now) * SECOND),
            boot=lambda: round((self.now + self.suspended) * SECOND),
            by_driver=by_driver,
        )

    def age_s(self, stamp_s: float) -> float:
        """What a frame that arrives now is said to be old."""
        now_ns = round(self.now * SECOND)
        return (now_ns - self.stamps.capture_ns(round(stamp_s * SECOND), now_ns)) / SECOND


@pytest.mark.parametrize("on_wall", [False, True], ids=["monotonic", "wall"])
def test_a_frame_that_waited_for_long_is_as_old_as_it_is(on_wall: bool) -> None:
    machine = Clocks()
    base = machine.wall if on_wall else 0.0
    assert machine.age_s(base + 999.98) == pytest.approx(0.02, abs=1e-6)
    machine.now += 90.0  # the process was stopped; its queue has frames of then and the newest
    for captured in (1_000.1, 1_000.2, 1_080.0, 1_089.9):
        assert machine.age_s(base + captured) == pytest.approx(1_090.0 - captured, abs=1e-6)


def test_frames_wait_for_long_although_one_had_a_wild_stamp() -> None:
    machine = Clocks()
    machine.age_s(999.98)
    for wild in (0.0, 5_000.0, 999.98):
        assert machine.age_s(wild) <= 0.02 + 1e-6
    machine.now += 10.0
    assert machine.age_s(1_001.0) == pytest.approx(9.0)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 30.0, -30.0])
def test_the_wall_clock_is_set_while_frames_wait(step_s: float) -> None:
    machine = Clocks()
    machine.age_s(machine.wall + 999.98)
    before = machine.wall
    machine.wall += step_s
    machine.now += 8.0
    assert machine.age_s(before + 1_001.0) == pytest.approx(7.0, abs=1e-6), "stamped before the step"
    assert machine.age_s(machine.wall + 1_007.9) == pytest.approx(0.1, abs=1e-6), "stamped after it"
    machine.now += 70.0
    assert machine.age_s(machine.wall + 1_010.0) == pytest.approx(68.0, abs=1e-6), "and known from then on"


def ages_after_a_pause(machine: Clocks, pause_s: float, *, arrives_after_s: float = 0.1) -> list[float]:
    """What 60 frames are said to be old: stamps go on where they were, ten for each second."""
    machine.age_s(999.98)
    machine.now += pause_s
    ages = []
    for number in range(1, 61):
        ages.append(machine.age_s(999.98 + 0.1 * number))
        machine.now += arrives_after_s
    return ages


def test_a_sender_that_paused_is_not_late_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    machine = Clocks(by_driver=False)
    ages = ages_after_a_pause(machine, 8.0)
    assert ages[:20] == pytest.approx([7.92] * 20), "it may be a queue"
    assert ages[20:] == [0.0] * 40, "it is none: they count from their arrival"
    machine.now += 1.0
    assert machine.age_s(machine.now - 0.3) == pytest.approx(0.3), "in time again, and known again"
    for pause_s in (7.0, 8.0):
        machine.now += pause_s
        for number in range(30):
            machine.age_s(machine.now - pause_s + 0.1 * number)
    assert caplog.text.count("stay 7.9 s behind") == 1 == caplog.text.count("behind")


def test_a_queue_that_drains_is_no_sender_that_paused() -> None:
    """Four times as fast as a camera fills it, and just so that it is empty at the end."""
    machine = Clocks(by_driver=False)
    ages = ages_after_a_pause(machine, 60.0, arrives_after_s=0.025)
    assert ages == pytest.approx([60.02 - 0.1 - 0.075 * number for number in range(60)], abs=1e-6)


def test_a_sender_whose_clock_is_slower_is_forgotten_once() -> None:
    """Behind by one second in a hundred, and frames come up to 0.2 s late: at the limit it does not come and go."""
    machine, chance, ages = Clocks(by_driver=False), np.random.default_rng(0), []
    for number in range(10_000):
        machine.now = 1_000.0 + 0.1 * number + chance.uniform(0.0, 0.2)
        ages.append(machine.age_s(1_000.0 + 0.099 * number))
    assert set(ages[ages.index(0.0) :]) == {0.0}
    assert 5.0 < max(ages) < 5.5


def test_stamps_of_a_driver_are_never_forgotten() -> None:
    assert ages_after_a_pause(Clocks(), 8.0) == pytest.approx([7.92] * 60)


def test_a_machine_that_was_suspended() -> None:
    since_boot, monotonic = Clocks(), Clocks()
    for machine in (since_boot, monotonic):
        assert machine.age_s(999.98) == pytest.approx(0.02), "the two clocks are one until it is suspended"
        machine.suspended += 600.0
        machine.now += 1.0
    assert monotonic.age_s(1_000.9) == pytest.approx(0.1)
    assert since_boot.age_s(1_600.9) == pytest.approx(0.1)
    for machine, base in ((since_boot, 600.0), (monotonic, 0.0)):
        machine.now += 20.0
        assert machine.age_s(base + 1_002.0) == pytest.approx(19.0)


def test_a_camera_that_changes_its_clock() -> None:
    machine = Clocks()
    machine.age_s(999.98)
    machine.now += 1.0
    assert machine.age_s(machine.wall + 1_000.9) == pytest.approx(0.1, abs=1e-6)
    machine.now += 1.0
    assert machine.age_s(1_001.9) == pytest.approx(0.1, abs=1e-6)
    machine.now += 1.0
    assert machine.age_s(0.5) == 0.0, "since its own start: no clock of this machine"


def test_pictures_have_the_arrival_of_their_own_packet() -> None:
    arrivals = ArrivalTimes(complete_late=False, opened_ns=50)
    began = ArrivalTimes(complete_late=True, opened_ns=50)
    for pts, at in ((0, 100), (3, 200), (1, 300), (2, 400)):
        arrivals.add(pts, at)
        began.add(pts, at)
    assert [arrivals.of(pts) for pts in (0, 1, 2, 3)] == [100, 300, 400, 200]
    assert arrivals.of(None) == 400
    # A packet that is given when the next one begins has begun when the one before it was given.
    assert [began.of(pts) for pts in (0, 1, 2, 3)] == [50, 200, 300, 100]


class TestStreamClock:
    """Stamps and arrivals in ms; every picture is captured 5 ms before it arrives, unless it waits."""

    def captures(self, *pictures: tuple[int, int]) -> list[float]:
        clock = StreamClock()
        return [clock.capture_ns(stamp * 10**6, arrived * 10**6) / 1e6 for stamp, arrived in pictures]

    def test_pictures_that_waited_are_as_old_as_their_stamps_say(self) -> None:
        assert self.captures((0, 1000), (40, 1040), (80, 3080), (120, 3081), (2080, 3082)) == pytest.approx(
            [1000, 1040, 1100.4, 1140.4, 3082], abs=0.1
        )

    def test_a_shorter_delay_is_the_measure_from_then_on(self) -> None:
        assert self.captures((0, 1030), (40, 1040), (80, 1110)) == pytest.approx([1030, 1040, 1080.7], abs=0.1)

    @pytest.mark.parametrize("stamp", [0, -4000, 40], ids=["at the start", "before it", "standing still"])
    def test_stamps_that_go_back_begin_anew(self, stamp: int) -> None:
        assert self.captures((0, 1000), (40, 1040), (stamp, 1080), (stamp + 40, 1130)) == pytest.approx(
            [1000, 1040, 1080, 1120.5], abs=0.1
        )

    def test_stamps_that_jump_ahead_are_followed(self) -> None:
        assert self.captures((0, 1000), (9000, 1040), (9040, 1080)) == [1000, 1040, 1080]

    def test_stamps_that_tell_of_a_minute_are_not_believed(self) -> None:
        assert self.captures((0, 1000), (40, 61_040)) == [1000, 61_040]

    def test_a_camera_that_stamps_slowly_is_not_blamed_for_ever(self) -> None:
        """It lost a second; after 200 seconds nothing is left of it."""
        pictures = [(stamp, stamp + 1000 + (1000 if stamp > 0 else 0)) for stamp in range(0, 200_000, 40)]
        late = [arrived - capture for (_, arrived), capture in zip(pictures, self.captures(*pictures), strict=True)]
        assert late[1] == pytest.approx(1000, abs=20)
        assert late[-1] == 0

    def test_without_stamps_the_arrival_counts(self) -> None:
        assert StreamClock().capture_ns(None, 7) == 7
