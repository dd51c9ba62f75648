"""Count decoding errors while a video is read, and detect a missing end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class DamageReport:
    """Decoding errors so far.

    Attributes:
        frames: Frames decoded.
        lost: Packets that could not be decoded.
        flawed: Frames that the decoder concealed errors in; they are passed on.
        stopped: Why reading the container stopped early; empty if it did not.
        shortfall: How much of the end is missing; empty if nothing is.
    """

    frames: int = 0
    lost: int = 0
    flawed: int = 0
    stopped: str = ""
    shortfall: str = ""

    def text(self) -> str | None:
        """One sentence; ``None`` if nothing is wrong."""
        parts = []
        if self.shortfall:
            parts.append(self.shortfall)
        if self.stopped:
            parts.append(f"reading stopped: {self.stopped}")
        if self.lost:
            parts.append(f"{_frames(self.lost)} could not be decoded")
        if self.flawed:
            parts.append(f"{_frames(self.flawed)} decoded with errors")
        return f"{_frames(self.frames)} read; {'; '.join(parts)}" if parts else None


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerHeader:
    """What a container's header declares about its video stream.

    Attributes:
        frames: Number of frames; 0 if unknown.
        rate: Frames per second; ``None`` if unknown.
        stream_s: Duration of the video stream in seconds; ``None`` if unknown.
        container_s: Duration of the whole file in seconds; ``None`` if unknown.
        video_only: Whether the file has no other stream.
        has_edits: Whether the format can hide frames that it counts (MP4 edit lists).
    """

    frames: int
    rate: float | None
    stream_s: float | None
    container_s: float | None
    video_only: bool
    has_edits: bool

    def shortfall(self, packets: int, end_s: float) -> str:
        """How much of the end is missing, in words; empty if nothing is.

        Neither count nor duration is enough: the edit list of a trimmed MP4 hides frames that the header still counts,
        an AVI's duration is guessed from the file size, and the sound may outlast the video. So a file with a frame
        count is short if it misses frames *and* time; one without (Matroska, FLV) if it misses more time than the sound
        explains.

        Args:
            packets: Packets of the video stream that were read.
            end_s: Seconds from the start to the end of the last frame.
        """
        frame_s = 1 / self.rate if self.rate else 0.04
        durations = [seconds for seconds in (self.stream_s, self.container_s) if seconds is not None]
        if self.frames:
            if not self.has_edits:
                durations = [self.frames * frame_s]
            if packets < self.frames and durations and end_s < min(durations) - 2 * frame_s:
                return f"the file contains {packets} of the {self.frames} frames that its header declares"
            return ""
        if not durations:
            return ""
        declared = min(durations)
        # Where B-frames delay the first picture by two, a header may count that delay, too.
        slack = 2.5 * frame_s if self.video_only else max(1.0, 0.05 * declared)
        if end_s < declared - slack:
            return f"it ends after {end_s:.1f} s of the {declared:.1f} s that its header declares"
        return ""
