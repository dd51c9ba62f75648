"""Keeping count of what is wrong with a video while it is read, and judging whether its end is missing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class DamageReport:
    """What went wrong so far.

    Attributes:
        frames: Frames decoded.
        lost: Packets that gave no frame because they could not be decoded.
        flawed: Frames that the decoder patched up; they are passed on.
        stopped: Why the container could not be read on; empty when it could.
        shortfall: How much of the end is missing; empty when nothing is.
    """

    frames: int = 0
    lost: int = 0
    flawed: int = 0
    stopped: str = ""
    shortfall: str = ""

    def text(self) -> str | None:
        """One sentence, or ``None`` when nothing is wrong."""
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
class Promise:
    """What a container's header says about its video stream.

    Attributes:
        frames: Number of frames; 0 when it does not say.
        rate: Frames per second; ``None`` when unknown.
        stream_s: Duration of the video stream in seconds; ``None`` when unknown.
        container_s: Duration of the whole file in seconds; ``None`` when unknown.
        alone: Whether the file has no other stream.
        has_edits: Whether the format can hide frames that it counts (the edit lists of MP4).
    """

    frames: int
    rate: float | None
    stream_s: float | None
    container_s: float | None
    alone: bool
    has_edits: bool

    def shortfall(self, packets: int, end_s: float) -> str:
        """How much of the end is missing, in words; empty when nothing is.

        Neither count nor duration is proof alone: the edit list of a trimmed MP4 hides frames that the
        header still counts, an AVI's duration is guessed from the size that the file has left, and a sound
        track may outlast the picture. So a counted file is short when it misses frames *and* time, and
        an uncounted one (Matroska, FLV) when it misses time beyond what sound explains.

        Args:
            packets: Packets of the video stream that the file really holds.
            end_s: Seconds from the start to the end of the last frame.
        """
        frame_s = 1 / self.rate if self.rate else 0.04
        durations = [seconds for seconds in (self.stream_s, self.container_s) if seconds is not None]
        if self.frames:
            if not self.has_edits:
                durations = [self.frames * frame_s]
            if packets < self.frames and durations and end_s < min(durations) - 2 * frame_s:
                return f"the file holds {packets} of the {self.frames} frames that it promises"
            return ""
        if not durations:
            return ""
        promised = min(durations)
        slack = 2 * frame_s if self.alone else max(1.0, 0.05 * promised)
        if end_s < promised - slack:
            return f"it ends after {end_s:.1f} s of the {promised:.1f} s that it promises"
        return ""
