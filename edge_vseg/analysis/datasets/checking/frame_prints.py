"""Fingerprints of images: equal ones, and those that look alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image

SIDE = 16
ALIKE_BITS = 12
"""Of 256 bits: a picture saved again, or at another size, differs in a few, and the next frame of a drive in dozens."""
MIN_CONTRAST = 4.0
"""Standard deviation of the grey levels below which everything looks alike."""
_CHUNK = 256
_BITS = np.array([number.bit_count() for number in range(256)], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrint:
    """An image, to be compared with others.

    Attributes:
        name: Its name.
        digest: Of its pixels: equal images have the same.
        look: 256 bits, ``(32,)`` uint8; images that look alike have nearly the same. ``None`` without contrast.
    """

    name: str
    digest: bytes
    look: NDArray[np.uint8] | None

    @classmethod
    def of(cls, name: str, image: Image) -> FramePrint:
        """The fingerprint of ``(H, W, 3)`` uint8; of the differences of neighbouring cells of a small grey copy."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
        look = np.packbits(small[:, 1:] > small[:, :-1]) if float(small.std()) >= MIN_CONTRAST else None
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        return cls(name=name, digest=digest, look=look)


def equal_pairs(prints: Sequence[FramePrint]) -> list[tuple[str, str]]:
    """Names of equal images: each with the first one like it."""
    first: dict[bytes, FramePrint] = {}
    pairs = [(first.setdefault(each.digest, each), each) for each in prints]
    return [(original.name, each.name) for original, each in pairs if original is not each]


def alike_pairs(ours: Sequence[FramePrint], theirs: Sequence[FramePrint]) -> list[tuple[str, str]]:
    """Images of one split that look like one of another, each with the one that it is most like."""
    left, right = ([each for each in prints if each.look is not None] for prints in (ours, theirs))
    if not left or not right:
        return []
    others = np.stack([each.look for each in right if each.look is not None])
    pairs = []
    for begin in range(0, len(left), _CHUNK):
        part = left[begin : begin + _CHUNK]
        looks = np.stack([each.look for each in part if each.look is not None])
        distance = _BITS[looks[:, None] ^ others[None]].sum(2, dtype=np.int32)
        nearest = distance.argmin(1)
        pairs += [
            (each.name, right[at].name)
            for each, at, bits in zip(part, nearest, distance.min(1), strict=True)
            if bits <= ALIKE_BITS
        ]
    return pairs
