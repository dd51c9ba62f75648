"""Motion to the frame before out of a decoder: which vectors can be trusted, and how far they reach."""

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
"""What makes a decoder of FFmpeg export its vectors."""

# FFmpeg's names. Its decoders of VP8, VP9, HEVC and AV1 take the flag and export nothing.
_BOTH_WAYS = ("h264", "mpeg1video", "mpeg2video")
# These export zeros for B-frames.
_FORWARD = ("mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h261", "h263", "h263p", "flv", "wmv1", "wmv2")

_B_FRAME = 3  # AV_PICTURE_TYPE_B
_REMEMBERED = 48  # packets; H.264 holds 16 frames at most


def check_codec(name: str, decoder: str) -> None:
    """Refuse a decoder that exports no vectors.

    Args:
        name: The source, for people.
        decoder: FFmpeg's name of the decoder.

    Raises:
        OptionError: If it exports none.
    """
    if decoder not in _BOTH_WAYS + _FORWARD:
        raise OptionError(
            f"{name}: its codec {decoder} tells no motion; expected {', '.join(_BOTH_WAYS + _FORWARD)}."
            " Have motion estimated from the pictures (--set motion=dis), or convert the video to H.264"
        )


@dataclass(slots=True)
class _Coded:
    """A packet in decoding order, and the type of its picture once that is out."""

    pts: int
    is_b: bool = False


class CodecMotion:
    """Turns the vectors of each decoded picture into a field to the picture before.

    A vector points to a reference picture, which is the one before only in streams without B-frames. The nearest
    reference that can be meant is known from the order of decoding: I- and P-frames are references, and so are
    B-frames that were decoded ahead of their turn. The vector is divided by how many steps away that one is, as if
    the motion were even in between. Endpoint error at 640x360 on two rendered clips at 15 fps, libx264's defaults
    (three B-frames): 4.4 and 1.3 px; the vectors as they are 8.8 and 4.0, no motion 10.1 and 3.8, DIS 2.7 and 1.1.
    Without B-frames and with one reference: 2.3 and 0.7.

    What cannot be known: which of several references a block used (the nearest is assumed); B-frames as references
    in a stream that does not reorder (taken for none). Interlaced video was not examined.
    """

    def __init__(self, decoder: str) -> None:
        """Start with no picture seen.

        Args:
            decoder: FFmpeg's name of the decoder.
        """
        self._trusts_b = decoder in _BOTH_WAYS
        self._coded: deque[_Coded] = deque(maxlen=_REMEMBERED)
        self._before: VideoFrame | None = None

    def sent(self, pts: int | None) -> None:
        """Note a packet that goes into the decoder; none but those with a time are of use."""
        if pts is not None:
            self._coded.append(_Coded(pts))

    def lost(self) -> None:
        """Note that a packet gave no picture, so the next one does not follow the last."""
        self._before = None

    def field(self, picture: VideoFrame) -> MotionField | None:
        """The motion of a picture, to be asked for each in the order of display.

        Returns:
            ``(h, w, 2)`` float32 in cells of its own size, of the picture as it is stored; ``None`` where the codec
            has none, or none to the picture before: for the first one and I-frames, after a picture that was lost or
            has another size, in one that is damaged, in B-frames of codecs whose decoders export none.
        """
        before, self._before = self._before, picture
        is_b = _is_b(picture)
        for coded in self._coded:
            if coded.pts == picture.pts:
                coded.is_b = is_b
        if before is None or (before.height, before.width) != (picture.height, picture.width):
            return None
        if picture.is_corrupt or (is_b and not self._trusts_b):
            return None
        reach = self._reach(picture, before)
        vectors = _vectors(picture) if reach is not None else None
        if reach is None or vectors is None:
            return None
        return block_field(vectors, (picture.height, picture.width), reach=reach)

    def _reach(self, picture: VideoFrame, before: VideoFrame) -> float | None:
        """Time to the nearest reference, in units of the time to the picture before; ``None`` if it is unknown."""
        now, then = picture.pts, before.pts
        place = next((at for at, coded in enumerate(self._coded) if coded.pts == now), None)
        if now is None or then is None or place is None:
            # A bare stream has no times. Where nothing was reordered, the reference is the picture before.
            return None if _is_b(picture) or _is_b(before) else 1.0
        if then >= now or any(then < coded.pts < now for coded in self._coded):
            return None  # times go back, or a picture between the two was lost
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
        # PyAV gives up on all side data of a picture if there is a kind among it that it does not know.
        logger.debug("side data cannot be read: %s", exc)
        return None
    return None if vectors is None else vectors.to_ndarray()


def turned(field: MotionField, turn: int) -> MotionField:
    """The field of a picture that was turned by :func:`cv2.rotate`.

    Args:
        field: ``(h, w, 2)`` float32.
        turn: The code for OpenCV.

    Returns:
        ``(h, w, 2)`` or ``(w, h, 2)`` float32.
    """
    dx, dy = np.moveaxis(np.asarray(cv2.rotate(field, turn), np.float32), -1, 0)
    match turn:
        case cv2.ROTATE_90_CLOCKWISE:
            return np.stack((-dy, dx), axis=-1)
        case cv2.ROTATE_90_COUNTERCLOCKWISE:
            return np.stack((dy, -dx), axis=-1)
        case _:
            return np.stack((-dx, -dy), axis=-1)
