"""A bounded pool of candidate frames, filled in one pass over the sample videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.calibration.frames.descriptors import Descriptor
from edge_vseg.calibration.frames.farthest_point import farthest_point
from edge_vseg.types import Frame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A frame that may be sampled.

    Attributes:
        source: Index of its source.
        frame: The frame with its image.
        sharpness: As :func:`~edge_vseg.calibration.frames.image_quality.measure` gives it.
        descriptor: Its descriptor, for distances.
    """

    source: int
    frame: Frame
    sharpness: float
    descriptor: Descriptor


class CandidatePool:
    """As varied a set of candidates as fits into memory, chosen in one pass.

    Every candidate is kept until the pool is full. Then farthest-point sampling thins it to half, and from then on a
    candidate must be as far from all others as the remaining ones are from each other; each thinning raises that
    distance. So common scenes cannot crowd out rare ones, however long the clip.

    Reference: M. Charikar et al., Incremental clustering and dynamic information retrieval, STOC 1997 (the
    doubling algorithm); here the distance grows by thinning, not by doubling.
    """

    def __init__(self, *, max_frames: int, min_frames: int, max_bytes: int, rng: np.random.Generator) -> None:
        """Make an empty pool.

        Args:
            max_frames: Hold at most this many candidates.
            min_frames: Hold this many even if they exceed ``max_bytes``.
            max_bytes: Bytes of pixels to hold.
            rng: Draws the first point of each thinning.
        """
        self._max_frames = max_frames
        self._min_frames = min(min_frames, max_frames)
        self._max_bytes = max_bytes
        self._rng = rng
        self._candidates: list[Candidate] = []
        self._bytes = 0
        self._radius = 0.0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates in the order in which they came."""
        return tuple(self._candidates)

    def add(self, candidate: Candidate) -> None:
        """Offer a candidate; it may be refused, or displace others."""
        if self._radius > 0:
            distances = np.linalg.norm(_vectors(self._candidates) - candidate.descriptor.vector, axis=1)
            if float(distances.min()) < self._radius:
                return
        self._candidates.append(candidate)
        self._bytes += candidate.frame.image.nbytes
        if len(self._candidates) > self._max_frames or (
            self._bytes > self._max_bytes and len(self._candidates) > self._min_frames
        ):
            self._thin()

    def replace(self, old: Candidate, new: Candidate) -> None:
        """Replace a candidate by a similar one; does nothing if it is no longer in the pool."""
        for index, candidate in enumerate(self._candidates):
            if candidate is old:
                self._candidates[index] = new
                self._bytes += new.frame.image.nbytes - old.frame.image.nbytes

    def _thin(self) -> None:
        points = _vectors(self._candidates)
        # Half, but never fewer than are needed in the end.
        keep = min(len(points) - 1, max(len(points) // 2, self._min_frames - 1))
        chosen = farthest_point(points, keep, rng=self._rng)
        last = points[chosen[-1]]
        others = points[chosen[:-1]]
        if len(others):
            # The last point chosen is the closest to the others; its distance is the new minimum.
            self._radius = max(self._radius, float(np.linalg.norm(others - last, axis=1).min()))
        self._candidates = [self._candidates[index] for index in np.sort(chosen)]
        self._bytes = sum(candidate.frame.image.nbytes for candidate in self._candidates)


def _vectors(candidates: list[Candidate]) -> NDArray[np.float32]:
    return np.stack([candidate.descriptor.vector for candidate in candidates])


class DuplicateReserve:
    """A few near-duplicates, evenly spread over time, for clips that have too few distinct frames."""

    def __init__(self, max_frames: int) -> None:
        """Make an empty reserve.

        Args:
            max_frames: Hold at most this many.
        """
        self._max_frames = max_frames
        self._candidates: list[Candidate] = []
        self._offered = 0
        self._stride = 1

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates in the order in which they came."""
        return tuple(self._candidates)

    def add(self, candidate: Candidate) -> None:
        """Offer a near-duplicate: every n-th is kept, and n doubles when the reserve is full."""
        if self._offered % self._stride == 0:
            self._candidates.append(candidate)
        self._offered += 1
        if len(self._candidates) > self._max_frames:
            self._candidates = self._candidates[::2]
            self._stride *= 2
