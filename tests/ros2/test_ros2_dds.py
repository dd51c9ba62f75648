"""The node in a process of its own, and the rest of the robot on DDS over loopback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from message_types import reference_types
from reference_bundle import SIZE_HW, expected_labels, write_bundle
from robot import (
    DiagnosticArray_,
    Image_,
    LabelInfo_,
    Robot,
    image_of,
    new_domain,
    raw_samples,
    wait_for,
)

from edge_vseg.errors import OptionError, TransportError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.topics.dds import DdsTransport, default_domain
from edge_vseg.topics.port import LATCHED, RELIABLE, SENSOR_DATA

CAMERA = "/camera/image_raw"
PICTURE = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)

Node = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("node") / "colours.evseg")


@pytest.fixture
def domain() -> int:
    return new_domain()


@pytest.fixture
def start(bundle: Path, domain: int, tmp_path: Path) -> Iterator[Node]:
    """Starts ``edge-vseg ros2`` on loopback."""
    running: list[subprocess.Popen[str]] = []

    def node(*options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edge_vseg.cli", "ros2", bundle, "--image", CAMERA, "--runtime", "reference"]
        command += ["--interface", "lo", "--domain", domain, *options]
        running.append(
            subprocess.Popen(
                [str(word) for word in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "systemd")},
            )
        )
        return running[-1]

    yield node
    for process in running:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err


def send_until(writer: Any, message: Any, arrived: Callable[[], Any]) -> Any:
    """Publish as a camera does, again and again, until the condition holds."""

    def once() -> Any:
        writer.write(message)
        return arrived()

    return wait_for(once, period_s=0.05)


def test_label_images_have_the_stamp_of_their_input(start: Node, domain: int) -> None:
    process = start()
    robot = Robot(domain)
    camera = robot.writer(CAMERA, Image_)
    labels = robot.reader("/edge_vseg/labels", Image_)
    found = send_until(camera, image_of(PICTURE, 12, 345), lambda: labels.take(1))[0]
    assert (found.header.stamp.sec, found.header.stamp.nanosec, found.header.frame_id) == (12, 345, "front")
    assert (found.height, found.width, found.step, found.encoding) == (*SIZE_HW, SIZE_HW[1], "mono8")
    np.testing.assert_array_equal(np.reshape(list(found.data), SIZE_HW), expected_labels(PICTURE))
    # Who comes late hears the classes.
    late = robot.reader("/edge_vseg/label_info", LabelInfo_, latched=True)
    info = wait_for(lambda: late.take(1))[0]
    assert [each.class_name for each in info.class_map] == ["blue", "green", "red", "UNLABELED"]
    out, err = stop(process)
    assert "label maps" in out
    assert "Traceback" not in err


def test_systemd_hears_of_the_node(start: Node, domain: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "systemd"))
        systemd.setblocking(False)
        process, camera, heard = start(), Robot(domain).writer(CAMERA, Image_), [""]

        def hears(word: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(systemd.recv(4096).decode())
            return any(word in lines.splitlines() for lines in heard)

        send_until(camera, image_of(PICTURE, 1, 2), lambda: hears("READY=1"))
        stop(process)
        assert hears("STOPPING=1")


def test_rosbags_decodes_every_topic(start: Node, domain: int, tmp_path: Path) -> None:
    ground = tmp_path / "ground.json"
    ground.write_text('{"matrix": [[0, -0.1, 4.8], [-0.1, 0, 3.2], [0, 0, 1]]}')
    start("--homography", ground, "--free", "green", "--resolution", 0.5)
    robot, store = Robot(domain), reference_types()
    camera = robot.writer(CAMERA, Image_, reliable=True)
    kinds = {"labels": "Image", "overlay": "Image", "overlay/compressed": "CompressedImage", "uncertainty": "Image"}
    types = {name: f"sensor_msgs/msg/{kind}" for name, kind in kinds.items()} | {"age": "sensor_msgs/msg/Image"}
    readers = {f"/edge_vseg/{name}": (f"{kind}", False) for name, kind in types.items()}
    readers["/edge_vseg/label_info"] = ("vision_msgs/msg/LabelInfo", True)
    readers["/edge_vseg/vision_info"] = ("vision_msgs/msg/VisionInfo", True)
    readers["/edge_vseg/grid"] = ("nav_msgs/msg/OccupancyGrid", False)
    readers["/diagnostics"] = ("diagnostic_msgs/msg/DiagnosticArray", False)
    transport = DdsTransport(domain)
    kind_of = {kind.type_name: kind for kind in ros.MESSAGES}
    from edge_vseg.topics.dds import sample_type

    opened = {
        topic: robot.reader(topic, sample_type(kind_of[name]), latched=latched)
        for topic, (name, latched) in readers.items()
    }
    raw: dict[str, bytes] = {}

    def all_there() -> bool:
        for topic, reader in opened.items():
            for data in raw_samples(reader):
                raw[topic] = data
        return set(raw) == set(opened)

    send_until(camera, image_of(PICTURE, 7, 8), all_there)
    transport.close()
    found = {topic: store.deserialize_cdr(raw[topic], readers[topic][0]) for topic in raw}
    for topic in ("labels", "overlay", "overlay/compressed", "uncertainty", "age"):
        assert found[f"/edge_vseg/{topic}"].header.stamp.sec == 7, topic
    jpeg = cv2.imdecode(found["/edge_vseg/overlay/compressed"].data, cv2.IMREAD_COLOR)
    overlay = found["/edge_vseg/overlay"].data.reshape(*SIZE_HW, 3)
    assert np.abs(jpeg.astype(int) - overlay).mean() < 40  # noise, which JPEG blurs
    unsure = found["/edge_vseg/uncertainty"]
    values = unsure.data.view("<f4")
    assert (unsure.encoding, values.size) == ("32FC1", unsure.height * unsure.width)
    assert 0 <= values.min() <= values.max() <= 1
    names = {each.class_id: each.class_name for each in found["/edge_vseg/label_info"].class_map}
    assert names == {0: "blue", 1: "green", 2: "red", 255: "UNLABELED"}
    assert found["/edge_vseg/vision_info"].database_location == "/edge_vseg/label_info"
    grid = found["/edge_vseg/grid"]
    assert (grid.info.width, grid.info.height, grid.header.frame_id) == (20, 20, "base_link")
    assert set(np.unique(grid.data)) <= {-1, 0, 100}
    status = found["/diagnostics"].status[0]
    assert (status.level, status.hardware_id) == (0, CAMERA)


def test_the_example_is_camera_and_listener(start: Node, domain: int, clip: Path) -> None:
    process = start("--deadline-ms", 1000, "--namespace", "/front/segmentation")
    example = Path(__file__).parents[2] / "examples/ros2/publish_video.py"
    command = [sys.executable, example, clip, "--interface", "lo", "--domain", domain]
    command += ["--namespace", "/front/segmentation"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"([1-9]|1[0-2]) images published, ([1-9]|1[0-2]) label images heard", lines[-1])
    assert any(re.fullmatch(r"\d+% blue, \d+\.\d ms after it was published", line) for line in lines[:-1])
    stop(process)


def test_silence_and_failures_are_diagnosed(start: Node, domain: int) -> None:
    process = start()
    robot = Robot(domain)
    camera = robot.writer(CAMERA, Image_)
    diagnostics = robot.reader("/diagnostics", DiagnosticArray_)

    def status_of_level(level: int) -> Any:
        return [s for array in diagnostics.take(10) for s in array.status if s.level == level]

    status = wait_for(lambda: status_of_level(3))[0]
    assert status.hardware_id == CAMERA
    assert re.fullmatch(rf"reconnecting to ros2:{CAMERA} since [0-9.]+ s: no image yet", status.message)
    message = image_of(PICTURE, 1, 0, encoding="32FC3")
    status = send_until(camera, message, lambda: status_of_level(2))[0]
    assert "'32FC3' cannot be read" in status.message
    _, err = stop(process, signal.SIGTERM)
    assert err.count("'32FC3' cannot be read") == 1, "said once, not per frame"


def test_two_transports_in_one_process(domain: int) -> None:
    with DdsTransport(domain, "lo") as one, DdsTransport(domain, "lo") as two:
        got: list[ros.Image] = []
        two.subscribe(CAMERA, ros.Image, SENSOR_DATA, got.append)
        publisher = one.publisher(CAMERA, ros.Image, RELIABLE)
        wait_for(lambda: publisher.subscriber_count == 1)
        publisher.publish(raw_image(PICTURE, "bgr8", ros.Header(stamp=ros.Time(sec=1))))
        wait_for(lambda: got)
        np.testing.assert_array_equal(got[0].data, PICTURE.reshape(-1))
        latched = one.publisher("/said", ros.Time, LATCHED)
        latched.publish(ros.Time(sec=5))
        heard: list[ros.Time] = []
        two.subscribe("/said", ros.Time, LATCHED, heard.append)
        assert wait_for(lambda: heard) == [ros.Time(sec=5)]
    with pytest.raises(TransportError, match="transport is closed"):
        publisher.publish(raw_image(PICTURE, "bgr8", ros.Header(stamp=ros.Time())))


def test_a_domain_has_one_interface(domain: int) -> None:
    wanted = f"domain {domain} is on the interface 'lo' .* cannot be on 'eth0'"
    with DdsTransport(domain, "lo"), DdsTransport(domain, "lo"), DdsTransport(domain):
        pass
    with pytest.raises(OptionError, match=wanted):
        DdsTransport(domain, "eth0").close()


def test_a_subscriber_that_fails_hears_the_next_message(domain: int, caplog: pytest.LogCaptureFixture) -> None:
    with DdsTransport(domain, "lo") as transport:
        heard: list[ros.Time] = []

        def fail_first(message: ros.Time) -> None:
            heard.append(message)
            if len(heard) == 1:
                raise RuntimeError("not today")

        transport.subscribe("/t", ros.Time, RELIABLE, fail_first)
        publisher = transport.publisher("/t", ros.Time, RELIABLE)
        wait_for(lambda: publisher.subscriber_count)
        publisher.publish(ros.Time(sec=1))
        wait_for(lambda: len(heard) == 1)
        publisher.publish(ros.Time(sec=2))
        wait_for(lambda: len(heard) == 2)
    assert "not today" in caplog.text


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="0 to 232, got 233"):
        DdsTransport(233)
    with pytest.raises(OptionError, match="not the name of a network interface"):
        DdsTransport(1, '"/><evil/>')
    with pytest.raises(TransportError, match="the interface 'nosuch0'"):
        DdsTransport(new_domain(), "nosuch0")
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(OptionError, match="ROS_DOMAIN_ID is 'many'"):
        default_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert default_domain() == 42
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    with pytest.raises(TransportError, match=r"pip install 'edge-vseg\[ros2\]'"):
        DdsTransport(1)
