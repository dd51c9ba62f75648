"""``ros2:/topic`` as a source: real DDS traffic from another process that freezes, goes, and comes back changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from camera_process import TOPIC, picture_of
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from reference_bundle import SIZE_HW, expected_labels, write_bundle
from robot import new_domain, wait_for

from edge_vseg import open_source
from edge_vseg.errors import CameraPackageError, NoFramesError, OptionError, TransportError, VideoDecodeError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, FrameCounts, InputOptions, ReconnectOptions, Source
from edge_vseg.video.cameras.ros_topic import TopicAddress, parse_topic
from edge_vseg.video.cameras.topic_inbox import TopicInbox

Camera = Callable[..., subprocess.Popen[bytes]]
MESSAGE = raw_image(np.zeros((2, 2, 3), np.uint8), "bgr8", ros.Header(stamp=ros.Time(sec=1)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("topic") / "colours.evseg")


@pytest.fixture
def domain() -> int:
    return new_domain()


@pytest.fixture
def camera(domain: int) -> Iterator[Camera]:
    """Starts a camera in another process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(size_hw: tuple[int, int] = SIZE_HW, encoding: str = "bgr8") -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("camera_process.py")
        path = os.pathsep.join((str(script.parent), os.environ.get("PYTHONPATH", "")))
        command = [sys.executable, script, domain, *size_hw, encoding]
        started.append(subprocess.Popen([str(word) for word in command], env=os.environ | {"PYTHONPATH": path}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def address(domain: int, more: str = "") -> str:
    return f"ros2:{TOPIC}?domain={domain}&interface=lo{more}"


def leave(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)


def read_until(source: Source, wanted: Callable[[Frame], bool]) -> list[Frame]:
    frames = []
    for frame in source:
        frames.append(frame)
        if wanted(frame):
            return frames
    raise AssertionError("the source has ended")


def test_a_camera_that_comes_freezes_goes_and_comes_back_changed(camera: Camera, domain: int) -> None:
    with open_source(address(domain)) as source:
        assert (source.name, source.is_live, source.fps) == (f"ros2:{TOPIC}", True, None)
        assert source.connection.state == "reconnecting"
        assert source.connection.reason == "nobody publishes sensor_msgs/msg/Image on it yet"

        process = camera()
        first = next(source)
        np.testing.assert_array_equal(first.image, picture_of(SIZE_HW))
        assert (source.connection.state, source.connection.reason) == ("connected", "")
        assert (first.seq, first.pts_ns) == (0, 0)

        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: source.connection.state == "reconnecting")
        assert re.fullmatch(r"no image for \d\.\d s, and its publisher is there", source.connection.reason)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: source.connection.reconnects == 1)
        wait_for(lambda: source.connection.state == "connected")

        leave(process)
        wait_for(lambda: source.connection.reason.endswith("s, and nobody publishes it"))
        before = next(source)  # what waited in the buffer
        camera((30, 50), "rgb8")
        frames = [before, *read_until(source, lambda frame: frame.image.shape == (30, 50, 3))]
        np.testing.assert_array_equal(frames[-1].image, picture_of((30, 50)))
        assert source.connection.reconnects == 2
        assert frames[-1].seq >= before.seq + 2, "an outage is a gap"
        times = [(frame.seq, frame.pts_ns, frame.capture_ns) for frame in frames]
        assert times == sorted(times)
        counts = source.counts
        assert counts.captured == counts.dropped + counts.waiting + counts.read
    assert source.connection.state == "ended"


def test_an_encoding_that_cannot_be_read_is_said(camera: Camera, domain: int, caplog: pytest.LogCaptureFixture) -> None:
    with open_source(address(domain)) as source:
        process = camera(encoding="32FC3")
        reader = threading.Thread(target=lambda: frames.append(next(source)))
        frames: list[Frame] = []
        reader.start()
        wait_for(lambda: "cannot be decoded" in source.connection.reason)
        assert source.connection.state == "reconnecting"
        assert "'32FC3'" in source.connection.reason
        assert "'32FC3'" in str(source.damaged)
        wait_for(lambda: source.counts.dropped >= 3)
        assert (source.counts.read, caplog.text.count("'32FC3'")) == (0, 1)
        leave(process)
        camera(encoding="bgr8")
        reader.join(20)
        assert frames, "it goes on with an encoding that can be read"
        assert source.connection.state == "connected"


