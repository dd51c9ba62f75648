"""Where the frames of a profile come from: a camera, or a recording played at a camera's rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.analysis.percentiles import PercentileSketch
from edge_vseg.analysis.profiling.playback import Playback
from edge_vseg.errors import OptionError
from edge_vseg.types import Image
from edge_vseg.video import InputOptions, Source, open_source
from edge_vseg.video.live import LatestSource, Pacer

DEFAULT_RATE = 30.0
Pace: TypeAlias = Literal["recording", "flat-out", "camera"]


@dataclass(slots=True, kw_only=True, eq=False)
class FrameFeed:
    """A source that is known to exist, and how it is read.

    Attributes:
        name: The video's name.
        pace: ``recording`` at a rate, ``flat-out`` as fast as frames are segmented, or ``camera`` at its own rate.
        sample: One frame, to warm up on.
        rate: Frames per second that arrive; ``None`` for ``flat-out``, or if a camera does not report it.
        decode: Milliseconds that frames took to decode; empty for a camera.
    """

    name: str
    pace: Pace
    sample: Image
    rate: float | None
    decode: PercentileSketch
    _video: str = ""
    _live: Source | None = None
    _fps: float = DEFAULT_RATE
    _codec_motion: bool = False
    _playback: Playback | None = None

    @property
    def rounds(self) -> int:
        """How often a recording has started again."""
        return self._playback.rounds if self._playback is not None else 0

    @contextmanager
    def frames(self) -> Iterator[Source]:
        """Open the source to read its frames; a recording starts at its first frame."""
        if self._live is not None:
            with self._live as live:
                yield live
            return

        def open_recording() -> Source:
            return open_source(self._video, live=False, codec_motion=self._codec_motion)

        self._playback = playback = Playback(open_recording, self._fps, self.decode.add)
        with playback if self.rate is None else LatestSource(playback, pacer=Pacer()) as source:
            yield source

    def close(self) -> None:
        """Release a camera that was never read."""
        if self._live is not None:
            self._live.close()


def open_feed(video: str, *, rate: float | None, flat_out: bool, codec_motion: bool) -> FrameFeed:
    """Check that a source exists and has a frame, before anything that takes time.

    Args:
        video: Anything that :func:`edge_vseg.video.open_source` takes.
        rate: Frames per second of a recording; ``None`` for its own, or 30.
        flat_out: Read a recording as fast as its frames are segmented.
        codec_motion: Whether frames must carry the motion vectors of their codec.

    Raises:
        VideoError: If it cannot be read, or has no frame.
        OptionError: If ``rate`` or ``flat_out`` is given for a camera.
    """
    # A profile ends with its camera: figures over an outage would be nobody's.
    source = open_source(video, codec_motion=codec_motion, input_options=InputOptions(reconnect=None))
    pace: Pace = "camera" if source.is_live else "flat-out" if flat_out else "recording"
    if source.is_live:
        if rate is not None or flat_out:
            source.close()
            raise OptionError(f"{source.name} is live and has its own rate; leave out --rate and --flat-out")
        sample = next(source).image
        return FrameFeed(
            name=source.name, pace=pace, sample=sample, rate=source.fps, decode=PercentileSketch(), _live=source
        )
    with source:
        fps = rate or source.fps or DEFAULT_RATE
        return FrameFeed(
            name=source.name,
            pace=pace,
            sample=next(source).image,
            rate=None if flat_out else fps,
            decode=PercentileSketch(),
            _video=video,
            _fps=fps,
            _codec_motion=codec_motion,
        )
