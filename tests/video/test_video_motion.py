"""The codec's motion against videos whose true motion is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scripted_source import PATIENCE_S, ScriptedSource
from synthetic_video import numbered, write_video

from edge_vseg.errors import OptionError
from edge_vseg.motion import motion_estimator, resize_field
from edge_vseg.types import Frame
from edge_vseg.video import open_source
from edge_vseg.video.codec_motion import DECODER_OPTIONS, CodecMotion, rotate_field
from edge_vseg.video.frame_buffer import FrameBuffer
from edge_vseg.video.live import LatestSource
from edge_vseg.video.options import BufferOptions

SIZE_HW = (128, 192)
COUNT = 14
STEP = (4, -3)
"""What is at (x, y) was at (x + 4, y - 3) a frame before: pixels."""

I_FRAME, B_FRAME = 1, 3
NO_B = {
    "mpeg4": {"bf": "0", "g": "6"},
    "mpeg2video": {"bf": "0", "g": "6"},
    "libx264": {"x264-params": "bframes=0:ref=1:keyint=6:min-keyint=6:scenecut=0"},
}
WITH_B = {
    "mpeg4": {"bf": "2", "g": "100"},
    "mpeg2video": {"bf": "2", "g": "100"},
    "libx264": {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:ref=1:scenecut=0:keyint=100"},
}


@pytest.fixture(scope="module")
def pan() -> list[np.ndarray]:
    """A camera that pans over a texture."""
    rng = np.random.default_rng(5)
    height, width = SIZE_HW[0] + COUNT * abs(STEP[1]), SIZE_HW[1] + COUNT * abs(STEP[0])
    coarse = cv2.resize(rng.integers(0, 255, (20, 28, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    wide = cv2.GaussianBlur(cv2.add(coarse, rng.integers(0, 60, (height, width, 3), np.uint8)), (0, 0), 1.0)
    # Content goes left by 4 and down by 3 each frame, so the window goes right and up.
    corners = [(STEP[0] * i, (COUNT - i) * -STEP[1]) for i in range(COUNT)]
    return [np.ascontiguousarray(wide[y : y + SIZE_HW[0], x : x + SIZE_HW[1]]) for x, y in corners]


def read(path: Path) -> list[Frame]:
    with open_source(path, codec_motion=True) as source:
        return list(source)


def types_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [int(picture.pict_type) for picture in container.decode(video=0)]


def median_error(frame: Frame, there: np.ndarray | Sequence[float] = STEP) -> float:
    """Endpoint error in pixels; the border is left out, since what was outside has no motion to be found."""
    assert frame.motion is not None
    pixels = resize_field(frame.motion, frame.image.shape[:2])
    return float(np.median(np.linalg.norm(pixels - np.asarray(there), axis=-1)[16:-16, 16:-16]))


@pytest.mark.parametrize("codec", NO_B)
def test_codec_motion_matches_the_true_motion(codec: str, pan: list[np.ndarray], tmp_path: Path) -> None:
    path = write_video(tmp_path / "pan.mkv", pan, codec=codec, options=NO_B[codec])
    intra = [i for i, kind in enumerate(types_of(path)) if kind == I_FRAME]
    frames = read(path)
    # FFmpeg's decoder of MPEG-2 drains its last frame without vectors.
    last = [COUNT - 1] if codec == "mpeg2video" else []
    assert [frame.seq for frame in frames if frame.motion is None] == sorted({*intra, *last})
    assert len(intra) == 3
    for frame in frames:
        if frame.motion is not None:
            assert frame.motion.shape == (16, 24, 2)
            assert median_error(frame) < 0.5


def test_codec_motion_agrees_with_optical_flow(pan: list[np.ndarray], tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "pan.mp4", pan, options=NO_B["libx264"]))
    greys = [cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY) for frame in frames[1:3]]
    flow = motion_estimator("dis-fine")(greys[1], greys[0])
    assert median_error(frames[2], flow) < 0.5


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_vectors_of_b_frames_are_scaled(codec: str, pan: list[np.ndarray], tmp_path: Path) -> None:
    path = write_video(tmp_path / "pan.mkv", pan, codec=codec, options=WITH_B[codec])
    assert B_FRAME in types_of(path)
    errors = [median_error(frame) for frame in read(path) if frame.motion is not None]
    assert len(errors) >= COUNT - 2
    assert max(errors) < 1.0


def test_mpeg4_b_frames_have_no_motion(pan: list[np.ndarray], tmp_path: Path) -> None:
    path = write_video(tmp_path / "pan.mkv", pan, codec="mpeg4", options=WITH_B["mpeg4"])
    types, frames = types_of(path), read(path)
    assert B_FRAME in types
    # The last one comes without vectors when FFmpeg's decoder is drained.
    for kind, frame in list(zip(types, frames, strict=True))[:-1]:
        assert (frame.motion is None) == (kind in {I_FRAME, B_FRAME})
    assert max(median_error(frame) for frame in frames if frame.motion is not None) < 1.0


def test_a_raw_stream_without_times_has_motion_only_without_b_frames(pan: list[np.ndarray], tmp_path: Path) -> None:
    plain = read(write_video(tmp_path / "plain.h264", pan, options=NO_B["libx264"], container_format="h264"))
    assert [frame.seq for frame in plain if frame.motion is None] == [0, 6, 12]
    assert max(median_error(frame) for frame in plain if frame.motion is not None) < 0.5
    path = write_video(tmp_path / "b.h264", pan, options=WITH_B["libx264"], container_format="h264")
    types = types_of(path)
    for before, kind, frame in zip(types, types[1:], read(path)[1:], strict=False):
        assert (frame.motion is None) == (B_FRAME in {before, kind})


def test_motion_points_to_the_previous_frame_of_the_source(pan: list[np.ndarray], tmp_path: Path) -> None:
    """As if one picture could not be decoded: what follows has none, and what follows that has."""
    path = write_video(tmp_path / "pan.mp4", pan, options=NO_B["libx264"])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = DECODER_OPTIONS
        motion = CodecMotion("h264")
        fields = {}
        for packet in container.demux(stream):
            motion.sent(packet.pts)
            for number, picture in enumerate(stream.decode(packet), start=len(fields)):
                fields[number] = None if number == 2 else motion.field(picture)
    assert [number for number, field in fields.items() if field is None] == [0, 2, 3, 6, 12]


def test_no_motion_by_default(pan: list[np.ndarray], tmp_path: Path) -> None:
    with open_source(write_video(tmp_path / "pan.mp4", pan[:3])) as source:
        assert [frame.motion for frame in source] == [None] * 3


@pytest.mark.parametrize("codec", ["ffv1", "libvpx-vp9"])
def test_a_codec_without_vectors_is_refused(codec: str, tmp_path: Path) -> None:
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {}
    path = write_video(tmp_path / "clip.mkv", [numbered(0), numbered(1)], codec=codec, options=options)
    with pytest.raises(OptionError, match=r"exports no motion vectors.*h264.*--set motion=dis"):
        open_source(path, codec_motion=True)


@pytest.mark.parametrize("several", [False, True])
def test_images_are_refused(several: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), numbered(1))
    with pytest.raises(OptionError, match=r"images have no codec.*--set motion=dis"):
        open_source([path] if several else tmp_path, codec_motion=True)


@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_a_field_rotates_with_its_picture(turn: int) -> None:
    present = np.random.default_rng(1).integers(0, 255, (12, 20), np.uint8)
    moves = np.zeros((12, 20, 2), np.float32)
    moves[:, :10], moves[:, 10:] = (3, 1), (-2, 4)
    before = np.zeros_like(present)
    for y, x in np.ndindex(present.shape):
        dx, dy = moves[y, x].astype(int)
        before[(y + dy) % 12, (x + dx) % 20] = present[y, x]
    x, y = np.meshgrid(np.arange(20), np.arange(12))
    seen = before[(y + moves[..., 1].astype(int)) % 12, (x + moves[..., 0].astype(int)) % 20] == present
    present, before, seen = (cv2.rotate(a, turn) for a in (present, before, seen.astype(np.uint8)))
    there = rotate_field(moves, turn).astype(int)
    height, width = present.shape
    assert there.shape == (height, width, 2)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    moved = before[(y + there[..., 1]) % height, (x + there[..., 0]) % width]
    np.testing.assert_array_equal(moved[seen == 1], present[seen == 1])


def test_vectors_over_dropped_frames_are_the_motion_over_all_of_them(pan: list[np.ndarray], tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "pan.mp4", pan[:6], options=NO_B["libx264"]))
    buffer = FrameBuffer(BufferOptions())
    for frame in frames[:2]:
        buffer.put(frame)
    buffer.take()
    for frame in frames[2:6]:
        buffer.put(frame)
    taken = buffer.take()
    assert taken is not None
    assert (taken.seq, taken.motion_to) == (5, 1)
    assert median_error(taken, 4 * np.asarray(STEP)) < 1.0
    assert median_error(frames[5], 4 * np.asarray(STEP)) > 10, "the last frame's own vectors would have done"


@pytest.fixture
def gates() -> Iterator[list[threading.Event]]:
    events = [threading.Event() for _ in range(3)]
    yield events
    for event in events:
        event.set()


def test_motion_leads_over_a_dropped_frame(gates: list[threading.Event]) -> None:
    def frame(seq: int) -> Frame:
        image, motion = np.zeros((8, 8, 3), np.uint8), np.full((1, 1, 2), seq, np.float32)
        return Frame(image=image, seq=seq, capture_ns=0, motion=motion)

    script = ScriptedSource(frame(0), gates[0], frame(1), frame(2), gates[1], frame(3), gates[2])
    with LatestSource(script) as source:
        given = []
        for gate in gates:
            assert script.reached_gate.wait(PATIENCE_S)
            given.append(next(source))
            script.reached_gate.clear()
            gate.set()
    assert [frame.seq for frame in given] == [0, 2, 3]
    assert [None if frame.motion is None else frame.motion.max() for frame in given] == [0, 1 + 2, 3]
    assert [frame.motion_to for frame in given] == [None, 0, None]