@pytest.mark.parametrize("deed", ["interrupt", "close"])
def test_a_wait_for_a_camera_is_ended_from_another_thread(deed: str, domain: int) -> None:
    source = open_source(address(domain))
    ended = threading.Event()

    def read_to_end() -> None:
        with contextlib.suppress(NoFramesError):
            next(source, None)
        ended.set()

    reader = threading.Thread(target=read_to_end)
    reader.start()
    assert not ended.wait(0.2)
    getattr(source, deed)()
    assert ended.wait(0.4), "sooner than the next look"
    source.close()
    reader.join()
    assert not [each for each in threading.enumerate() if each.name == "ros2 topics"]


@pytest.mark.parametrize("again", [None, ReconnectOptions(give_up_s=0.6)], ids=["no reconnects", "give_up_s"])
def test_it_gives_up_when_it_is_told_to(
    again: ReconnectOptions | None, domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_vseg.video.options.DEFAULT_TIMEOUT_S", 0.6)
    with (
        open_source(address(domain), input_options=InputOptions(reconnect=again)) as source,
        pytest.raises(VideoDecodeError, match=r"given up after [0-9.]+ s without an image \(nobody publishes"),
    ):
        next(source)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ros2:/camera/image_raw", TopicAddress(topic="/camera/image_raw", images="raw")),
        ("ROS2:cam?domain=232", TopicAddress(topic="/cam", images="raw", domain=232)),
        ("ros2:/cam/compressed", TopicAddress(topic="/cam/compressed", images="compressed")),
        ("ros2:/cam/compressed?images=raw", TopicAddress(topic="/cam/compressed", images="raw")),
        (
            "ros2:/cam?images=compressed&reliability=reliable&interface=eth0",
            TopicAddress(topic="/cam", images="compressed", reliability="reliable", interface="eth0"),
        ),
    ],
)
def test_addresses(text: str, found: TopicAddress) -> None:
    assert parse_topic(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ros2:", "is not a topic name"),
        ("ros2://camera/image_raw", "is not a topic name"),
        ("ros2:/cam?fps=3", "no 'fps'; known: images, reliability, domain, interface"),
        ("ros2:/cam?images=jpeg", "raw or compressed, got 'jpeg'"),
        ("ros2:/cam?reliability=1", "best_effort or reliable, got '1'"),
        ("ros2:/cam?domain=233", "0 to 232, got '233'"),
        ("ros2:/cam?domain=-1", "0 to 232, got '-1'"),
    ],
)
def test_impossible_addresses(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_source(text)


def test_what_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="no codec motion vectors"):
        open_source("ros2:/cam", codec_motion=True)
    with pytest.raises(TransportError, match="the interface 'nosuch0'"):
        open_source(f"ros2:/cam?interface=nosuch0&domain={new_domain()}")
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    with pytest.raises(CameraPackageError, match=r"pip install 'edge-vseg\[ros2\]'"):
        open_source("ros2:/cam")


@pytest.mark.parametrize(
    ("buffer", "taken", "dropped"),
    [
        (BufferOptions(), [4], 4),
        (BufferOptions(keep="newest", frames=2), [3, 4], 3),
        (BufferOptions(keep="oldest", frames=2), [0, 1], 3),
    ],
    ids=["newest", "newest two", "oldest two"],
)
def test_which_images_a_slow_reader_gets(buffer: BufferOptions, taken: list[int], dropped: int) -> None:
    inbox = TopicInbox(buffer)
    for _ in range(5):
        inbox.put(MESSAGE)
    assert inbox.counts.waiting == len(taken)
    found = [inbox.take(0) for _ in taken]
    assert [each.seq for each in found if each] == taken
    assert inbox.take(0) is None
    assert (inbox.counts.captured, inbox.counts.dropped, inbox.counts.read) == (5, dropped, len(taken))


def test_a_reader_that_wants_every_image_holds_the_network_back() -> None:
    inbox = TopicInbox(BufferOptions(keep="every", frames=2))
    writer = threading.Thread(target=lambda: [inbox.put(MESSAGE) for _ in range(6)], daemon=True)
    writer.start()
    wait_for(lambda: inbox.counts.waiting == 2)
    writer.join(0.1)
    assert inbox.counts == FrameCounts(captured=2, dropped=0, waiting=2, read=0)
    found = [inbox.take(5) for _ in range(6)]
    writer.join()
    assert [each.seq for each in found if each] == [0, 1, 2, 3, 4, 5]
    assert inbox.counts.dropped == 0


