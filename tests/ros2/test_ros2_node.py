"""The node on topics inside this process: what it publishes for whom, what it counts, how it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from reference_bundle import SIZE_HW, expected_labels
from running_node import LocalTransport, Running

from edge_vseg import Deadline, Segmenter
from edge_vseg.errors import OptionError, PipelineFailedError, TransportError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.pipeline import Health
from edge_vseg.ros2.diagnostics import ERROR, OK, STALE, WARN, HealthReport, judge_health
from edge_vseg.ros2.ground_grid import GroundOptions
from edge_vseg.ros2.node import NodeOptions
from edge_vseg.topics.port import TopicQos, check_topic
from edge_vseg.types import Frame, Result
from edge_vseg.video import Connection, FrameCounts
from edge_vseg.video.cameras.ros_topic import HEADERS_KEPT, TopicOptions, TopicSource

PICTURE = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)


@pytest.fixture
def start(reference_bundle: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(transport: LocalTransport, **options: Any) -> Running:
        started.append(Running(reference_bundle, transport, **options))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def eventually(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)
    return found


def values_of(status: ros.DiagnosticStatus) -> dict[str, str]:
    return {each.key: each.value for each in status.values}


def message_of(picture: np.ndarray = PICTURE, sec: int = 1, encoding: str = "bgr8") -> ros.Image:
    return raw_image(picture, encoding, ros.Header(stamp=ros.Time(sec=sec, nanosec=9), frame_id="front"))


Start = Callable[..., Running]


def segment_one(start: Start, transport: LocalTransport, **options: Any) -> Running:
    running = start(transport, max_frames=1, **options)
    running.send(message_of())
    running.join()
    assert running.error is None
    return running


def test_only_labels_without_subscribers(start: Start) -> None:
    transport = LocalTransport()
    segment_one(start, transport)
    assert set(transport.published) == {
        "/edge_vseg/labels",
        "/edge_vseg/label_info",
        "/edge_vseg/vision_info",
        "/diagnostics",
    }
    (labels,) = transport.published["/edge_vseg/labels"]
    np.testing.assert_array_equal(labels.data.reshape(SIZE_HW), expected_labels(PICTURE))
    assert labels.header == message_of().header


def test_class_names_are_looked_for_where_they_are_after_remapping(start: Start) -> None:
    transport = LocalTransport()
    transport.remapped = {"/edge_vseg/label_info": "/front/classes"}
    segment_one(start, transport)
    (info,) = transport.published["/edge_vseg/vision_info"]
    assert info.database_location == "/front/classes"


def test_results_and_diagnoses_have_the_name_of_the_camera_after_remapping(start: Start) -> None:
    transport, seen = LocalTransport(), []
    transport.remapped = {"/cam": "/front/image"}
    running = segment_one(start, transport, before=seen.append)
    assert [frame.source_name for frame in seen] == ["ros2:/front/image"]
    assert running.statuses[-1].hardware_id == "/front/image"


@pytest.mark.parametrize("topic", ["overlay", "overlay/compressed", "uncertainty", "age"])
def test_what_somebody_subscribes_to(topic: str, start: Start) -> None:
    transport = LocalTransport(f"/edge_vseg/{topic}")
    segment_one(start, transport)
    extra = set(transport.published) - {"/edge_vseg/labels", "/edge_vseg/label_info", "/edge_vseg/vision_info"}
    assert extra == {f"/edge_vseg/{topic}", "/diagnostics"}
    (message,) = transport.published[f"/edge_vseg/{topic}"]
    assert message.header.stamp == ros.Time(sec=1, nanosec=9)


def test_compressed_images(start: Start) -> None:
    transport = LocalTransport()
    running = start(transport, images="compressed", max_frames=1)
    png = np.asarray(cv2.imencode(".png", PICTURE)[1], np.uint8).reshape(-1)
    running.send(ros.CompressedImage(header=message_of().header, format="png", data=png))
    running.join()
    (labels,) = transport.published["/edge_vseg/labels"]
    np.testing.assert_array_equal(labels.data.reshape(SIZE_HW), expected_labels(PICTURE))


def test_uncertainty_as_bytes_is_that_of_the_result(start: Start, reference_bundle: Path) -> None:
    transport = LocalTransport("/edge_vseg/uncertainty")
    segment_one(start, transport, uncertainty="mono8")
    (message,) = transport.published["/edge_vseg/uncertainty"]
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        truth = segmenter(PICTURE).uncertainty
    assert truth is not None
    assert (message.encoding, message.step) == ("mono8", truth.shape[1])
    assert np.abs(message.data.reshape(truth.shape) / 255 - truth).max() <= 0.5 / 255 + 1e-6


def test_quality_of_service(start: Start) -> None:
    transport = LocalTransport()
    start(transport)
    assert transport.qos["/cam"] == TopicQos(reliability="best_effort", durability="volatile", depth=1)
    assert transport.qos["/edge_vseg/labels"] == TopicQos(reliability="reliable", durability="volatile", depth=1)
    assert transport.qos["/edge_vseg/label_info"].durability == "transient_local"


def test_only_the_newest_image_is_segmented(start: Start) -> None:
    transport, reached, gate = LocalTransport(), threading.Event(), threading.Event()
    published = transport.published["/edge_vseg/labels"]

    def hold(frame: Frame) -> None:
        if reached.is_set():  # a node that is late publishes the newest label map only
            eventually(lambda: len(published) == 1)
        reached.set()
        assert gate.wait(20)

    running = start(transport, before=hold, max_frames=2)
    running.send(message_of(sec=0))
    assert reached.wait(20)
    for sec in range(1, 5):
        running.send(message_of(sec=sec))
    gate.set()
    running.join()
    assert [each.header.stamp.sec for each in published] == [0, 4]
    values = values_of(running.statuses[-1])
    assert (values["images received"], values["images dropped"], values["label maps"]) == ("5", "3", "2")


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


def test_a_policy_runs_on_the_images(start: Start) -> None:
    transport = LocalTransport("/edge_vseg/age")
    running = start(transport, policy=Deadline(milliseconds=1000.0), max_frames=3)
    for sec in range(3):
        running.send(message_of(PICTURE, sec))
        eventually(lambda sec=sec: running.node.results > sec)
    running.join()
    assert [each.header.stamp.sec for each in transport.published["/edge_vseg/labels"]] == [0, 1, 2]
    assert len(transport.published["/edge_vseg/age"]) == 3


def test_stop_ends_it(start: Start) -> None:
    running = start(LocalTransport())
    running.stop.set()
    running.join()
    assert running.error is None


def test_a_topic_is_a_source(caplog: pytest.LogCaptureFixture) -> None:
    transport = LocalTransport()
    with TopicSource(transport, "cam") as frames:
        assert (frames.name, frames.is_live, frames.connection.state) == ("ros2:/cam", True, "reconnecting")
        assert frames.connection.reason == "no image yet"
        for sec in range(3):
            transport.send["/cam"](message_of(sec=sec))
        assert frames.counts == FrameCounts(captured=3, dropped=2, waiting=1, read=0)
        first = next(frames)
        np.testing.assert_array_equal(first.image, PICTURE)
        assert frames.counts == FrameCounts(captured=3, dropped=2, waiting=0, read=1)
        assert frames.connection.state == "connected"
        header = frames.header_of(first.seq)
        assert header is not None
        assert header.stamp.sec == 2
        later = threading.Timer(0.05, lambda: transport.send["/cam"](message_of(sec=9)))
        transport.send["/cam"](message_of(PICTURE.astype(np.uint16), encoding="bgr16"))
        later.start()
        assert next(frames).seq in (3, 4)
        later.join()
        counts = frames.counts
        assert (counts.captured, counts.read, counts.dropped) == (5, 2, 3), "what cannot be decoded is dropped"
        closing = threading.Timer(0.1, frames.close)
        closing.start()
        assert next(frames, None) is None, "closing ends what waits"
        closing.join()
    assert frames.connection.state == "ended"


def test_a_source_keeps_the_last_headers() -> None:
    transport = LocalTransport()
    with TopicSource(transport, "/cam") as frames:
        for sec in range(HEADERS_KEPT + 2):
            transport.send["/cam"](message_of(sec=sec))
            next(frames)
        assert (frames.header_of(1), frames.header_of(2) is None) == (None, False)


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


@pytest.mark.parametrize("name", ["/a b", "", "/", "/a//b", "/1a", "a/", "/ä"])
def test_impossible_topics(name: str) -> None:
    with pytest.raises(OptionError, match="is not a topic name"):
        NodeOptions(namespace=name)


@pytest.mark.parametrize(("name", "full"), [("a/b_1", "/a/b_1"), ("/camera/image_raw", "/camera/image_raw")])
def test_possible_topics(name: str, full: str) -> None:
    assert check_topic(name) == full


def test_impossible_options() -> None:
    with pytest.raises(OptionError, match="uncertainty must be"):
        NodeOptions(uncertainty="8UC1")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="images must be"):
        TopicOptions(images="jpeg")  # type: ignore[arg-type]


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


@pytest.mark.parametrize(("field", "value"), [("reliability", "sometimes"), ("durability", "persistent"), ("depth", 0)])
def test_impossible_qos(field: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{field} must be"):
        TopicQos(**{field: value})
