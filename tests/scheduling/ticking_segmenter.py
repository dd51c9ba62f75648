"""Segmenters whose clock ticks with each look, so that decisions do not depend on the machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.scheduling.policies import Policy
from edge_vseg.types import Result


class Ticks:
    """A clock that advances by 0.1 ms per reading."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self) -> int:
        return next(self._count) * 100_000


def ticking() -> OpenOptions:
    return OpenOptions(clock=Ticks())


def scheduled(bundle: Path, frames: list[np.ndarray], policy: str | Policy) -> list[Result]:
    with Segmenter.open(bundle, runtime="onnxruntime", threads=1, policy=policy, options=ticking()) as segmenter:
        return [segmenter(frame) for frame in frames]
