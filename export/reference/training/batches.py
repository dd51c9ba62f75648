"""Batches of crops, fixed by the seed and the step alone."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.export.reference.training.augment import paste_things, place, recolour
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.older_view import make_older_view
from edge_vseg.export.reference.training.streets import Neighbours, labelled, neighbours
from edge_vseg.export.reference.training.training_data import ClassStatistics, TrainingData
from edge_vseg.types import Image, LabelMap, Size

PREFETCHED_BATCHES = 4
SURE = 255
"""Confidence of a label that is wholly sure."""
Confidence: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The crops of a step.

    Attributes:
        images: ``(N, 3, H, W)`` float32, normalised.
        labels: ``(N, H, W)`` int64; 255 is ignored.
        older: ``(M, 3, H, W)`` float32, older views of the first ``M`` crops.
        motion: ``(M, H/8, W/8, 2)`` float32, from the crops to their older views, in cells of stride 8.
        confidence: ``(N, H, W)`` float32 from 0 to 1, how sure each label is; ``None`` where all are.
        neighbours: Rendered frame pairs for the consistency loss; ``None`` if its weight is 0.
    """

    images: torch.Tensor
    labels: torch.Tensor
    older: torch.Tensor
    motion: torch.Tensor
    confidence: torch.Tensor | None = None
    neighbours: Neighbours | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Donor:
    """A frame, and the classes whose objects are pasted out of it."""

    frame: LabelledFrame
    things: tuple[int, ...]


