"""Where the frames of a profile come from: a camera, or a recording played like one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.analysis.profiling.durations import Durations
from edge_vseg.analysis.profiling.playback import Playback
from edge_vseg.errors import OptionError
from edge_vseg.types import Image
from edge_vseg.video import Source, open_source
from edge_vseg.video.live import LatestSource, Pacer

DEFAULT_RATE = 30.0
Pace: TypeAlias = Literal["recording", "flat-out", "camera"]


@dataclass(slots=True, kw_only=True, eq=False)
class Feed:
    """A source that is known to be there, and how it is read.

    Attributes:
        name: For people.
        pace: ``recording`` at a rate, ``flat-out``, or ``camera`` for what has a pace of its own.
        sample: A frame, for the first runs.
        rate: Frames a second that come; ``None`` if they are taken as fast as they are done, or nobody knows.
        decode: Milliseconds that frames took to decode; nothing for a camera.
    """

    name: str
    pace: Pace
    sample: Image
    rate: float | None
    decode: Durations
    _video: str = ""
    _live: Source | None = None
    _fps: float = DEFAULT_RATE
    _codec_motion: bool = False
    _playback: Playback | None = None

    @property
    def rounds(self) -> int:
        """Times that a recording has begun anew."""
        return self._playback.rounds if self._playback is not None else 0

    @contextmanager
    def frames(self) -> Iterator[Source]:
        """Begin to read; a recording begins at its first frame."""
        if self._live is not None:
            with self._live as live:
                yield live
            return

        def opener() -> Source:
            return open_source(self._video, live=False, codec_motion=self._codec_motion)

        self._playback = playback = Playback(opener, self._fps, self.decode.add)
        with playback if self.rate is None else LatestSource(playback, pacer=Pacer()) as source:
            yield source

    def close(self) -> None:
        """Let a camera go that was never read."""
        if self._live is not None:
            self._live.close()


def find_feed(video: str, *, rate: float | None, flat_out: bool, codec_motion: bool) -> Feed:
    """MotionObservation whether a source is there, before anything that takes time.

    Args:
        video: Anything that :func:`edge_vseg.video.open_source` takes.
        rate: Frames a second for a recording; ``None`` for its own, or 30.
        flat_out: Take frames of a recording as fast as they are done, instead.
        codec_motion: Whether frames have to bring the motion of their codec.

    Raises:
        VideoError: If it cannot be read, or has no frame.
        OptionError: If a camera is asked for another rate than its own.
    """
    source = open_source(video, codec_motion=codec_motion)
    pace: Pace = "camera" if source.is_live else "flat-out" if flat_out else "recording"
    if source.is_live:
        if rate is not None or flat_out:
            source.close()
            raise OptionError(f"{source.name} comes at its own rate; leave out --rate and --flat-out")
        sample = next(source).image
        return Feed(name=source.name, pace=pace, sample=sample, rate=source.fps, decode=Durations(), _live=source)
    with source:
        fps = rate or source.fps or DEFAULT_RATE
        return Feed(
            name=source.name,
            pace=pace,
            sample=next(source).image,
            rate=None if flat_out else fps,
            decode=Durations(),
            _video=video,
            _fps=fps,
            _codec_motion=codec_motion,
        )
