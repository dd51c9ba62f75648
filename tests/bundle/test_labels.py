"""Class sets by name and from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_vseg.bundle.labels import (
    MergedLabel,
    distinct_names,
    named_labels,
    numbered_labels,
    parse_labels,
    plain_labels,
    read_labels,
    same_classes,
    spread_color,
    voc_color,
)
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.navigation import class_ids


@pytest.mark.parametrize(
    ("name", "count", "known"),
    [
        # As published with the data sets: CamVid's 11-class arrangement, Cityscapes' trainIds, VOC 2012.
        ("camvid", 11, {0: ("sky", (128, 128, 128)), 3: ("road", (128, 64, 128)), 8: ("car", (64, 0, 128))}),
        ("cityscapes", 19, {0: ("road", (128, 64, 128)), 10: ("sky", (70, 130, 180)), 13: ("car", (0, 0, 142))}),
        ("voc", 21, {0: ("background", (0, 0, 0)), 12: ("dog", (64, 0, 128)), 15: ("person", (192, 128, 128))}),
    ],
)
def test_named_sets(name: str, count: int, known: dict[int, tuple[str, tuple[int, int, int]]]) -> None:
    labels = named_labels(name)
    assert [label.id for label in labels] == list(range(count))
    assert len({label.name for label in labels}) == len({label.color for label in labels}) == count
    assert {i: (labels[i].name, labels[i].color) for i in known} == known


def test_unknown_set() -> None:
    with pytest.raises(OptionError, match=r"'ade20k'; known: camvid, cityscapes, voc; or give a \.json file"):
        named_labels("ade20k")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (["road", {"name": "curb", "color": [1, 2, 3]}], True),
        (["curb", "road"], False),
        (["road", "Curb"], False),
        (["road", "curb", "mark"], False),
    ],
)
def test_classes_are_the_same_in_any_colour(other: list[object], same: bool) -> None:
    assert same_classes(parse_labels(["road", "curb"], ""), parse_labels(other, "")) is same


def test_voc_palette_as_published() -> None:
    # Of the development kit's colour map: ids 1, 2, 8, 20 and the void colour at 255.
    published = {1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {i: voc_color(i) for i in published} == published


def test_names_and_objects(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(["föreground", {"name": "curb", "color": [1, 2, 3]}, {"name": "mark"}]))
    labels = read_labels(path)
    assert [(label.id, label.name) for label in labels] == [(0, "föreground"), (1, "curb"), (2, "mark")]
    assert labels[1].color == (1, 2, 3)
    assert labels[2].color == spread_color(2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"road": 1}', "a list of 2 to 255 classes"),
        (b'["road"]', "a list of 2 to 255 classes"),
        (json.dumps(["x"] * 256).encode(), "a list of 2 to 255 classes"),
        (b'["road", 5]', "entry 1: expected a name .* got 5"),
        (b'["road", ""]', "entry 1"),
        (b'[{"color": [1, 2, 3]}, "road"]', "entry 0"),
        (b'["a", "b", {"name": "a"}]', "classes 0 and 2 are both called 'a'; give each a name of its own"),
        (b'["road", {"name": "a", "color": [1, 2]}]', "entry 1"),
        (b'["road", {"name": "a", "color": [1, 2, 256]}]', "entry 1"),
        (b'["road", {"name": "a", "color": [1, 2, true]}]', "entry 1"),
        (b'["road", {"name": "a", "color": "red"}]', "entry 1"),
        (b'["road", {"name": "a", "of": []}]', "entry 1"),
        (b'["road", {"name": "a", "of": "car"}]', "entry 1"),
        (b'["road", {"name": "a", "of": null}]', "entry 1"),
        (b'["road", {"name": "a", "of": ["car", 3]}]', "entry 1"),
        (b'["a b", {"name": "c", "of": ["car", "A_B"]}]', "'a b' and 'c' both take a dataset's class 'A_B'; leave it"),
        (b'[{"name": "a", "of": ["x"]}, {"name": "b", "of": ["y", "x"]}]', "'a' and 'b' both take .* 'x'"),
    ],
)
def test_bad_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_a_class_that_is_made_of_several(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    rows = ["road", {"name": "vehicle", "color": [1, 2, 3], "of": ["car", "truck"]}]
    path.write_text(json.dumps(rows))
    labels = read_labels(path)
    assert labels[1] == MergedLabel(id=1, name="vehicle", color=(1, 2, 3), of=("car", "truck"))
    assert plain_labels(labels)[1] == Label(id=1, name="vehicle", color=(1, 2, 3))
    with pytest.raises(OptionError, match="here: class 'vehicle' has `of`, which a file for --classes may have"):
        parse_labels(rows, "here")


def test_keys_for_classes_of_which_two_have_one_name() -> None:
    labels = [Label(id=i, name=name, color=(0, 0, 0)) for i, name in enumerate(["void", "road", "void", "Road"])]
    assert distinct_names(labels) == ("void (0)", "road", "void (2)", "Road")
    assert class_ids(labels, ["void"]) == {0, 2}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_labels(tmp_path / "classes.json")


@pytest.mark.parametrize("count", [2, 3, 21, 64])
def test_numbered_labels_can_be_told_apart(count: int) -> None:
    labels = numbered_labels(count)
    assert [label.name for label in labels[:2]] == ["class_0", "class_1"]
    assert len({label.color for label in labels}) == count
    assert max(labels[0].color) < 64
