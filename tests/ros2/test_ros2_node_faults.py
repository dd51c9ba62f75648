"""What goes wrong around the node, and how it is told: diagnostics, failures that do not end it, and those that do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from node_messages import PICTURE, eventually, message_of, segment_one, values_of
from reference_bundle import SIZE_HW
from running_node import LocalTransport, Running

from edge_vseg.errors import PipelineFailedError, TransportError
from edge_vseg.pipeline import Health
from edge_vseg.ros2.diagnostics import ERROR, OK, STALE, WARN, HealthReport, judge_health
from edge_vseg.ros2.ground_grid import GroundOptions
from edge_vseg.types import Frame, Result
from edge_vseg.video import Connection

Start = Callable[..., Running]


def test_diagnostics_go_on_while_the_segmenter_hangs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image hangs for as long as the test wants, in the pipeline's worker."""
    monkeypatch.setattr("edge_vseg.ros2.node.REPORT_S", 0.05)
    transport, gate = LocalTransport(), threading.Event()
    hanging, hangs = threading.Event(), threading.Event()

    def hang(frame: Frame) -> None:
        if hanging.is_set() and not hangs.is_set():
            hangs.set()
            assert gate.wait(60)

    running = start(transport, before=hang, pipeline={"max_age_ms": 100.0, "hang_s": 2.0, "max_restarts": 50})
    published = transport.published["/edge_vseg/labels"]

    def send_until_published(sec: int) -> None:
        """A camera sends one image after the other; on a busy machine some label maps are too old to be published."""

        def is_published() -> bool:
            if all(each.header.stamp.sec != sec for each in published):
                running.send(message_of(sec=sec))
                time.sleep(0.2)
            return any(each.header.stamp.sec == sec for each in published)

        eventually(is_published)

    try:
        send_until_published(1)
        hanging.set()
        running.send(message_of(sec=2))
        assert hangs.wait(20)
        before = len(running.statuses)
        eventually(lambda: any("has been in one frame for" in each.message for each in running.statuses[before:]))
        eventually(lambda: len(running.statuses) >= before + 5)
        told = next(each for each in running.statuses if "has been in one frame for" in each.message)
        assert values_of(told)["state"] == "stale"
        eventually(lambda: values_of(running.statuses[-1])["restarts"] == "1")
        assert any(each.level == ERROR for each in running.statuses[before:]), "the frame that hung has failed"
        send_until_published(3)
        assert {each.header.stamp.sec for each in published} == {1, 3}
    finally:
        gate.set()


def test_a_pipeline_that_gives_up_ends_the_node(start: Start) -> None:
    def die(frame: Frame) -> None:
        raise MemoryError("no memory")

    running = start(LocalTransport(), before=die, pipeline={"max_restarts": 0})
    running.send(message_of())
    running.join()
    assert isinstance(running.error, PipelineFailedError)
    assert running.statuses[-1].level == ERROR
    assert "it died of MemoryError: no memory" in running.statuses[-1].message


def test_an_old_label_map_is_not_published(start: Start) -> None:
    """The first one takes longer than it may be old; the second one does not."""
    transport = LocalTransport()
    slow = {0: 0.5}
    running = start(transport, before=lambda frame: time.sleep(slow.get(frame.seq, 0)), pipeline={"max_age_ms": 400.0})
    running.send(message_of(sec=1))
    eventually(lambda: running.pipeline.counts.delivered == 1)
    running.send(message_of(sec=2))
    eventually(lambda: running.node.results == 1)
    assert [each.header.stamp.sec for each in transport.published["/edge_vseg/labels"]] == [2]
    running.stop.set()
    running.join()
    assert values_of(running.statuses[-1])["label maps dropped"] == "1"


