"""``edge-vseg record`` and ``edge-vseg ros2``: what they write and refuse; the node itself is tested in tests/ros2."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from edge_vseg import Segmenter, open_source
from edge_vseg.errors import RecordingError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.recording import McapWriter

Cli = Callable[..., Any]
START_NS = 1_600_000_000_250_000_000


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Log time and message by topic, decoded by mcap-ros2-support."""
    found: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    with path.open("rb") as stream:
        for each in make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages():
            found[each.channel.topic].append((each.message.log_time, each.decoded_message))
    return found


def test_records_labels_overlay_classes_and_diagnostics(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    out, before_ns = tmp_path / "out.mcap", time.time_ns()
    shown = cli("record", reference_bundle, clip, out, "--camera", "--runtime", "reference", "--json")
    assert shown.code == 0
    assert shown.json() == {"output": str(out), "frames": 12, "messages": 38, "complete": True, "damaged": None}
    with open_source(out) as frames:
        assert frames.topic == "/edge_vseg/camera/compressed", "not what was made of it"
    found = read(out)
    pictures = ("/edge_vseg/labels", "/edge_vseg/overlay/compressed", "/edge_vseg/camera/compressed")
    assert {topic: len(messages) for topic, messages in found.items()} == {
        **dict.fromkeys(pictures, 12),
        "/edge_vseg/label_info": 1,
        "/diagnostics": 1,
    }
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter, open_source(clip) as frames:
        for frame, (log_ns, labels) in zip(frames, found["/edge_vseg/labels"], strict=True):
            np.testing.assert_array_equal(np.frombuffer(labels.data, np.uint8).reshape(48, 64), segmenter(frame).labels)
            assert log_ns == labels.header.stamp.sec * 10**9 + labels.header.stamp.nanosec
            assert frame.pts_ns is not None
            assert 0 <= log_ns - frame.pts_ns - before_ns < 60 * 10**9
    times = [log_ns for log_ns, _ in found["/edge_vseg/labels"]]
    assert np.diff(times) == pytest.approx(1e9 / 30, rel=0.01)
    jpeg = np.frombuffer(found["/edge_vseg/camera/compressed"][3][1].data, np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == (48, 64, 3)


def test_a_recorded_topic_keeps_its_stamps(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    with McapWriter(source) as writer:
        for number in range(5):
            stamp_ns = START_NS + number * 1_500_000_000
            header = ros.Header(stamp=ros.Time.from_ns(stamp_ns), frame_id="front_optical")
            writer.write("/cam", raw_image(np.full((48, 64, 3), 40 * number, np.uint8), "bgr8", header), stamp_ns + 9)
    shown = cli("record", reference_bundle, f"{source}:/cam", out, "--no-overlay", "--runtime", "reference")
    assert shown.code == 0
    found = read(out)
    assert set(found) == {"/edge_vseg/labels", "/edge_vseg/label_info", "/diagnostics"}
    with pytest.raises(RecordingError, match=r"no images of a camera, only what .* on /edge_vseg/labels;"):
        open_source(out)
    with open_source(f"{out}:/edge_vseg/labels") as frames:
        assert len(list(frames)) == 5
    assert [log_ns for log_ns, _ in found["/edge_vseg/labels"]] == [START_NS + n * 1_500_000_000 for n in range(5)]
    assert {message.header.frame_id for _, message in found["/edge_vseg/labels"]} == {"front_optical"}
    assert len(found["/diagnostics"]) == 5


@pytest.mark.parametrize("option", ["-o", "--stats"])
@pytest.mark.parametrize("source", ["{}", "file:{}"], ids=["path", "address"])
def test_run_does_not_replace_its_source(
    option: str, source: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    path, link = tmp_path / "my drive.mp4", tmp_path / "link.mp4"
    path.write_bytes(clip.read_bytes())
    link.symlink_to(path)
    for output in (path, link):
        shown = cli("run", reference_bundle, source.format(path), option, output, "--force")
        assert (shown.code, f"{output} is the source; give another name" in shown.err) == (1, True)
    assert path.read_bytes() == clip.read_bytes()


def test_a_source_whose_end_is_missing_is_told(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.mcap", tmp_path / "out.mcap"
    write_camera(source)
    source.write_bytes(source.read_bytes()[:-100])  # its summary
    words = ("record", reference_bundle, source, out, "--runtime", "reference", "--force")
    tree = cli(*words, "--json").json()
    assert (tree["frames"], tree["complete"]) == (1, True)
    assert "the end is missing" in tree["damaged"]
    assert "the end is missing" in cli(*words).out


@pytest.mark.parametrize("named", ["{}", "{}:/cam"], ids=["file", "topic"])
def test_the_source_is_not_replaced(named: str, cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mcap"
    write_camera(source)
    before = source.read_bytes()
    (tmp_path / "link.mcap").symlink_to(source)
    for output in (source, tmp_path / "link.mcap"):
        again = cli("record", reference_bundle, named.format(source), output, "--force", "--runtime", "reference")
        assert again.code == 1
        assert "is the source" in again.err
    assert source.read_bytes() == before


@pytest.mark.parametrize("named", ["{}", "{}:/cam"], ids=["folder", "topic"])
def test_a_rosbag2_folder_keeps_its_files(named: str, cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rosbag2"
    folder.mkdir()
    write_camera(folder / "part_0.mcap")
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  relative_file_paths: [part_0.mcap]\n")
    before = (folder / "part_0.mcap").read_bytes()
    words = (named.format(folder), folder / "part_0.mcap", "--force", "--runtime", "reference")
    refused = cli("record", reference_bundle, *words)
    assert refused.code == 1
    assert "lies in the recording that is read" in refused.err
    assert (folder / "part_0.mcap").read_bytes() == before


def write_camera(path: Path) -> None:
    with McapWriter(path) as writer:
        writer.write(
            "/cam", raw_image(np.zeros((48, 64, 3), np.uint8), "bgr8", ros.Header(stamp=ros.Time(sec=1))), START_NS
        )


def test_refusals(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    shown = cli("record", reference_bundle, clip, tmp_path / "out.bag", "--runtime", "reference")
    assert (shown.code, "ends in .mcap" in shown.err) == (1, True)
    (tmp_path / "old.mcap").write_text("old")
    shown = cli("record", reference_bundle, clip, tmp_path / "old.mcap", "--runtime", "reference")
    assert (shown.code, "--force" in shown.err) == (1, True)
    for wrong, message in (
        (["--image", "/a b"], "is not a topic name"),
        (["--image", "/cam", "--domain", 500], "0 to 232"),
        (["--image", "/cam", "--homography", tmp_path / "none.json"], "at least four points"),
        (["--image", "/cam", "--uncertainty-encoding", "64FC1"], "32FC1 or mono8"),
        (["--image", "/cam", "--cpu-share", 0.5], "--deadline-ms"),
        (["--image", "/cam", "--free", "road", "--resolution", 0.2], "--free, --resolution: of the ground plane"),
    ):
        shown = cli("ros2", reference_bundle, "--runtime", "reference", *wrong)
        assert shown.code == 1
        assert message in shown.err
    assert cli("ros2", reference_bundle).code == 2


def test_a_missing_package_is_named(cli: Cli, reference_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedds.core", None)
    shown = cli("ros2", reference_bundle, "--image", "/cam", "--runtime", "reference")
    assert shown.code == 1
    assert "pip install 'edge-vseg[ros2]'" in shown.err


def test_the_commands_load_their_packages_when_they_run() -> None:
    code = "import edge_vseg.cli.app, sys; print([m for m in ('cyclonedds', 'rclpy', 'mcap') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_ctrl_c_leaves_a_complete_file(reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    """Stopped in the middle; the frames come at the pace of a camera, so that the middle lasts."""
    out = tmp_path / "out.mcap"
    code = (
        "import sys, time, edge_vseg.cli.record as record; opened = record.open_source;\n"
        "record.open_source = lambda *a, **k: opened(sys.argv[3], live=True, image_fps=1)\n"
        "from edge_vseg.cli import main; main()"
    )
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(100):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "record", reference_bundle, folder, out, "--runtime", "reference"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if list(tmp_path.glob(".out.mcap.*.part")):
            break
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "messages in" in shown
    assert 1 <= len(read(out)["/edge_vseg/labels"]) < 100
