"""A recording that never ends, and where a profile's frames come from."""

from __future__ import annotations

import functools
import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from edge_vseg.analysis.profiling import frame_feed as feeds
from edge_vseg.analysis.profiling.frame_feed import DEFAULT_RATE, open_feed
from edge_vseg.analysis.profiling.playback import Playback
from edge_vseg.errors import NoFramesError, OptionError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video import InputOptions, Source, open_source

FRAMES = 12


class Moving(Source):
    """Three frames, or none, each with the motion of a codec; and whether it was closed."""

    def __init__(self, frames: int = 3) -> None:
        super().__init__(name="moving")
        self.closed = False
        self._left = [Frame(image=np.zeros((4, 6, 3), np.uint8), seq=n, capture_ns=0) for n in range(frames)]

    @property
    def fps(self) -> float:
        return 10.0

    def _expected_frames(self) -> int:
        return len(self._left)

    def _read(self) -> Frame | None:
        motion = np.ones((2, 3, 2), np.float32)
        return Frame(image=frame.image, seq=frame.seq, capture_ns=0, motion=motion) if (frame := self._next()) else None

    def _next(self) -> Frame | None:
        return self._left.pop(0) if self._left else None

    def _release(self) -> None:
        self.closed = True


def test_playback_loops(clip: Path) -> None:
    told: list[float] = []
    images = [frame.image for frame in open_source(clip)]
    with Playback(lambda: open_source(clip), 8.0, told.append) as playback:
        before = time.monotonic_ns()
        frames = list(itertools.islice(playback, 2 * FRAMES + 3))
        assert (playback.rounds, playback.fps, playback.frame_count, playback.name) == (2, 8.0, None, str(clip))
    assert [frame.seq for frame in frames] == list(range(2 * FRAMES + 3))
    assert [frame.pts_ns for frame in frames] == [number * 125_000_000 for number in range(2 * FRAMES + 3)]
    assert all(np.array_equal(frame.image, images[frame.seq % FRAMES]) for frame in frames)
    captures = [frame.capture_ns for frame in frames]
    assert captures == sorted(captures)
    assert before <= captures[0]
    assert captures[-1] <= time.monotonic_ns()
    assert len(told) == len(frames)
    assert all(0 < milliseconds < 1e4 for milliseconds in told)


def test_no_motion_vectors_across_the_loop() -> None:
    opened = [Moving() for _ in range(4)]
    waiting = iter(opened)
    with Playback(lambda: next(waiting), 10.0, lambda ms: None) as playback:
        frames = list(itertools.islice(playback, 7))
        assert [frame.motion is None for frame in frames] == [False, False, False, True, False, False, True]
        assert [source.closed for source in opened] == [True, True, False, False], "the next one is open already"
    assert all(source.closed for source in opened)


def test_a_recording_without_frames_raises_and_is_opened_once() -> None:
    opened: list[Moving] = []

    def opener() -> Source:
        opened.append(Moving(0))
        return opened[-1]

    with pytest.raises(NoFramesError), Playback(opener, 10.0, lambda ms: None) as playback:
        next(playback)
    assert len(opened) == 1


def test_a_recording_deleted_during_playback(clip: Path, tmp_path: Path) -> None:
    path = shutil.copy(clip, tmp_path / "gone.mp4")
    with Playback(lambda: open_source(path), 10.0, lambda ms: None) as playback:
        frames = list(itertools.islice(playback, FRAMES))
        path.unlink()
        with pytest.raises(VideoNotFoundError):
            next(playback)
    assert len(frames) == FRAMES


def test_what_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(VideoNotFoundError):
        open_feed(str(tmp_path / "none.mp4"), rate=None, flat_out=False, codec_motion=False)


@pytest.mark.parametrize(
    ("rate", "flat_out", "expected"),
    [(None, False, 30.0), (12.5, False, 12.5), (None, True, None)],
    ids=["its own", "another", "as fast as they are done"],
)
def test_the_rate_of_a_recording(clip: Path, rate: float | None, flat_out: bool, expected: float | None) -> None:
    feed = open_feed(str(clip), rate=rate, flat_out=flat_out, codec_motion=False)
    assert (feed.rate, feed.name) == (expected, str(clip))
    feed.close()


def test_images_without_times_come_at_the_usual_rate(tmp_path: Path) -> None:
    import cv2

    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 6, 3), number, np.uint8))
    assert open_feed(str(tmp_path), rate=None, flat_out=False, codec_motion=False).rate == DEFAULT_RATE


@pytest.mark.parametrize("rate", [None, 400.0], ids=["flat out", "paced"])
def test_a_feed_gives_frames_and_counts_rounds_and_decoding(clip: Path, rate: float | None) -> None:
    feed = open_feed(str(clip), rate=rate, flat_out=rate is None, codec_motion=False)
    with feed.frames() as frames:
        seqs = [frame.seq for frame in itertools.islice(frames, 30)]
    assert seqs == (list(range(30)) if rate is None else sorted(set(seqs)))
    assert feed.rounds >= 2
    assert feed.decode.count >= 30


@pytest.fixture
def camera(clip: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """The clip as a live source, which is all that makes a camera; and those that were opened."""
    opened: list[Source] = []

    @functools.wraps(open_source)
    def open_camera(source: str, *, codec_motion: bool, input_options: InputOptions) -> Source:
        assert input_options.reconnect is None, "a profile would go on while its camera is away"
        opened.append(open_source(source, live=True, codec_motion=codec_motion))
        return opened[-1]

    monkeypatch.setattr(feeds, "open_source", open_camera)
    return opened


@pytest.mark.parametrize(("rate", "flat_out"), [(15.0, False), (None, True)], ids=["rate", "flat-out"])
def test_a_camera_has_its_own_rate(clip: Path, camera: list[Source], rate: float | None, flat_out: bool) -> None:
    with pytest.raises(OptionError, match=r"clip\.mp4 is live and has its own rate"):
        open_feed(str(clip), rate=rate, flat_out=flat_out, codec_motion=False)
    assert list(camera[0]) == [], "it was let go"


def test_a_camera_is_opened_once_and_decodes_nothing(clip: Path, camera: list[Source]) -> None:
    feed = open_feed(str(clip), rate=None, flat_out=False, codec_motion=False)
    with feed.frames() as frames:
        assert frames is camera[0]
        assert next(frames).image.shape == (48, 64, 3)
    assert (feed.rate, feed.rounds, feed.decode.count, len(camera)) == (30, 0, 0, 1)
    feed.close()


def test_a_camera_that_is_never_read_is_let_go(clip: Path, camera: list[Source]) -> None:
    open_feed(str(clip), rate=None, flat_out=False, codec_motion=False).close()
    assert list(camera[0]) == []
