"""What a service is to read, and the commands that systemd is told: checked without a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vseg.cli import service_files
from edge_vseg.cli.service_source import check_service_source
from edge_vseg.errors import OptionError, VideoNotFoundError


def test_sources_are_told_apart(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    recording = check_service_source(clip.name)
    assert recording.address == str(clip)
    assert recording.paths == (clip,)
    assert "--repeat" in recording.warnings[0]
    played = check_service_source(f"file:{clip.name}?live")
    assert played.address == f"file:{clip}?live"
    plain = check_service_source("rtsp://cam.local:554/live")
    assert not plain.secret
    assert not plain.is_local
    assert check_service_source("http://cam/x?pwd=1").secret
    assert check_service_source("gst:rtspsrc location=rtsp://a:b@c ! decodebin ! videoconvert").secret
    assert check_service_source("csi://0").devices == "all"
    topic = check_service_source("ros2:/camera/image_raw?domain=3")
    assert (topic.address, topic.shown) == ("ros2:/camera/image_raw?domain=3", "ros2:/camera/image_raw")
    assert (topic.is_local, topic.secret, topic.devices, topic.paths, topic.warnings) == (False, False, "none", (), ())
    assert check_service_source("ros2:/camera/image_raw?interface=lo").is_local
    named = check_service_source("v4l2:///dev/video-front?video_size=640x480")
    assert named.address == "v4l2:///dev/video-front?video_size=640x480"
    assert named.devices == "cameras"
    assert "/dev/video-front" in named.warnings[0]
    with pytest.raises(VideoNotFoundError):
        check_service_source("nowhere.mp4")
    with pytest.raises(OptionError):
        check_service_source("-")


def test_a_command_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="`ls /nowhere-at-all` failed: .*No such file"):
        service_files._run(["ls", "/nowhere-at-all"])
    monkeypatch.setattr(service_files, "_COMMAND_S", 0.1)
    with pytest.raises(OptionError, match="`sleep 9` did not end within 0.1 s; run it by hand"):
        service_files._run(["sleep", "9"])
