"""What is set aside of a split that is alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vseg.analysis.datasets import IndexedFrames
from edge_vseg.analysis.datasets.divided_split import divide_split
from edge_vseg.analysis.datasets.indexed import FrameEntry
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import named_labels

TRUTH = IdFile(path=Path("a.png"), table=consecutive(11))


def split_of(clips: dict[str, int], *, alone: int = 0, unlabelled: int = 0) -> IndexedFrames:
    """Clips of so many frames, and images that stand alone."""
    names = [(clip, f"{clip}{number}") for clip, count in clips.items() for number in range(count)]
    names += [(f"sub/{number}", f"{number}") for number in range(alone)]
    entries = [FrameEntry(image=Path("x.png"), truth=TRUTH, name=name, clip=clip) for clip, name in names]
    entries += [FrameEntry(image=Path("y.png"), truth=None, name="y", clip="c")] * unlabelled
    return IndexedFrames(entries, named_labels("camvid"), split="all", where=Path())


@pytest.mark.parametrize(
    ("clips", "judged"),
    [
        ({"a": 8, "b": 8}, {"b"}),
        ({"a": 8, "b": 8, "c": 8, "d": 8}, {"b"}),
        ({each: 6 for each in "abcdefgh"}, {"b", "f"}),
        ({"a": 90, "b": 10}, {"b"}),
        ({"a": 10, "b": 90}, {"a"}),
    ],
    ids=["two", "four", "eight", "a short one last", "a short one first"],
)
def test_whole_clips(clips: dict[str, int], judged: set[str]) -> None:
    """No clip is on both sides: its neighbouring frames show nearly the same."""
    divided = divide_split(split_of(clips))
    assert divided is not None
    assert {entry.clip for entry in divided.judged.entries} == judged
    assert {entry.clip for entry in divided.learnt.entries} == set(clips) - judged
    assert divided.how == f"all of {', '.join(sorted(judged))}"


def test_the_end_of_a_single_clip() -> None:
    divided = divide_split(split_of({"a": 20}))
    assert divided is not None
    assert [entry.name for entry in divided.learnt.entries] == [f"a{number}" for number in range(15)]
    assert [entry.name for entry in divided.judged.entries] == [f"a{number}" for number in range(15, 20)]
    assert divided.how == "the end of a"


def test_the_end_of_a_clip_beside_few_images() -> None:
    """One image, or nearly everything, would be too little to judge by or to learn from."""
    divided = divide_split(split_of({"a": 100}, alone=2))
    assert divided is not None
    assert (len(divided.learnt), len(divided.judged)) == (77, 25)
    assert {entry.clip for entry in divided.judged.entries} == {"a"}


def test_every_fourth_image_that_stands_alone() -> None:
    divided = divide_split(split_of({}, alone=10, unlabelled=30))
    assert divided is not None
    assert [entry.name for entry in divided.judged.entries] == ["0", "4", "8"]
    assert len(divided.learnt) == 7
    assert divided.how == "one in 4 images"


def test_too_few_labels() -> None:
    assert divide_split(split_of({}, alone=7, unlabelled=30)) is None
