"""Labelled frames in memory, and batches that depend on nothing but the seed and the step."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.export.reference.training.ageing import age
from edge_vseg.export.reference.training.augment import paste_things, place, recolour
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.streets import Neighbours, labelled, neighbours
from edge_vseg.types import Image, LabelMap

THINGS = (2, 6, 8, 9, 10)
"""CamVid's classes that come as things: pole, sign, car, pedestrian, bicyclist."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Crops of one step.

    Attributes:
        images: ``(N, 3, H, W)`` float32, normalised.
        labels: ``(N, H, W)`` int64; 255 does not count.
        older: ``(M, 3, H, W)`` float32, older views of the first ``M`` crops.
        motion: ``(M, H/8, W/8, 2)`` float32, from the crops to their older views, in cells of stride 8.
        neighbours: Rendered pairs of frames, if the run asks for consistency.
    """

    images: torch.Tensor
    labels: torch.Tensor
    older: torch.Tensor
    motion: torch.Tensor
    neighbours: Neighbours | None = None


def class_shares(frames: Sequence[LabelledFrame], classes: int) -> NDArray[np.float64]:
    """Share of each class in the labelled pixels, ``(classes,)``."""
    counts = sum(np.bincount(frame.labels.ravel(), minlength=256)[:classes] for frame in frames)
    return np.asarray(counts / np.sum(counts), np.float64)


def batches(
    config: TrainConfig, frames: Sequence[LabelledFrame], streets: Sequence[SceneFrame], first: int, last: int
) -> Iterator[Batch]:
    """The batches of steps ``first`` to ``last - 1``, made ahead by threads.

    Step ``n`` gives the same batch wherever a run was stopped and taken up again.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=4)
    stopped = threading.Event()
    maker = threading.Thread(
        target=_make_ahead, args=(config, frames, streets, range(first, last), ready, stopped), daemon=True
    )
    maker.start()
    try:
        for _ in range(first, last):
            made = ready.get()
            if isinstance(made, BaseException):
                raise made
            yield made
    finally:
        stopped.set()
        while maker.is_alive():  # it may be waiting for a free place
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.05)


def _make_ahead(
    config: TrainConfig,
    frames: Sequence[LabelledFrame],
    streets: Sequence[SceneFrame],
    steps: range,
    ready: queue.Queue[Batch | BaseException],
    stopped: threading.Event,
) -> None:
    try:
        with ThreadPoolExecutor(2) as pool:
            for step in steps:
                if stopped.is_set():
                    return
                ready.put(make_batch(config, frames, streets, step, pool))
    except BaseException as exc:  # handed to the thread that waits for a batch
        ready.put(exc)


def make_batch(
    config: TrainConfig,
    frames: Sequence[LabelledFrame],
    streets: Sequence[SceneFrame],
    step: int,
    pool: ThreadPoolExecutor,
) -> Batch:
    """The batch of one step."""
    rng = np.random.default_rng((config.seed, 1, step))
    rendered = rng.binomial(config.batch, config.streets_share) if streets else 0
    chosen = [frames[index] for index in _turn(config, len(frames), step)[: config.batch - rendered]]
    chosen += labelled([streets[index] for index in rng.integers(0, max(1, len(streets)), rendered)])
    rng.shuffle(chosen)
    aged = rng.binomial(config.batch, config.aged)
    seeds = rng.integers(0, 2**63, config.batch)
    donors = [frames[index] for index in rng.integers(0, len(frames), config.batch)] if config.pasted else chosen
    crops = list(pool.map(partial(_crop, config), chosen, donors, seeds, np.arange(config.batch) < aged))
    height, width = config.crop_hw
    older = [crop[2] for crop in crops if crop[2] is not None]
    motion = [crop[3] for crop in crops if crop[3] is not None]
    return Batch(
        images=to_input([crop[0] for crop in crops]),
        labels=torch.from_numpy(np.stack([crop[1] for crop in crops]).astype(np.int64)),
        older=to_input(older) if older else torch.zeros(0, 3, height, width),
        motion=torch.from_numpy(np.stack(motion)) if motion else torch.zeros(0, height // 8, width // 8, 2),
        neighbours=neighbours(config, streets, step) if config.consistency else None,
    )


def _turn(config: TrainConfig, count: int, step: int) -> list[int]:
    """The frames of a step, each once an epoch in an order of the epoch's own."""
    begin = step * config.batch
    order: list[int] = []
    for epoch in range(begin // count, (begin + config.batch - 1) // count + 1):
        order += np.random.default_rng((config.seed, 2, epoch)).permutation(count).tolist()
    return order[begin % count : begin % count + config.batch]


def _crop(
    config: TrainConfig, frame: LabelledFrame, donor: LabelledFrame, seed: int, aged: bool
) -> tuple[Image, LabelMap, Image | None, NDArray[np.float32] | None]:
    rng = np.random.default_rng(seed)
    height, width = frame.labels.shape
    placement = place((height, width), config.crop_hw, config.scale, rng)
    image, labels = placement.image(frame.image), placement.labels(frame.labels)
    if config.pasted and rng.random() < config.pasted:
        other = place(donor.labels.shape, config.crop_hw, config.scale, rng)
        image, labels = paste_things(image, labels, other.image(donor.image), other.labels(donor.labels), THINGS, rng)
    image = recolour(image, rng)
    older, motion = age(image, rng) if aged else (None, None)
    return image, labels, older, motion