def test_a_silence_is_a_gap_and_a_return() -> None:
    times = iter([0, 0, 400_000_000, 1_400_000_000, 2_400_000_001])
    inbox = TopicInbox(BufferOptions(keep="oldest"), lambda: next(times))
    for _ in range(4):
        inbox.put(MESSAGE)
    found = [inbox.take(0) for _ in range(4)]
    assert [(each.seq, each.arrival_ns) for each in found if each] == [
        (0, 0),
        (1, 400_000_000),
        (2, 1_400_000_000),
        (4, 2_400_000_001),
    ]
    assert (inbox.presence.returns, inbox.presence.back_ns) == (1, 2_400_000_001)


@pytest.mark.parametrize("period_s", [1.0, 5.0, 19.0])
def test_a_slow_topic_is_not_lost_at_every_image(period_s: float) -> None:
    now = [0.0]
    inbox = TopicInbox(BufferOptions(), lambda: round(now[0] * 1e9))
    for _ in range(12):
        now[0] += period_s * 1.05
        inbox.put(MESSAGE)
    assert inbox.presence.returns == 3, "as long as its period is not known"
    assert inbox.presence.silence_s == pytest.approx(min(3 * 1.05 * period_s, 60))
    now[0] += 3.2 * period_s
    inbox.put(MESSAGE)
    assert inbox.presence.returns == 4, "it is lost after three periods"


def test_a_fast_topic_is_lost_after_a_second_after_outages_too() -> None:
    now = [0.0]
    inbox = TopicInbox(BufferOptions(), lambda: round(now[0] * 1e9))
    for gap_s in [0.03] * 5 + [3600.0, 3600.0] + [0.03] * 3:
        now[0] += gap_s
        inbox.put(MESSAGE)
    assert (inbox.presence.returns, inbox.presence.silence_s) == (2, 1.0)
    for _ in range(5):
        now[0] += 3600
        inbox.put(MESSAGE)
    assert inbox.presence.silence_s == 60.0
    assert inbox.presence.returns == 7


def run_cli(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_vseg.cli", *map(str, words), "--runtime", "reference"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_run_segments_a_topic(camera: Camera, domain: int, bundle: Path, tmp_path: Path) -> None:
    camera()
    maps = tmp_path / "maps"
    out, err = run_cli("run", bundle, address(domain), "--labels-out", maps, "--max-frames", 3, "--json").communicate(
        timeout=60
    )
    assert json.loads(out)["frames"] == 3, err
    assert len(list(maps.iterdir())) == 3


def test_record_keeps_the_stamps_of_a_topic(camera: Camera, domain: int, bundle: Path, tmp_path: Path) -> None:
    camera()
    path = tmp_path / "out.mcap"
    _, err = run_cli("record", bundle, address(domain), path, "--no-overlay", "--max-frames", 3).communicate(timeout=60)
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        labels = [each.decoded_message for each in reader.iter_decoded_messages(topics=["/edge_vseg/labels"])]
    assert len(labels) == 3, err
    seconds = [each.header.stamp.sec for each in labels]
    assert seconds == sorted(set(seconds))
    assert 100 <= seconds[0] < 4000, "the camera's clock, not this machine's"
    assert {(each.header.stamp.nanosec, each.header.frame_id) for each in labels} == {(7, "front")}
    found = np.frombuffer(labels[0].data, np.uint8).reshape(SIZE_HW)
    np.testing.assert_array_equal(found, expected_labels(picture_of(SIZE_HW)))


def test_serve_shows_a_topic(camera: Camera, domain: int, bundle: Path) -> None:
    process = run_cli("serve", bundle, address(domain), "--port", 0)
    assert process.stderr is not None
    try:
        line = ""
        while "http://" not in line:
            line = process.stderr.readline()
            assert line, "it has ended"
        url = re.search(r"http://[^\s?]+", line)
        assert url is not None

        def health() -> dict[str, object]:
            with urllib.request.urlopen(url[0].rstrip("/") + "/health", timeout=20) as answer:
                return dict(json.load(answer))

        def state_is(*states: str) -> bool:
            try:
                return health()["state"] in states
            except urllib.error.HTTPError as exc:
                return json.load(exc)["state"] in states

        assert state_is("stale")
        camera()
        wait_for(lambda: state_is("ok", "degraded"))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
