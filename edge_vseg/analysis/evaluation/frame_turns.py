"""Turns in which a policy and every-frame inference work: short ones, or as long as memory allows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.child_process.process_memory import available_memory

FRAMES_PER_TURN = 12
"""Frames before policy and every-frame inference swap: few enough that other load on the machine affects both alike,
and enough that caches are as warm as in a video."""

MAX_PACED_FRAMES = 600
"""Frames of a turn at a rate on the wall clock. In every pause between turns a keyframe in the background gains time
that it would not have, so turns are long; their frames and results are kept meanwhile, so they are bounded."""

TURN_MEMORY_SHARE = 0.5
"""Share of the free memory that the frames and results of a turn may take."""


def frame_turns(frames: Iterable[LabelledFrame], *, paced: bool, scores_nbytes: int) -> Iterator[list[LabelledFrame]]:
    """Frames in turns.

    Args:
        frames: The frames.
        paced: Whether they arrive at a rate on the wall clock, so that turns are long.
        scores_nbytes: Bytes that a result keeps beside its label map.
    """
    iterator = iter(frames)
    for first in iterator:
        count = _paced_frames(first, scores_nbytes) if paced else FRAMES_PER_TURN
        yield [first, *itertools.islice(iterator, count - 1)]


def _paced_frames(first: LabelledFrame, scores_nbytes: int) -> int:
    free = available_memory()
    if free is None:
        return MAX_PACED_FRAMES
    motion_nbytes = 0 if first.motion is None else first.motion.nbytes
    each = first.image.nbytes + 2 * first.labels.nbytes + motion_nbytes + scores_nbytes
    return min(MAX_PACED_FRAMES, max(FRAMES_PER_TURN, int(TURN_MEMORY_SHARE * free / each)))
