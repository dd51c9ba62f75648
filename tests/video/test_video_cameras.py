"""Addresses of cameras, what is missing for them, and the parts that need no camera.

GStreamer and picamera2 cannot be installed here. Their classes are played by stand-ins that keep to the documented
interface; whether a real camera does is not tested.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_video import number_of, numbered, write_video

from edge_vseg.errors import CameraPackageError, OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.video import open_source
from edge_vseg.video.cameras.csi import CsiCamera, jetson_pipeline, open_csi, parse_csi
from edge_vseg.video.cameras.device_watch import DeviceWatch
from edge_vseg.video.cameras.gstreamer import GStreamerSource, full_pipeline
from edge_vseg.video.options import DEFAULT_INPUT_OPTIONS

PATIENCE_S = 20.0
SECOND = 10**9


@pytest.mark.parametrize("source", ["v4l2:///dev/video97", "v4l2://video97", "/dev/v4l/by-id/usb-none-index0"])
def test_a_camera_that_is_not_connected(source: str) -> None:
    with pytest.raises(VideoNotFoundError, match="there is no camera /dev/"):
        open_source(source)


def test_a_file_by_its_address(tmp_path: Path) -> None:
    path = write_video(tmp_path / "what now?.mp4", [numbered(i) for i in range(4)], fps=50)
    quoted = str(path).replace("?", "%3F").replace(" ", "%20")
    for address in (f"file:{quoted}", f"file://{quoted}"):
        with open_source(address) as source:
            assert not source.is_live
            assert [number_of(frame.image) for frame in source] == [0, 1, 2, 3]
    with open_source(f"file:{quoted}?live") as source:
        assert source.is_live
        assert number_of(list(source)[-1].image) == 3
    with open_source(f"file:{quoted}?live", live=False) as source:
        assert not source.is_live
    with pytest.raises(OptionError, match="expected live, got 'fast'"):
        open_source(f"file:{quoted}?fast")


@pytest.mark.parametrize(
    ("address", "camera"),
    [
        ("csi://0", CsiCamera(number=0)),
        ("csi://1?size=640x480&fps=60", CsiCamera(number=1, size_hw=(480, 640), fps=60)),
    ],
)
def test_addresses_of_ribbon_cables(address: str, camera: CsiCamera) -> None:
    assert parse_csi(address) == camera


@pytest.mark.parametrize(
    "address",
    [
        "csi://",
        "csi://a",
        "csi://0/x",
        "csi://0?size=640",
        "csi://0?gain=2",
        f"csi://{5000 * '5'}",
        f"csi://0?size=640x{5000 * '5'}",
        f"csi://0?fps={5000 * '5'}",
    ],
)
def test_malformed_addresses_of_ribbon_cables(address: str) -> None:
    with pytest.raises(OptionError, match="expected csi://NUMBER"):
        open_source(address)


def test_the_pipeline_of_a_jetson() -> None:
    assert jetson_pipeline(CsiCamera(number=1, size_hw=(480, 640), fps=60)) == (
        "nvarguscamerasrc sensor-id=1 !"
        " video/x-raw(memory:NVMM),width=640,height=480,format=NV12,framerate=60/1 !"
        " nvvidconv ! video/x-raw,format=BGRx"
    )


def test_a_pipeline_gets_its_sink() -> None:
    assert full_pipeline("videotestsrc ! ") == (
        "videotestsrc ! videoconvert ! video/x-raw,format=BGR !"
        " appsink name=edge_vseg_sink max-buffers=1 drop=true sync=false"
    )
    with pytest.raises(OptionError, match="leave the sink"):
        full_pipeline("videotestsrc ! appsink")
    with pytest.raises(OptionError, match="needs a pipeline"):
        open_source("gst:")


@pytest.mark.parametrize("source", ["csi://0", "gst:videotestsrc"])
def test_ribbon_cables_and_pipelines_have_no_codec_motion(source: str) -> None:
    with pytest.raises(OptionError, match="no codec motion vectors"):
        open_source(source, codec_motion=True)


@pytest.mark.parametrize(
    ("source", "module", "package"),
    [("csi://0", "picamera2", "python3-picamera2"), ("gst:videotestsrc", "gi", "python3-gi")],
)
def test_a_missing_package_is_named(
    source: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("edge_vseg.video.cameras.csi.JETSON_RELEASE", tmp_path / "none")
    with pytest.raises(CameraPackageError, match=package):
        open_source(source)


def test_a_jetson_is_told_by_its_release_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    release = tmp_path / "nv_tegra_release"
    release.touch()
    with pytest.raises(CameraPackageError, match="python3-gi"):
        open_csi("csi://0", DEFAULT_INPUT_OPTIONS, release=release)


class Gst:
    """What is used of GStreamer: a pipeline with pictures of 5 x 2, whose rows are 16 bytes long."""

    SECOND = SECOND
    CLOCK_TIME_NONE = 2**64 - 1
    State = types.SimpleNamespace(PLAYING=4, NULL=1)
    StateChangeReturn = types.SimpleNamespace(FAILURE=0, SUCCESS=1)
    MessageType = types.SimpleNamespace(ERROR=2)
    MapFlags = types.SimpleNamespace(READ=1)

    def __init__(self, samples: int, *, error: str = "", starts: bool = True) -> None:
        self.samples, self.error, self.starts = samples, error, starts
        self.states: list[int] = []
        self.launched = ""
        self.base_ns = time.monotonic_ns() - SECOND
        self.pts = SECOND - 20_000_000

    def init(self, _: object) -> None: ...

    def parse_launch(self, text: str) -> Gst:
        self.launched = text
        return self

    def get_by_name(self, _: str) -> Gst:
        return self

    def set_state(self, state: int) -> None:
        self.states.append(state)

    def get_state(self, _: int) -> tuple[int, int, int]:
        return int(self.starts), 0, 0

    def get_base_time(self) -> int:
        return self.base_ns

    def get_bus(self) -> Gst:
        return self

    def pop_filtered(self, _: int) -> Any:
        return types.SimpleNamespace(parse_error=lambda: (self.error, "debug")) if self.error else None

    def get_property(self, name: str) -> bool:
        return name == "eos" and not self.samples

    def emit(self, signal: str, timeout_ns: int) -> Any:
        assert signal == "try-pull-sample"
        if not self.samples:
            return None
        self.samples -= 1
        rows = np.arange(32, dtype=np.uint8)
        mapped = types.SimpleNamespace(data=rows.tobytes())
        buffer = types.SimpleNamespace(pts=self.pts, map=lambda _: (True, mapped), unmap=lambda _: None)
        structure = types.SimpleNamespace(get_value={"width": 5, "height": 2}.__getitem__)
        return types.SimpleNamespace(
            get_buffer=lambda: buffer,
            get_caps=lambda: types.SimpleNamespace(get_structure=lambda _: structure),
        )


def install(gst: Gst, monkeypatch: pytest.MonkeyPatch) -> None:
    gi = types.ModuleType("gi")
    gi.require_version = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gi", gi)
    monkeypatch.setitem(sys.modules, "gi.repository.Gst", gst)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "gi.repository.GstApp", gst)  # type: ignore[arg-type]


def pipeline(name: str = "gst:videotestsrc") -> GStreamerSource:
    return GStreamerSource("videotestsrc", name=name, timeout_s=1, stall_s=0.01)


def test_pictures_of_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    gst = Gst(samples=2)
    install(gst, monkeypatch)
    with pipeline() as source:
        frames = list(source)
    assert gst.launched == full_pipeline("videotestsrc")
    assert gst.states == [Gst.State.PLAYING, Gst.State.NULL]
    assert [frame.seq for frame in frames] == [0, 1]
    expected = np.concatenate([np.arange(15), np.arange(16, 31)]).reshape(2, 5, 3)
    np.testing.assert_array_equal(frames[0].image, expected)
    assert frames[0].capture_ns == gst.base_ns + gst.pts, "the stamp of the pipeline's clock was not used"


@pytest.mark.parametrize(
    ("gst", "message"),
    [
        (Gst(samples=0, error="device is gone"), "device is gone"),
        (Gst(samples=0, error="no such camera", starts=False), "no such camera"),
    ],
    ids=["while it runs", "at the start"],
)
def test_errors_of_a_pipeline(gst: Gst, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(gst, monkeypatch)
    with pytest.raises(VideoDecodeError, match=message), pipeline() as source:
        next(source)
    assert gst.states[-1] == Gst.State.NULL


class Picamera2:
    """What is used of picamera2."""

    cameras = 1
    made: list[Picamera2]
    stalls = False

    def __init__(self, number: int) -> None:
        self.number, self.log = number, []
        self.configuration: dict[str, Any] = {}
        type(self).made = [self]

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        return [{"Num": n} for n in range(cls.cameras)]

    def create_video_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def start(self) -> None:
        self.log.append("start")

    def capture_request(self, *, wait: bool) -> str:
        assert not wait
        return "job"

    def wait(self, job: str, timeout: float) -> Any:
        assert job == "job"
        if self.stalls:
            raise TimeoutError
        width, height = self.configuration["main"]["size"]
        stamp = time.monotonic_ns() - 15_000_000
        self.stamp = stamp
        return types.SimpleNamespace(
            make_array=lambda name: np.full((height, width, 3), 7, np.uint8),
            get_metadata=lambda: {"SensorTimestamp": stamp},
            release=lambda: self.log.append("release"),
        )

    def cancel_all_and_flush(self) -> None:
        self.log.append("flush")

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture
def picamera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Picamera2]:
    module = types.ModuleType("picamera2")
    kind = type("Picamera2", (Picamera2,), {})
    module.Picamera2 = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr("edge_vseg.video.cameras.csi.JETSON_RELEASE", tmp_path / "none")
    return kind


def test_a_camera_of_a_raspberry_pi(picamera: type[Picamera2]) -> None:
    with open_source("csi://0?size=64x48&fps=20", live=False, max_frames=2) as source:
        frames = list(source)
        (camera,) = picamera.made
        assert frames[-1].capture_ns == camera.stamp, "the sensor's stamp was not used"
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 2
    assert camera.configuration["main"] == {"size": (64, 48), "format": "RGB888"}
    assert camera.configuration["controls"] == {"FrameDurationLimits": (50_000, 50_000)}
    assert camera.log == ["start", "release", "release", "stop", "close"]


def test_a_socket_without_a_camera(picamera: type[Picamera2]) -> None:
    with pytest.raises(VideoNotFoundError, match="libcamera sees 1 cameras"):
        open_source("csi://1")


def test_a_ribbon_cable_that_came_off(picamera: type[Picamera2]) -> None:
    picamera.stalls = True
    with open_source("csi://0", live=False) as source, pytest.raises(VideoDecodeError, match="check the ribbon cable"):
        next(source)
    (camera,) = picamera.made
    assert camera.log == ["start", "flush", "stop", "close"], "stop() would wait for the request for ever"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "video0"
    os.mkfifo(path)
    return path


def test_a_silent_device_is_waited_for_with_a_limit(device: Path) -> None:
    watch = DeviceWatch(str(device))
    descriptor = os.open(device, os.O_RDWR)
    try:
        watch.opened()
        assert watch.wait(0.01) == "silent"
        os.write(descriptor, b"x")
        assert watch.wait(PATIENCE_S) == "ready"
        os.read(descriptor, 1)
        waits: list[str] = []
        waiter = threading.Thread(target=lambda: waits.append(watch.wait(PATIENCE_S)))
        waiter.start()
        watch.interrupt()
        waiter.join(PATIENCE_S)
        assert waits == ["interrupted"]
    finally:
        watch.close()
        watch.close()
        watch.interrupt()
        os.close(descriptor)


def test_a_device_is_found_behind_its_link(device: Path) -> None:
    link = device.with_name("usb-camera-index0")
    link.symlink_to(device)
    others = os.open(device, os.O_RDWR)
    watch = DeviceWatch(str(link))
    descriptor = os.open(link, os.O_RDWR)
    try:
        watch.opened()
        assert watch._descriptor == descriptor
    finally:
        watch.close()
        os.close(descriptor)
        os.close(others)


def test_without_a_descriptor_nothing_is_waited_for(device: Path) -> None:
    watch = DeviceWatch(str(device))
    watch.opened()
    assert watch.wait(PATIENCE_S) == "ready"
    watch.interrupt()
    assert watch.wait(PATIENCE_S) == "interrupted"
    watch.close()


@pytest.mark.skipif(not list(Path("/dev").glob("video*")), reason="no V4L2 device here; v4l2loopback makes one")
def test_a_real_camera_gives_a_frame() -> None:
    with open_source(int(min(Path("/dev").glob("video*")).name[5:]), max_frames=1) as source:
        assert next(source).image.ndim == 3
