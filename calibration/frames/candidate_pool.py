"""Candidates held in memory while a clip goes by, never more than a fixed number of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.calibration.frames.descriptors import Descriptor
from edge_vseg.calibration.frames.farthest_point import farthest_point
from edge_vseg.types import Frame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A frame that may be chosen.

    Attributes:
        source: Index of its source.
        frame: The frame, image included.
        sharpness: As :func:`~edge_vseg.calibration.frames.image_quality.measure` gives it.
        descriptor: What it is compared by.
    """

    source: int
    frame: Frame
    sharpness: float
    descriptor: Descriptor


class CandidatePool:
    """As varied a set of candidates as fits, chosen in one pass.

    Until the pool is full, every candidate is kept. Then it is thinned to half by farthest-point choice, and
    from there on only those enter that are as far from all others as the remaining ones are from each other; when
    it is full again, the same happens with a larger distance. So common scenes cannot crowd out rare ones, however
    long the clip.

    Reference: M. Charikar et al., Incremental clustering and dynamic information retrieval, STOC 1997 (the
    doubling algorithm); here the distance grows by thinning, not by doubling.
    """

    def __init__(self, *, max_frames: int, min_frames: int, max_bytes: int, rng: np.random.Generator) -> None:
        """Make an empty pool.

        Args:
            max_frames: Never hold more candidates than this.
            min_frames: Hold as many as this even if they take more than ``max_bytes``.
            max_bytes: Bytes of pixels that the candidates should not exceed.
            rng: Draws the first point of each thinning.
        """
        self._max_frames = max_frames
        self._min_frames = min(min_frames, max_frames)
        self._max_bytes = max_bytes
        self._rng = rng
        self._held: list[Candidate] = []
        self._bytes = 0
        self._radius = 0.0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is held, in the order in which it came."""
        return tuple(self._held)

    def add(self, candidate: Candidate) -> None:
        """Offer a candidate; it may be refused, or others may go for it."""
        if self._radius > 0:
            distances = np.linalg.norm(_vectors(self._held) - candidate.descriptor.vector, axis=1)
            if float(distances.min()) < self._radius:
                return
        self._held.append(candidate)
        self._bytes += candidate.frame.image.nbytes
        if len(self._held) > self._max_frames or (self._bytes > self._max_bytes and len(self._held) > self._min_frames):
            self._thin()

    def replace(self, old: Candidate, new: Candidate) -> None:
        """Put a candidate in the place of a similar one; if that is no longer held, nothing happens."""
        for index, held in enumerate(self._held):
            if held is old:
                self._held[index] = new
                self._bytes += new.frame.image.nbytes - old.frame.image.nbytes

    def _thin(self) -> None:
        points = _vectors(self._held)
        # Half of what fits, but never below the number that is needed in the end.
        keep = min(len(points) - 1, max(len(points) // 2, self._min_frames - 1))
        chosen = farthest_point(points, keep, rng=self._rng)
        last = points[chosen[-1]]
        others = points[chosen[:-1]]
        if len(others):
            # The last choice is the closest to the rest of all chosen; it sets the distance to come.
            self._radius = max(self._radius, float(np.linalg.norm(others - last, axis=1).min()))
        self._held = [self._held[index] for index in np.sort(chosen)]
        self._bytes = sum(held.frame.image.nbytes for held in self._held)


def _vectors(candidates: list[Candidate]) -> NDArray[np.float32]:
    return np.stack([candidate.descriptor.vector for candidate in candidates])


class Spares:
    """A few of the near-duplicates, evenly over time, for clips that have nothing else."""

    def __init__(self, max_frames: int) -> None:
        """Make an empty store for so many."""
        self._max_frames = max_frames
        self._held: list[Candidate] = []
        self._seen = 0
        self._stride = 1

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is held, in the order in which it came."""
        return tuple(self._held)

    def add(self, candidate: Candidate) -> None:
        """Offer a near-duplicate: every ``stride``-th is kept, and the stride doubles when the store is full."""
        if self._seen % self._stride == 0:
            self._held.append(candidate)
        self._seen += 1
        if len(self._held) > self._max_frames:
            self._held = self._held[::2]
            self._stride *= 2
