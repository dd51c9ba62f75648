"""One pass over the sample videos: judging every frame and holding the promising ones."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.calibration.frames.candidate_pool import Candidate, CandidatePool, Spares
from edge_vseg.calibration.frames.descriptors import describe, difference, near_duplicate
from edge_vseg.calibration.frames.image_quality import blurred, measure
from edge_vseg.errors import OptionError
from edge_vseg.types import Frame
from edge_vseg.video import Source, open_source
from edge_vseg.video.images import is_image

logger = logging.getLogger(__name__)

_MUCH_SHARPER = 0.4


@dataclass(slots=True, kw_only=True, eq=False)
class Survey:
    """What one pass over all sources has found.

    Attributes:
        pool: Frames that are neither black, flat nor near-duplicates; blurred ones among them.
        spares: Some of the near-duplicates.
        max_side: Longer sides are reduced to this many pixels.
        seen: Frames decoded.
        dropped: Frames without use, by reason.
        limits: For each source, the sharpness below which a frame of it is blurred.
    """

    pool: CandidatePool
    spares: Spares
    max_side: int
    seen: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    limits: list[float] = field(default_factory=list)

    def is_blurred(self, candidate: Candidate) -> bool:
        """Whether the candidate is blurred by the measure of its own clip."""
        return candidate.sharpness < self.limits[candidate.source]

    def read(self, source: Source, index: int, on_frame: Callable[[int], None]) -> None:
        """Judge every frame of a source.

        Args:
            source: Read to its end.
            index: Its number among the sources.
            on_frame: Told after each frame how many were seen in all.
        """
        sharpness: list[float] = []
        last: Candidate | None = None
        for frame in source:
            self.seen += 1
            last = self._judge(_reduce(frame, self.max_side), index, last, sharpness)
            on_frame(self.seen)
        values = np.asarray(sharpness, dtype=np.float64)
        soft = blurred(values)
        self.dropped["blurred"] += int(soft.sum())
        self.limits.append(float(np.nextafter(values[soft].max(), np.inf)) if soft.any() else -np.inf)

    def _judge(self, frame: Frame, index: int, last: Candidate | None, sharpness: list[float]) -> Candidate | None:
        """Sort one frame in; gives the candidate that the next one is compared with."""
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
        if quality.sharpness > last.sharpness + _MUCH_SHARPER:
            # Of two alike the sharp one stays, or a blurred frame would drop the sharp ones after it.
            sharpness[-1] = quality.sharpness
            self.pool.replace(last, candidate)
            return candidate
        # An exact repetition teaches nothing at all, however few frames there are.
        if difference(last.descriptor, descriptor) > 0:
            self.spares.add(candidate)
        return last


def survey_sources(
    sources: Sequence[str | Path], survey: Survey, progress: Callable[[int, int | None], None] | None
) -> None:
    """Read all sources, each once, after a look at whether all can be opened.

    Raises:
        OptionError: If a source has no end.
        VideoError: If a source cannot be opened or read.
    """
    groups = _group(sources)
    counts = [_expect(group) for group in groups]
    total = None if None in counts else sum(count for count in counts if count is not None)
    for index, group in enumerate(groups):
        with open_source(group) as source:
            survey.read(source, index, lambda seen: progress(seen, total) if progress else None)


def _expect(group: str | Path | list[Path]) -> int | None:
    with open_source(group, max_frames=None) as source:
        if source.is_live:
            raise OptionError(f"{source.name}: a live source has no end; record a minute of it and give the file")
        return source.frame_count


def _group(sources: Sequence[str | Path]) -> list[str | Path | list[Path]]:
    """The sources, with single image files of one folder put together to one clip."""
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