def test_an_image_that_fails_does_not_end_it(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    transport = LocalTransport()
    running = start(transport, max_frames=1)
    for number in range(3):
        running.send(message_of(PICTURE.astype(np.uint16), encoding="bgr16"))
        eventually(lambda number=number: running.source.undecoded == number + 1)
    running.send(message_of())
    running.join()
    assert (running.error, running.node.results) == (None, 1)
    failed = [each for each in running.statuses if each.level == ERROR]
    assert "an image of encoding 'bgr16' cannot be read" in failed[-1].message
    assert values_of(running.statuses[-1])["failures"] == "3"
    assert caplog.text.count("'bgr16' cannot be read") == 1


def test_a_topic_that_is_blocked_does_not_end_it(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    transport = LocalTransport("/edge_vseg/overlay", "/edge_vseg/age")
    transport.blocked = {"/edge_vseg/labels", "/edge_vseg/overlay"}
    running = segment_one(start, transport)
    assert len(transport.published["/edge_vseg/age"]) == 1
    status = running.statuses[-1]
    assert (status.level, status.message) == (ERROR, "2 failures, the last one: overlay was not published: a timeout")
    assert caplog.text.count("labels was not published: a timeout") == 1


def test_subscribers_that_cannot_be_counted_do_not_end_it(start: Start) -> None:
    transport = LocalTransport("/edge_vseg/age")
    transport.shut_down = True
    running = segment_one(start, transport)
    assert running.node.results == 1
    assert "/edge_vseg/age" not in transport.published
    assert "the context is not valid" in running.statuses[-1].message


def test_images_of_another_shape_than_the_homography_s(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    transport = LocalTransport("/edge_vseg/grid", "/edge_vseg/age")
    height, width = SIZE_HW
    ground = GroundOptions(homography=np.eye(3), free=("red",), resolution_m=1.0, image_hw=(height, width + 9))
    running = segment_one(start, transport, ground=ground)
    assert "/edge_vseg/grid" not in transport.published
    assert len(transport.published["/edge_vseg/age"]) == 1, "the other topics go on"
    status = running.statuses[-1]
    assert status.level == ERROR
    assert f"there is no grid: the homography is of images of {width + 9}x{height}" in status.message
    assert caplog.text.count("there is no grid") == 1


def test_a_fault_in_publishing_ends_it_instead_of_a_silent_node(start: Start) -> None:
    transport = LocalTransport()
    running = start(transport, pipeline={"max_callback_failures": 1})
    transport.broken = {"/edge_vseg/labels"}
    running.send(message_of())
    running.join()
    assert isinstance(running.error, TransportError)
    assert "results cannot be published: ZeroDivisionError" in str(running.error)
    assert running.statuses[-1].level == ERROR


S = 10**9


def result(total_ms: float, deadline_ms: float | None = None, map_age_ms: float = 0.0) -> Result:
    return Result(
        labels=np.zeros((1, 1), np.uint8),
        seq=0,
        capture_ns=0,
        done_ns=0,
        latency_ms={"total": total_ms},
        deadline_ms=deadline_ms,
        map_age_ms=map_age_ms,
    )


def test_health_by_what_happened() -> None:
    health = HealthReport("node", "/cam", {"bundle": "b"}, now_ns=0)
    status = health.report(2 * S, received=0, dropped=0)
    assert (status.level, status.message) == (STALE, "no image on /cam yet")
    health.arrived(2 * S)
    for total in (1.0, 2.0, 9.0):
        health.add(result(total, deadline_ms=50.0, map_age_ms=total))
    status = health.report(3 * S, received=3, dropped=0)
    values = {each.key: each.value for each in status.values}
    assert (status.level, status.message, status.name) == (OK, "3 frames", "node: segmentation")
    assert (values["latency median ms"], values["latency max ms"], values["oldest map ms"]) == ("2.00", "9.00", "9.0")
    assert (values["bundle"], values["label maps"]) == ("b", "3")
    health.arrived(3 * S)
    for total in (60.0, *([1.0] * 7)):
        health.add(result(total, deadline_ms=50.0))
    assert health.report(4 * S, received=11, dropped=0).level == WARN, "1 of 8 missed"
    health.arrived(4 * S)
    health.fail("the reason")
    assert health.report(5 * S, received=12, dropped=0).message == "1 failures, the last one: the reason"
    assert health.report(5 * S, received=12, dropped=0).level == OK, "a new window"
    assert health.report(9 * S, received=12, dropped=0).message == "no image on /cam for 5.0 s"


@pytest.mark.parametrize(
    ("state", "connection", "age_ms", "level"),
    [
        ("ok", "connected", 9.0, OK),
        ("degraded", "connected", 9.0, WARN),
        ("stale", "connected", float("inf"), STALE),
        ("stale", "connected", 900.0, ERROR),
        ("stale", "reconnecting", 900.0, STALE),
        ("failed", "connected", 9.0, ERROR),
        ("failed", "reconnecting", 9.0, ERROR),
    ],
)
def test_levels(state: Any, connection: Any, age_ms: float, level: int) -> None:
    health = Health(state=state, reason="why", since_ns=0, age_ms=age_ms)
    assert judge_health(health, Connection(state=connection, since_ns=0)) == (level, "why")
