"""What is set aside of a split that is alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_vseg.analysis.datasets import IndexedFrames
from edge_vseg.analysis.datasets.divided_split import divide_split
from edge_vseg.analysis.datasets.indexed import FrameEntry
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import named_labels

TRUTH = IdFile(path=Path("a.png"), table=consecutive(11))

ALONE = ("oak", "elm", "ash", "yew", "fir", "bay", "box", "fig", "may", "sal")


def split_of(clips: dict[str, int], *, alone: int = 0, unlabelled: int = 0) -> IndexedFrames:
    """Clips of so many frames, and images that stand alone, whose names are in no order."""
    names = [(clip, f"{clip}{number}") for clip, count in clips.items() for number in range(count)]
    names += [(f"sub/{name}", name) for name in ALONE[:alone]]
    return of_names(names, unlabelled)


def of_names(names: Sequence[tuple[str, str]], unlabelled: int = 0) -> IndexedFrames:
    """Frames of these clips and names."""
    entries = [FrameEntry(image=Path("images/x.png"), truth=TRUTH, name=name, clip=clip) for clip, name in names]
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
    assert [entry.name for entry in divided.judged.entries] == ["oak", "fir", "may"]
    assert len(divided.learnt) == 7
    assert divided.how == "one in 4 images"


@pytest.mark.parametrize(
    ("clip", "name"),
    [("{name}", "frame_{place:06d}"), ("garden_{clip}", "frame_{place:06d}"), ("{name}", "{place}-left")],
    ids=["in a folder", "of CVAT", "without leading zeros"],
)
@pytest.mark.parametrize(
    ("count", "judged", "how"),
    [
        (12, {9, 10, 11}, "the end of "),
        (40, {*range(15, 20), *range(35, 40)}, "the ends of 2 stretches of "),
        (160, {each for end in (40, 80, 120, 160) for each in range(end - 10, end)}, "the ends of 4 stretches of "),
    ],
)
def test_every_tenth_frame_of_a_video_is_divided_in_stretches(
    clip: str, name: str, count: int, judged: set[int], how: str
) -> None:
    """Frame by frame, each that is judged by would have its neighbours among those that are learnt."""
    names = [name.format(place=10 * number) for number in range(count)]
    pairs = sorted((clip.format(name=each, clip=9 * number), each) for number, each in enumerate(names))
    divided = divide_split(of_names(sorted(pairs, key=lambda pair: pair[1])))
    assert divided is not None
    assert {entry.name for entry in divided.judged.entries} == {names[number] for number in judged}
    assert len(divided.learnt) == count - len(judged)
    assert divided.how == how + "images/" + name.replace("{place:06d}", "*").replace("{place}", "*")


def test_rows_of_numbered_images_beside_others() -> None:
    """Of each row the end; a row of fewer than four is none."""
    names = (
        [f"day{number}" for number in range(8)]
        + [f"night{number}" for number in range(12)]
        + ["dusk1", "dusk2", *ALONE]
    )
    divided = divide_split(of_names([(name, name) for name in names]))
    assert divided is not None
    judged = " ".join(entry.name for entry in divided.judged.entries)
    assert judged == "day6 day7 night9 night10 night11 dusk1 ash box"
    assert divided.how == "the end of images/day*, the end of images/night*, one in 4 other images"


def test_too_few_labels() -> None:
    assert divide_split(split_of({}, alone=7, unlabelled=30)) is None
