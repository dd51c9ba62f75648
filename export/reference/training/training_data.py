"""Frames of a training run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.export.reference.training.video_pairs import FramePair

THINGS = frozenset(
    """pole sign traffic_sign traffic_light car pedestrian person rider bicyclist cyclist truck bus train motorcycle
    bicycle motorbike animal dog cat cow horse sheep bird chair bottle boat trailer caravan autorickshaw""".split()  # noqa: SIM905
)
"""Countable classes of roads and of VOC, by their usual names."""
MIN_PIXELS = 200
"""Of a class, for its frame to be one to see it in."""
RARE_TEMPERATURE = 0.1
"""The larger, the more alike are the odds of the classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Frames of a training run.

    Attributes:
        train: Training frames.
        val: Validation frames; may be empty.
        streets: Rendered frames to mix into the batches, in the same classes; may be empty.
        pairs: Pairs of frames of unlabelled video, for the consistency loss; may be empty.
        labels: The classes of all of them.
        split: Name of the split of the training frames.
        val_split: Name of that of the validation frames; ``None`` without any, or if they are a part of ``split``.
    """

    train: Sequence[LabelledFrame]
    val: Sequence[LabelledFrame]
    streets: Sequence[SceneFrame] = ()
    pairs: Sequence[FramePair] = ()
    labels: tuple[Label, ...] = field(default_factory=lambda: named_labels("camvid"))
    split: str = "train"
    val_split: str | None = None

    def things(self, names: Sequence[str] | None = None) -> tuple[int, ...]:
        """Ids of the countable classes.

        Args:
            names: What they are called; ``None`` for :data:`THINGS`, of which some may be missing.

        Raises:
            OptionError: If no class has one of the names.
        """
        ids = {_plain(label.name): label.id for label in self.labels}
        if missing := [name for name in names or () if _plain(name) not in ids]:
            known = ", ".join(label.name for label in self.labels)
            raise OptionError(f"things: no class is called {missing[0]!r}; give some of {known}")
        wanted = THINGS if names is None else {_plain(name) for name in names}
        return tuple(label.id for label in self.labels if _plain(label.name) in wanted)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]", "_", name.strip().lower())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassStatistics:
    """Where the classes are.

    Attributes:
        shares: Share of each class in the labelled pixels, ``(classes,)`` float64.
        frames: Numbers of the frames with at least :data:`MIN_PIXELS` of each class.
    """

    shares: NDArray[np.float64]
    frames: tuple[tuple[int, ...], ...]

    def rare_class(self, rng: np.random.Generator) -> int:
        """Draw a class that occurs, the rare ones more often.

        Reference: Hoyer et al., DAFormer, CVPR 2022, eq. 10 and 11: the rare class sampling of that paper.
        """
        odds = np.exp(-self.shares / RARE_TEMPERATURE) * [bool(each) for each in self.frames]
        return int(rng.choice(len(odds), p=odds / odds.sum()))


def class_statistics(frames: Sequence[LabelledFrame], classes: int) -> ClassStatistics:
    """Count the classes of some frames.

    Raises:
        DatasetError: If no pixel has a class.
    """
    counts = np.array([np.bincount(frame.labels.ravel(), minlength=256)[:classes] for frame in frames], np.int64)
    if not counts.any():
        raise DatasetError("no pixel of the training frames has one of the classes")
    least = np.minimum(MIN_PIXELS, np.maximum(1, counts.max(0)))
    return ClassStatistics(
        shares=np.asarray(counts.sum(0) / counts.sum(), np.float64),
        frames=tuple(tuple(np.flatnonzero(counts[:, each] >= least[each]).tolist()) for each in range(classes)),
    )
