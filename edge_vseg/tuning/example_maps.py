"""Label maps of recommended settings, side by side with what they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.frame_pacing import Answer
from edge_vseg.tuning.trial import TrialJob, watch_trial
from edge_vseg.types import Image, LabelMap

PLACES = (0.35, 0.75)
"""Which frames of the clip are shown, as shares of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleMap:
    """A label map to draw.

    Attributes:
        name: What made it.
        frame: Number of the frame.
        image: ``(H, W, 3)`` uint8 BGR.
        labels: ``(H, W)`` uint8.
    """

    name: str
    frame: int
    image: Image
    labels: LabelMap


def example_maps(
    jobs: Sequence[tuple[str, TrialJob]], files: Callable[[Path], Path] = lambda path: path
) -> list[list[ExampleMap]]:
    """Run settings again, and keep what they show at :data:`PLACES`.

    Args:
        jobs: Settings by name.
        files: Where the jobs' files are.

    Returns:
        A row for each place: what they are judged by, then each setting.
    """
    if not jobs:
        return []
    wanted = sorted({int(place * jobs[0][1].count) for place in PLACES})
    rows: dict[int, list[ExampleMap]] = {number: [] for number in wanted}
    for name, job in jobs:
        seen = 0

        def keep(frame: LabelledFrame, answer: Answer, name: str = name) -> None:
            nonlocal seen
            if seen in rows:
                row = rows[seen]
                if not row:
                    row.append(ExampleMap(name="judged by", frame=seen, image=frame.image, labels=frame.labels))
                row.append(ExampleMap(name=name, frame=seen, image=frame.image, labels=answer.result.labels.copy()))
            seen += 1

        watch_trial(job, files, keep)
    return [row for row in rows.values() if row]
