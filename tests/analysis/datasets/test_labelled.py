"""Which labelled frames follow each other, and how fast."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.analysis.datasets import LabelledFrame, follows, labelled_rate

IMAGE, MAP = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)


def frame(clip: str, time_s: float | None) -> LabelledFrame:
    return LabelledFrame(image=IMAGE, labels=MAP, clip=clip, time_s=time_s)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (frame("a", 1.0), frame("a", 1.07), True),
        (frame("a", 1.0), frame("a", 2.0), False),
        (frame("a", 1.0), frame("b", 1.07), False),
        (frame("a", 1.0), frame("a", 0.9), False),
        (frame("", None), frame("", None), True),
        (frame("", None), LabelledFrame(image=IMAGE[:2], labels=MAP[:2]), False),
    ],
    ids=["next", "a second later", "another drive", "back in time", "nobody knows", "another size"],
)
def test_what_follows(before: LabelledFrame, after: LabelledFrame, expected: bool) -> None:
    assert follows(before, after) == expected


def test_the_rate_is_that_of_frames_that_follow() -> None:
    drive = [frame("a", at / 15) for at in range(5)]
    assert labelled_rate([*drive, frame("b", 9.0), frame("b", 9 + 1 / 15)]) == pytest.approx(15)
    assert labelled_rate([frame("a", float(at)) for at in range(5)]) is None
    assert labelled_rate([frame("", None)] * 5) is None
