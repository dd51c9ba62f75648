"""What an evaluation runs on: a labelled dataset, or a video without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame, find_dataset, labelled_rate, match_labels, open_dataset
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import taken_names
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID
from edge_vseg.video import open_source
from edge_vseg.video.address import without_credentials
from edge_vseg.video.bag import find_bag


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationData:
    """Frames to evaluate on; exactly one of dataset and video is given.

    Attributes:
        dataset: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        classes: Classes to read the dataset in before they are compared with the bundle's, by name; some may be made of
            several of its own. Empty for the dataset's own.
        video: Video, image folder or address.
        max_frames: Frames to stop after.
    """

    dataset: str | None = None
    classes: tuple[Label, ...] = ()
    video: str | None = None
    max_frames: int | None = None

    @property
    def name(self) -> str:
        """What it is called in records."""
        return self.dataset or without_credentials(str(self.video))

    def read(self, bundle: Path, *, codec_motion: bool) -> tuple[Iterator[LabelledFrame], float | None]:
        """The frames in the bundle's classes, and their rate in frames per second, if it is known.

        Raises:
            OptionError: If frames of a dataset are to carry motion vectors.
            DatasetError: If the dataset cannot be read.
        """
        if self.dataset is None:
            return _unlabelled(str(self.video), self.max_frames, codec_motion=codec_motion), None
        if codec_motion:
            raise OptionError("a dataset of images has no motion vectors; choose --set motion=dis, or --video")
        frames = open_dataset(self.dataset)[: self.max_frames]
        if self.classes:
            frames = match_labels(frames, self.classes)
        frames = match_labels(frames, open_bundle(bundle).manifest.labels)
        return iter(frames), labelled_rate(frames)

    @property
    def path(self) -> Path:
        """The file or folder that is read.

        Raises:
            OptionError: If it is a camera or stream, or not there.
            DatasetError: If the folder is not of the dataset's layout.
        """
        if self.dataset is not None:
            return find_dataset(self.dataset).folder
        path, _ = self._recorded
        if not path.is_file() and not path.is_dir():
            raise OptionError(
                f"--video {self.name}: several evaluations read files or folders, which stay as they are; record a"
                " camera or stream first, or check the path"
            )
        return path

    @property
    def _recorded(self) -> tuple[Path, str]:
        """The file or folder of the video, and the topic behind its colon, empty without one."""
        return find_bag(str(self.video)) or (Path(str(self.video)), "")

    @property
    def part(self) -> str:
        """Which part of the file or folder is read; other frames of the same content have another."""
        if self.dataset is None:
            topic = self._recorded[1]
            return f"video {topic and f'{topic} '}{self.max_frames}"
        place = find_dataset(self.dataset)
        classes = [(each.name, taken_names(each)) for each in self.classes] or ""
        return f"{self.dataset.partition(':')[0]} {place.split} {self.max_frames}{classes}"

    def at(self, files: Callable[[Path], Path]) -> EvaluationData:
        """The same where the file or folder is elsewhere.

        Args:
            files: Gives its path there.
        """
        if self.dataset is None:
            path, topic = self._recorded  # which may not be there on this machine
            here = files(path)
            return replace(self, video=f"{here}:{topic}" if topic else str(here))
        here = files(self.path)
        layout, split = self.dataset.partition(":")[0], find_dataset(self.dataset).split
        return replace(self, dataset=f"{layout}:{here}:{split}" if split else f"{layout}:{here}")


def _unlabelled(video: str, max_frames: int | None, *, codec_motion: bool) -> Iterator[LabelledFrame]:
    with open_source(video, max_frames=max_frames, codec_motion=codec_motion) as source:
        for frame in source:
            labels = np.full(frame.image.shape[:2], IGNORE_ID, np.uint8)
            # With its time: a companion's weight goes by it, and must be the one that `run` gives it.
            time_s = None if frame.pts_ns is None else frame.pts_ns / 1e9
            yield LabelledFrame(image=frame.image, labels=labels, time_s=time_s, motion=frame.motion)
