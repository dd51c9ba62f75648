"""Sample calibration and validation frames from videos."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edge_vseg.bundle.manifest import CalibrationSpec, SampledFrame
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration.frames.candidate_pool import Candidate, CandidatePool, DuplicateReserve
from edge_vseg.calibration.frames.farthest_point import farthest_point
from edge_vseg.calibration.frames.split import split_roles
from edge_vseg.calibration.frames.survey import Survey, survey_sources
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.types import Frame

logger = logging.getLogger(__name__)

_POOL_FACTOR = 8
_MAX_POOL_BYTES = 512 * 2**20
_MAX_DUPLICATES = 32
_REASONS = ("black", "flat", "blurred", "duplicate")


def sample_frames(
    sources: Sequence[str | Path],
    *,
    calibration: int = 64,
    validation: int = 32,
    seed: int = 0,
    max_side: int = 2048,
    progress: Callable[[int, int | None], None] | None = None,
) -> SampleFrames:
    """Sample frames that cover the scenes and exposures of videos.

    Every source is decoded once. Black, flat and blurred frames and near-duplicates are dropped and counted; the rest
    compete for a pool of bounded memory (768 frames for 64 + 32, or 512 MiB of pixels, but at least a quarter more than
    requested). Stretches of time are set apart for validation, with a gap to calibration; each set is then chosen by
    farthest-point sampling, evenly over the sources.

    If there are too few good frames, blurred ones are used after all, the sharpest first; then up to 32
    near-duplicates, never exact repetitions; then both numbers shrink in proportion. Each of these logs a warning.

    Args:
        sources: Videos, image folders and image files; image files of one folder count as one source.
        calibration: Number of calibration frames.
        validation: Number of validation frames.
        seed: Same seed and same sources give the same frames.
        max_side: Larger frames are reduced, by area averaging, to this many pixels on the longer side.
        progress: Called after each frame with the number read and the estimated total, if known.

    Returns:
        The frames, ``(H, W, 3)`` uint8 BGR, with their list, hash and statistics.

    Raises:
        OptionError: If a number is below 1, or a source is a camera or live stream.
        VideoError: If a source is missing, unreadable, or without frames.
        CalibrationError: If fewer than two frames can be used.

    Example:
        >>> from edge_vseg.calibration import sample_frames
        >>> frames = sample_frames(["drive.mp4"], calibration=4, validation=2)
        >>> len(frames.calibration), len(frames.validation)
        (4, 2)
    """
    if calibration < 1 or validation < 1 or max_side < 1:
        counts = f"{calibration}, {validation} and {max_side}"
        raise OptionError(f"calibration, validation and max_side must be 1 or more, got {counts}")
    paths = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not paths:
        raise OptionError("no sources; give at least one video or image folder")
    rng = np.random.default_rng(seed)
    requested = calibration + validation
    pool = CandidatePool(
        max_frames=_POOL_FACTOR * requested, min_frames=requested + requested // 4, max_bytes=_MAX_POOL_BYTES, rng=rng
    )
    survey = Survey(pool=pool, duplicates=DuplicateReserve(_MAX_DUPLICATES), max_side=max_side)
    survey_sources(paths, survey, progress)
    usable = _usable(survey, requested)
    if len(usable) < requested:
        calibration, validation = _shrink(len(usable), calibration, validation)
    chosen = _choose(usable, calibration, validation, rng)
    return SampleFrames(
        calibration=[frame.image for frame in chosen[0]],
        validation=[frame.image for frame in chosen[1]],
        spec=_spec(survey, *chosen, seed=seed),
    )


def _usable(survey: Survey, requested: int) -> list[Candidate]:
    """The candidates to choose from, in order of source and time; bad ones only if there are too few good ones."""
    candidates = survey.pool.candidates
    usable = [candidate for candidate in candidates if not survey.is_blurred(candidate)]
    blurred = [candidate for candidate in candidates if survey.is_blurred(candidate)]
    blurred.sort(key=lambda candidate: survey.min_sharpness[candidate.source] - candidate.sharpness)
    usable += _readmit("blurred", blurred, requested - len(usable), survey)
    duplicates = survey.duplicates.candidates
    missing = requested - len(usable)
    if 0 < missing < len(duplicates):
        duplicates = tuple(duplicates[len(duplicates) * step // missing] for step in range(missing))
    usable += _readmit("duplicate", duplicates, missing, survey)
    if len(usable) < 2:
        dropped = ", ".join(f"{survey.dropped[name]} {name}" for name in _REASONS if survey.dropped[name])
        raise CalibrationError(
            f"{len(usable)} of {survey.decoded} frames can be used ({dropped or 'none dropped'}), and at least 2 are"
            f" needed, better {requested}; give videos or images of the scenes that the camera will see"
        )
    return sorted(usable, key=lambda candidate: (candidate.source, candidate.frame.seq))


def _readmit(reason: str, candidates: Sequence[Candidate], missing: int, survey: Survey) -> list[Candidate]:
    readmitted = list(candidates[: max(0, missing)])
    if readmitted:
        logger.warning("too few good frames: using %d %s ones as well", len(readmitted), reason)
        survey.dropped[reason] -= len(readmitted)
    return readmitted


def _shrink(usable: int, calibration: int, validation: int) -> tuple[int, int]:
    fewer = min(usable - 1, max(1, usable * validation // (calibration + validation)))
    logger.warning(
        "%d frames can be used of the %d + %d asked for; taking %d for calibration and %d for validation",
        usable,
        calibration,
        validation,
        usable - fewer,
        fewer,
    )
    return usable - fewer, fewer


def _choose(
    usable: list[Candidate], calibration: int, validation: int, rng: np.random.Generator
) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    sources = np.asarray([candidate.source for candidate in usable], dtype=np.int64)
    seqs = [candidate.frame.seq for candidate in usable]
    vectors = np.stack([candidate.descriptor.vector for candidate in usable])
    roles = split_roles(sources.tolist(), seqs, calibration=calibration, validation=validation, rng=rng)
    picked = []
    for indices, count in zip(roles, (calibration, validation), strict=True):
        order = farthest_point(vectors[indices], count, rng=rng, groups=sources[indices])
        picked.append(tuple(usable[index].frame for index in indices[order]))
    return picked[0], picked[1]


def _spec(
    survey: Survey, calibration: tuple[Frame, ...], validation: tuple[Frame, ...], *, seed: int
) -> CalibrationSpec:
    digest = hashlib.sha256()
    for frame in (*calibration, *validation):
        digest.update(repr(frame.image.shape).encode())
        digest.update(np.ascontiguousarray(frame.image).data)
    return CalibrationSpec(
        frames=tuple(_sampled(frame) for frame in calibration),
        validation_frames=tuple(_sampled(frame) for frame in validation),
        sha256=digest.hexdigest(),
        seed=seed,
        seen=survey.decoded,
        dropped={name: survey.dropped[name] for name in _REASONS if survey.dropped[name]},
    )


def _sampled(frame: Frame) -> SampledFrame:
    time_s = None if frame.pts_ns is None else frame.pts_ns / 1e9
    return SampledFrame(file=PurePosixPath(frame.source_name).name, seq=frame.seq, time_s=time_s)