def batches(
    config: TrainConfig, data: TrainingData, first: int, last: int, statistics: ClassStatistics | None = None
) -> Generator[Batch, None, None]:
    """The batches of steps ``first`` to ``last - 1``, prefetched by threads; ``statistics`` are for ``config.rare``.

    A step gets the same batch no matter where a run was stopped and resumed.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=PREFETCHED_BATCHES)
    stopped = threading.Event()
    worker = threading.Thread(
        target=_prefetch, args=(config, data, range(first, last), ready, stopped, statistics), daemon=True
    )
    worker.start()
    try:
        for _ in range(first, last):
            batch = ready.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        stopped.set()
        while worker.is_alive():  # it may be blocked on a full queue
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.05)


def _prefetch(
    config: TrainConfig,
    data: TrainingData,
    steps: range,
    ready: queue.Queue[Batch | BaseException],
    stopped: threading.Event,
    statistics: ClassStatistics | None,
) -> None:
    try:
        with ThreadPoolExecutor(2) as pool:
            for step in steps:
                if stopped.is_set():
                    return
                ready.put(make_batch(config, data, step, pool, statistics))
    except BaseException as exc:  # raised again in the consumer's thread
        ready.put(exc)


def make_batch(
    config: TrainConfig,
    data: TrainingData,
    step: int,
    pool: ThreadPoolExecutor,
    statistics: ClassStatistics | None = None,
) -> Batch:
    """The batch of a step."""
    frames, streets = data.train, data.streets
    rng = np.random.default_rng((config.seed, 1, step))
    rendered = rng.binomial(config.batch, config.streets_share) if streets else 0
    chosen = [frames[index] for index in _frame_order(config, len(frames), step)[: config.batch - rendered]]
    chosen += labelled([streets[index] for index in rng.integers(0, max(1, len(streets)), rendered)])
    rng.shuffle(chosen)
    aged = rng.binomial(config.batch, config.aged)
    seeds = rng.integers(0, 2**63, config.batch)
    donors = _draw_donors(config, data, statistics, rng)
    wanted = [-1] * config.batch
    if config.rare and statistics is not None:
        for at in np.flatnonzero(rng.random(config.batch - rendered) < config.rare):
            wanted[at] = statistics.rare_class(rng)
            chosen[at] = frames[int(rng.choice(statistics.frames[wanted[at]]))]
    crops = list(pool.map(partial(_crop, config), chosen, donors, seeds, np.arange(config.batch) < aged, wanted))
    height, width = config.crop_hw
    older = [crop[3] for crop in crops if crop[3] is not None]
    motion = [crop[4] for crop in crops if crop[4] is not None]
    return Batch(
        images=to_input([crop[0] for crop in crops]),
        labels=torch.from_numpy(np.stack([crop[1] for crop in crops]).astype(np.int64)),
        older=to_input(older) if older else torch.zeros(0, 3, height, width),
        motion=torch.from_numpy(np.stack(motion)) if motion else torch.zeros(0, height // 8, width // 8, 2),
        confidence=_stacked([crop[2] for crop in crops], config.crop_hw),
        neighbours=neighbours(config, streets, step, data.pairs) if config.consistency else None,
    )


def _stacked(planes: Sequence[Confidence | None], size_hw: Size) -> torch.Tensor | None:
    """Of all crops, from 0 to 1: 1 in those without; ``None`` if none has one."""
    if all(plane is None for plane in planes):
        return None
    whole = np.full(size_hw, SURE, np.uint8)
    stacked = np.stack([whole if plane is None else plane for plane in planes])
    return torch.from_numpy(stacked).float() / SURE


def _draw_donors(
    config: TrainConfig, data: TrainingData, statistics: ClassStatistics | None, rng: np.random.Generator
) -> Sequence[_Donor | None]:
    """What is pasted into each crop: things of a class that is drawn first, so that rare ones come as often."""
    if not config.pasted:
        return [None] * config.batch
    frames, things = data.train, data.things(config.things)
    seen = [each for each in things if statistics is not None and statistics.frames[each]]
    if statistics is None or not seen:
        return [_Donor(frame=frames[index], things=things) for index in rng.integers(0, len(frames), config.batch)]
    drawn = [int(each) for each in rng.choice(seen, config.batch)]
    return [_Donor(frame=frames[int(rng.choice(statistics.frames[each]))], things=(each,)) for each in drawn]


def _frame_order(config: TrainConfig, count: int, step: int) -> list[int]:
    """Indices of the frames of a step; every epoch has each frame once, in a random order."""
    begin = step * config.batch
    order: list[int] = []
    for epoch in range(begin // count, (begin + config.batch - 1) // count + 1):
        order += np.random.default_rng((config.seed, 2, epoch)).permutation(count).tolist()
    return order[begin % count : begin % count + config.batch]


def _crop(
    config: TrainConfig,
    frame: LabelledFrame,
    donor: _Donor | None,
    seed: int,
    aged: bool,
    wanted: int,
) -> tuple[Image, LabelMap, Confidence | None, Image | None, NDArray[np.float32] | None]:
    rng = np.random.default_rng(seed)
    height, width = frame.labels.shape
    around = _pixel_of(wanted, frame.labels, rng) if wanted >= 0 else None
    placement = place((height, width), config.crop_hw, config.scale, rng, around)
    image, labels = placement.image(frame.image), placement.labels(frame.labels)
    sure = None if frame.confidence is None or not config.confidence else placement.labels(frame.confidence)
    if donor is not None and rng.random() < config.pasted:
        image, labels, sure = _paste(image, labels, sure, donor, config, rng)
    image = recolour(image, rng)
    older, motion = make_older_view(image, rng) if aged else (None, None)
    return image, labels, sure, older, motion


def _paste(
    image: Image,
    labels: LabelMap,
    sure: Confidence | None,
    donor: _Donor,
    config: TrainConfig,
    rng: np.random.Generator,
) -> tuple[Image, LabelMap, Confidence | None]:
    frame = donor.frame
    around = _pixel_of(donor.things[0], frame.labels, rng) if len(donor.things) == 1 else None
    other = place(frame.labels.shape, config.crop_hw, config.scale, rng, around)
    both = None
    if config.confidence and (sure is not None or frame.confidence is not None):
        theirs = np.full_like(frame.labels, SURE) if frame.confidence is None else frame.confidence
        both = np.full_like(labels, SURE) if sure is None else sure, other.labels(theirs)
    picture, classes = other.image(frame.image), other.labels(frame.labels)
    return paste_things(image, labels, picture, classes, donor.things, rng, both)


def _pixel_of(class_id: int, labels: LabelMap, rng: np.random.Generator) -> tuple[float, float] | None:
    """Column and row of a pixel of a class; ``None`` if there is none."""
    places = np.flatnonzero(labels == class_id)
    if not len(places):
        return None
    row, column = divmod(int(rng.choice(places)), labels.shape[1])
    return float(column), float(row)
