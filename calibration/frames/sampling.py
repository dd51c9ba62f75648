"""Choosing calibration and validation frames from sample videos."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edge_vseg.bundle.manifest import CalibrationSpec, SampledFrame
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration.frames.candidate_pool import Candidate, CandidatePool, Spares
from edge_vseg.calibration.frames.farthest_point import farthest_point
from edge_vseg.calibration.frames.split import split_roles
from edge_vseg.calibration.frames.survey import Survey, survey_sources
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.types import Frame

logger = logging.getLogger(__name__)

_POOL_FACTOR = 8
_POOL_BYTES = 512 * 2**20
_SPARE_FRAMES = 32
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
    """Choose frames that cover the scenes and exposures of sample videos.

    Every source is decoded once, from start to end. Black, flat, blurred and nearly repeated frames are
    dropped and counted. The others compete for a place in a pool (768 frames for 64 + 32, or 512 MiB of pixels,
    but always a quarter more than asked for), which bounds the memory whatever the length. From the pool,
    stretches of time are set apart for validation, with a gap to those for calibration, and in each part frames are
    picked farthest from one another, evenly over the sources.

    If there are too few good frames, first blurred ones come back, the sharpest first; then near-duplicates (up
    to 32, never exact repetitions); then both numbers shrink in proportion. Each step logs a warning.

    Args:
        sources: Videos, image folders and image files; image files of one folder count as one source.
        calibration: Number of calibration frames.
        validation: Number of validation frames.
        seed: Same seed, same sources, same choice.
        max_side: Larger frames are reduced, by area averaging, to this many pixels on the longer side.
        progress: Called after each frame with the number read and, if known, how many there will be (estimated).

    Returns:
        The frames as decoded (BGR), and their list, hash and statistics.

    Raises:
        OptionError: If a number is impossible, or a source is a camera or live stream.
        VideoError: If a source is missing, unreadable, or without frames.
        CalibrationError: If fewer than two frames can be used.

    Example:
        >>> from edge_vseg.calibration import sample_frames
        >>> frames = sample_frames(["drive.mp4"], calibration=4, validation=2)
        >>> len(frames.calibration), len(frames.validation)
        (4, 2)
    """
    if calibration < 1 or validation < 1 or max_side < 1:
        raise OptionError(f"all three counts must be 1 or more, got {calibration}, {validation} and {max_side}")
    paths = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not paths:
        raise OptionError("no sample video was given; give at least one video or image folder")
    rng = np.random.default_rng(seed)
    wanted = calibration + validation
    pool = CandidatePool(
        max_frames=_POOL_FACTOR * wanted, min_frames=wanted + wanted // 4, max_bytes=_POOL_BYTES, rng=rng
    )
    survey = Survey(pool=pool, spares=Spares(_SPARE_FRAMES), max_side=max_side)
    survey_sources(paths, survey, progress)
    usable = _usable(survey, wanted)
    if len(usable) < wanted:
        calibration, validation = _shrink(len(usable), calibration, validation)
    chosen = _choose(usable, calibration, validation, rng)
    return SampleFrames(
        calibration=[frame.image for frame in chosen[0]],
        validation=[frame.image for frame in chosen[1]],
        spec=_spec(survey, *chosen, seed=seed),
    )


def _usable(survey: Survey, wanted: int) -> list[Candidate]:
    """The candidates to choose from, in order of source and time, with as few concessions as possible."""
    held = survey.pool.candidates
    usable = [candidate for candidate in held if not survey.is_blurred(candidate)]
    soft = sorted((c for c in held if survey.is_blurred(c)), key=lambda c: survey.limits[c.source] - c.sharpness)
    usable += _bring_back("blurred", soft, wanted - len(usable), survey)
    spares = survey.spares.candidates
    missing = wanted - len(usable)
    if 0 < missing < len(spares):
        spares = tuple(spares[len(spares) * step // missing] for step in range(missing))
    usable += _bring_back("duplicate", spares, missing, survey)
    if len(usable) < 2:
        dropped = ", ".join(f"{survey.dropped[name]} {name}" for name in _REASONS if survey.dropped[name])
        raise CalibrationError(
            f"{len(usable)} of {survey.seen} frames can be used ({dropped or 'none dropped'}), and at least 2 are"
            f" needed, better {wanted}; give videos or images of the scenes that the camera will see"
        )
    return sorted(usable, key=lambda candidate: (candidate.source, candidate.frame.seq))


def _bring_back(reason: str, candidates: Sequence[Candidate], missing: int, survey: Survey) -> list[Candidate]:
    back = list(candidates[: max(0, missing)])
    if back:
        logger.warning("too few good frames: %d %s ones are used all the same", len(back), reason)
        survey.dropped[reason] -= len(back)
    return back


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
        seen=survey.seen,
        dropped={name: survey.dropped[name] for name in _REASONS if survey.dropped[name]},
    )


def _sampled(frame: Frame) -> SampledFrame:
    time_s = None if frame.pts_ns is None else frame.pts_ns / 1e9
    return SampledFrame(file=PurePosixPath(frame.source_name).name, seq=frame.seq, time_s=time_s)
