"""One pass over the sample videos: measure every frame and keep the candidates."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.calibration.frames.candidate_pool import Candidate, CandidatePool, DuplicateReserve
from edge_vseg.calibration.frames.descriptors import describe, difference, near_duplicate
from edge_vseg.calibration.frames.image_quality import blurred, measure
from edge_vseg.errors import OptionError
from edge_vseg.types import Frame
from edge_vseg.video import Source, open_source
from edge_vseg.video.images import is_image

logger = logging.getLogger(__name__)

_MIN_SHARPER = 0.4
"""By how much a near-duplicate must be sharper to replace the frame before, as a natural logarithm."""


@dataclass(slots=True, kw_only=True, eq=False)
class Survey:
    """State and result of one pass over all sources.

    Attributes:
        pool: Candidates: neither black, flat nor near-duplicates; blurred ones included.
        duplicates: Some of the near-duplicates.
        max_side: Frames are reduced to this many pixels on the longer side.
        decoded: Frames decoded.
        dropped: Number of useless frames by reason.
        min_sharpness: For each source, the sharpness below which a frame is blurred.
    """

    pool: CandidatePool
    duplicates: DuplicateReserve
    max_side: int
    decoded: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    min_sharpness: list[float] = field(default_factory=list)

    def is_blurred(self, candidate: Candidate) -> bool:
        """Whether a candidate is blurred, compared with its own source."""
        return candidate.sharpness < self.min_sharpness[candidate.source]

    def read(self, source: Source, index: int, on_frame: Callable[[int], None]) -> None:
        """Read a source to its end.

        Args:
            source: The source.
            index: Its index among the sources.
            on_frame: Called after each frame with the number of frames of all sources so far.
        """
        sharpness: list[float] = []
        last: Candidate | None = None
        for frame in source:
            self.decoded += 1
            last = self._sort(_reduce(frame, self.max_side), index, last, sharpness)
            on_frame(self.decoded)
        values = np.asarray(sharpness, dtype=np.float64)
        is_blurred = blurred(values)
        self.dropped["blurred"] += int(is_blurred.sum())
        self.min_sharpness.append(
            float(np.nextafter(values[is_blurred].max(), np.inf)) if is_blurred.any() else -np.inf
        )

    def _sort(self, frame: Frame, index: int, last: Candidate | None, sharpness: list[float]) -> Candidate | None:
        """Keep or drop a frame; returns the candidate that the next frame is compared with."""
        quality = measure(frame.image)
        if quality.fault is not None:
            self.dropped[quality.fault] += 1
            return last
        descriptor = describe(frame.image)
        candidate = Candidate(source=index, frame=frame, sharpness=quality.sharpness, descriptor=descriptor)
        if last is None or not near_duplicate(last.descriptor, descriptor):
            sharpness.append(quality.sharpness)
            self.pool.add(candidate)
            return candidate
        self.dropped["duplicate"] += 1
        if quality.sharpness > last.sharpness + _MIN_SHARPER:
            # Keep the sharper of two: a blurred frame must not drop the sharp ones after it.
            sharpness[-1] = quality.sharpness
            self.pool.replace(last, candidate)
            return candidate
        # An exact repetition is useless, however few frames there are.
        if difference(last.descriptor, descriptor) > 0:
            self.duplicates.add(candidate)
        return last


def survey_sources(
    sources: Sequence[str | Path], survey: Survey, progress: Callable[[int, int | None], None] | None
) -> None:
    """Check that all sources can be opened, then read each once.

    Raises:
        OptionError: If a source has no end.
        VideoError: If a source cannot be opened or read.
    """
    groups = _group(sources)
    counts = [_frame_count(group) for group in groups]
    total = None if None in counts else sum(count for count in counts if count is not None)
    for index, group in enumerate(groups):
        with open_source(group) as source:
            survey.read(source, index, lambda decoded: progress(decoded, total) if progress else None)


def _frame_count(group: str | Path | list[Path]) -> int | None:
    with open_source(group, max_frames=None) as source:
        if source.is_live:
            raise OptionError(f"{source.name}: a live source has no end; record a minute of it and give the file")
        return source.frame_count


def _group(sources: Sequence[str | Path]) -> list[str | Path | list[Path]]:
    """Group image files of one folder into one source."""
    groups: list[str | Path | list[Path]] = []
    folders: dict[Path, list[Path]] = {}
    for source in sources:
        path = Path(source)
        if not is_image(path) or "://" in str(source):
            groups.append(source)
        elif path.parent in folders:
            folders[path.parent].append(path)
        else:
            folders[path.parent] = [path]
            groups.append(folders[path.parent])
    return groups


def _reduce(frame: Frame, max_side: int) -> Frame:
    height, width = frame.image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return frame
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = cv2.resize(frame.image, size_wh, interpolation=cv2.INTER_AREA)
    return replace(frame, image=np.asarray(image, dtype=np.uint8))
