"""Motion to the previous frame from a decoder's vectors: which to trust, and how many frames they span."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.motion import block_field
from edge_vseg.types import MotionField, Tensor

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

logger = logging.getLogger(__name__)

DECODER_OPTIONS = {"flags2": "+export_mvs"}
"""Makes an FFmpeg decoder export its motion vectors."""

# FFmpeg's decoder names. Its VP8, VP9, HEVC and AV1 decoders accept the flag and export nothing.
_WITH_B_FRAMES = ("h264", "mpeg1video", "mpeg2video")
# These export zeros for B-frames.
_WITHOUT_B_FRAMES = ("mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h261", "h263", "h263p", "flv", "wmv1", "wmv2")

_B_FRAME = 3  # AV_PICTURE_TYPE_B
_MAX_PACKETS = 48  # H.264 reorders at most 16 frames


def check_codec(name: str, decoder: str) -> None:
    """Check that a decoder exports motion vectors.

    Args:
        name: The source, for the message.
        decoder: FFmpeg's name of the decoder.

    Raises:
        OptionError: If it exports none.
    """
    if decoder not in _WITH_B_FRAMES + _WITHOUT_B_FRAMES:
        raise OptionError(
            f"{name}: its codec {decoder} exports no motion vectors; expected one of"
            f" {', '.join(_WITH_B_FRAMES + _WITHOUT_B_FRAMES)};"
            " use optical flow (--set motion=dis), or convert the video to H.264"
        )


@dataclass(slots=True)
class _Coded:
    """A packet in decoding order, and whether its picture turned out to be a B-frame."""

    pts: int
    is_b: bool = False


class CodecMotion:
    """Turns the vectors of each decoded picture into a field to the previous picture.

    A vector points to a reference picture, which is the previous one only in streams without B-frames. The decoding
    order gives the nearest possible reference: I- and P-frames are references, and so are B-frames decoded ahead of
    their turn. The vector is divided by the distance to it, which assumes steady motion. Endpoint error at 640x360 on
    two rendered clips at 15 fps, libx264's defaults (three B-frames): 4.4 and 1.3 px; raw vectors 8.8 and 4.0, no
    motion 10.1 and 3.8, DIS 2.7 and 1.1. Without B-frames and with one reference: 2.3 and 0.7.

    Limits: which of several references a block used is unknown (the nearest is assumed), as are B-frames used as
    references in a stream without reordering (ignored). Interlaced video was not examined.
    """

    def __init__(self, decoder: str) -> None:
        """Start before the first picture.

        Args:
            decoder: FFmpeg's name of the decoder.
        """
        self._trusts_b = decoder in _WITH_B_FRAMES
        self._coded: deque[_Coded] = deque(maxlen=_MAX_PACKETS)
        self._previous: VideoFrame | None = None

    def sent(self, pts: int | None) -> None:
        """Record a packet sent to the decoder; packets without a time are ignored."""
        if pts is not None:
            self._coded.append(_Coded(pts))

    def lost(self) -> None:
        """Record that a packet gave no picture, so the next picture does not follow the last."""
        self._previous = None

    def field(self, picture: VideoFrame) -> MotionField | None:
        """The motion of a picture; call it for every picture, in display order.

        Returns:
            ``(h, w, 2)`` float32 in cells of its own size, before rotation; ``None`` without vectors to the previous
            picture: for the first one and I-frames, after a lost picture or a change of size, for damaged pictures, and
            for B-frames of decoders that export none.
        """
        previous, self._previous = self._previous, picture
        is_b = _is_b(picture)
        for coded in self._coded:
            if coded.pts == picture.pts:
                coded.is_b = is_b
        if previous is None or (previous.height, previous.width) != (picture.height, picture.width):
            return None
        if picture.is_corrupt or (is_b and not self._trusts_b):
            return None
        reach = self._reach(picture, previous)
        vectors = _vectors(picture) if reach is not None else None
        if reach is None or vectors is None:
            return None
        return block_field(vectors, (picture.height, picture.width), reach=reach)

    def _reach(self, picture: VideoFrame, previous: VideoFrame) -> float | None:
        """Time to the nearest reference, in units of the time to the previous picture; ``None`` if unknown."""
        now, then = picture.pts, previous.pts
        place = next((at for at, coded in enumerate(self._coded) if coded.pts == now), None)
        if now is None or then is None or place is None:
            # A raw stream has no times. Without reordering, the reference is the previous picture.
            return None if _is_b(picture) or _is_b(previous) else 1.0
        if then >= now or any(then < coded.pts < now for coded in self._coded):
            return None  # times went back, or a picture in between was lost
        references = [
            coded.pts
            for at, coded in enumerate(self._coded)
            if at < place and coded.pts < now and self._is_reference(at, coded)
        ]
        return (now - max(references)) / (now - then) if references else None

    def _is_reference(self, place: int, coded: _Coded) -> bool:
        return not coded.is_b or any(later.pts < coded.pts for at, later in enumerate(self._coded) if at > place)


def _is_b(picture: VideoFrame) -> bool:
    return int(picture.pict_type) == _B_FRAME


def _vectors(picture: VideoFrame) -> Tensor | None:
    try:
        vectors = picture.side_data.get("MOTION_VECTORS")
    except ValueError as exc:
        # PyAV fails on all side data of a picture if it does not know one of its kinds.
        logger.debug("side data cannot be read: %s", exc)
        return None
    return None if vectors is None else vectors.to_ndarray()


def rotate_field(field: MotionField, rotation: int) -> MotionField:
    """Rotate a field along with its picture.

    Args:
        field: ``(h, w, 2)`` float32.
        rotation: Rotation code of :func:`cv2.rotate`.

    Returns:
        ``(h, w, 2)`` or ``(w, h, 2)`` float32.
    """
    dx, dy = np.moveaxis(np.asarray(cv2.rotate(field, rotation), np.float32), -1, 0)
    match rotation:
        case cv2.ROTATE_90_CLOCKWISE:
            return np.stack((-dy, dx), axis=-1)
        case cv2.ROTATE_90_COUNTERCLOCKWISE:
            return np.stack((dy, -dx), axis=-1)
        case _:
            return np.stack((-dx, -dy), axis=-1)
