"""What a smaller network learns from and is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame, match_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.bundle.sample_frames import SampleFrames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShrinkData:
    """Frames to learn from and to be compared on, with and without truth.

    Attributes:
        frames: Sample frames: it learns from the calibration set, and is compared on the validation set.
        labelled: Frames with truth to learn from as well; no more than 512 are, evenly out of all.
        scored: Frames with truth to compare networks on.
    """

    frames: SampleFrames
    labelled: Sequence[LabelledFrame] = ()
    scored: Sequence[LabelledFrame] = ()

    def in_classes(self, labels: Sequence[Label]) -> ShrinkData:
        """The same with the labels of datasets in a network's classes, by name; those of other sequences stay.

        Raises:
            DatasetError: If no class has the same name.
        """
        return replace(self, labelled=_matched(self.labelled, labels), scored=_matched(self.scored, labels))


def _matched(frames: Sequence[LabelledFrame], labels: Sequence[Label]) -> Sequence[LabelledFrame]:
    return match_labels(frames, labels) if isinstance(frames, IndexedFrames) else frames
