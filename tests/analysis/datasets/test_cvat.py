"""CVAT for images and for video, and XML that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_datasets import SIZE_HW, picture
from tool_writers import HEIGHT, SQUARE, WIDTH, cvat, cvat_image, polygon, stray

from edge_vseg.analysis.datasets import follows, open_dataset
from edge_vseg.errors import DatasetError


def test_cvat_images(tmp_path: Path) -> None:
    picture(tmp_path / "images/sub/a.png")
    picture(tmp_path / "images/b.png")
    body = (
        polygon(SQUARE, 'label="car" z_order="5"')
        + polygon([[0, 0], [8, 0], [8, 6], [0, 6]], 'label="road" z_order="-1"')
        + '<mask label="car" rle="1, 2, 1" left="6" top="4" width="2" height="2" z_order="1"/>'
        + '<box label="car" xtl="1" ytl="1" xbr="2" ybr="2" z_order="0"/><tag label="blurred"/>'
        + polygon([[0, 0], [2, 0], [0, 2]], 'label="tree" z_order="9"')
    )
    picture(tmp_path / "images/c.png")
    boxed = '<box label="car" xtl="1" ytl="1" xbr="2" ybr="2"/>'
    tagged = cvat_image('<tag label="blurred"/>', "b.png")
    cvat(tmp_path, cvat_image(body, "sub/a.png") + tagged + cvat_image(boxed, "c.png"))
    frames = open_dataset(f"cvat:{tmp_path}")
    assert frames.split == "all"
    assert [(each.name, each.color) for each in frames.labels][:1] == [("road", (128, 64, 128))]
    assert [each.name for each in frames.labels] == ["road", "car"]
    expected = np.zeros(SIZE_HW, np.uint8)
    expected[1:4, 1:5] = 1
    expected[4, 7] = expected[5, 6] = 1
    expected[0, 0] = 255
    np.testing.assert_array_equal(frames[0].labels, expected)
    assert stray(frames) == {"box of car": 1, "tag of blurred": 1, "polygon of tree": 1}
    assert frames.entries[1].truth is None, "a tag is not a drawing"
    assert (frames[2].labels == 255).all()
    assert stray(frames, 2) == {"box of car": 1}
    assert not follows(frames[0], frames[1])


def test_cvat_images_of_a_video(tmp_path: Path) -> None:
    """Their names have no suffix; frame 2 is deleted, and nobody annotated frame 1."""
    for number in (0, 1, 3):
        picture(tmp_path / f"images/frame_{number:06}.PNG", number)
    bodies = ((0, polygon(SQUARE)), (1, ""), (3, polygon(SQUARE)))
    cvat(tmp_path, "".join(cvat_image(body, f"frame_{number:06}") for number, body in bodies))
    frames = open_dataset(f"cvat:{tmp_path}")
    assert [int(each.image[0, 0, 0]) for each in frames] == [0, 1, 3]
    assert [each.truth is None for each in frames.entries] == [False, True, False]
    assert follows(frames[0], frames[1])
    assert not follows(frames[1], frames[2])
    (tmp_path / "images/frame_000001.PNG").unlink()
    (tmp_path / "images/frame_000001.PNG").symlink_to("/etc/hostname")
    with pytest.raises(DatasetError, match="a link that leaves"):
        open_dataset(f"cvat:{tmp_path}")


def test_cvat_subsets_and_background(tmp_path: Path) -> None:
    picture(tmp_path / "images/Train/a.png")
    picture(tmp_path / "images/b.png")
    images = cvat_image("", more='subset="Train"') + cvat_image(polygon(SQUARE), "b.png", more='subset="Validation"')
    labels = "<label><name>background</name></label><label><name>car</name></label>"
    cvat(tmp_path, images, labels=labels)
    assert open_dataset(f"cvat:{tmp_path}:Train").entries[0].truth is None, "nobody annotated it"
    (frame,) = open_dataset(f"cvat:{tmp_path}")
    assert frame.name == "b", "it is judged by Validation"
    assert (frame.labels == 1).sum() == 12
    assert (frame.labels == 0).sum() == 36
    with pytest.raises(DatasetError, match="it has Train, Validation"):
        open_dataset(f"cvat:{tmp_path}:val")


def test_cvat_video(tmp_path: Path) -> None:
    numbers = (0, 1, 2, 3, 4, 9, 10)  # frames 5 to 8 are deleted
    for number in numbers:
        picture(tmp_path / f"images/frame_{number:06}.PNG")
    car = "".join(
        polygon([[x + number, y] for x, y in SQUARE], f'frame="{number}" outside="{out}" keyframe="{key}" z_order="1"')
        for number, out, key in ((1, 0, 1), (2, 0, 0), (3, 1, 1))
    )
    whole = [[0, 0], [8, 0], [8, 6], [0, 6]]
    road = "".join(polygon(whole, f'frame="{number}" outside="0" keyframe="1"') for number in (0, 1, 2, 3, 9))
    road += polygon(whole, 'frame="10" outside="1" keyframe="1"')
    box = '<box frame="0" outside="0" keyframe="1" xtl="0" ytl="0" xbr="1" ybr="1"/>'
    alone = '<mask frame="3" outside="0" rle="0, 4" left="0" top="0" width="2" height="2"/>'
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    tracks = (
        f'<track id="0" label="car">{car}</track><track id="1" label="road">{road}</track>'
        f'<track id="2" label="car">{box}</track><track id="3" label="car">{alone}</track>'
    )
    frames = open_dataset(f"cvat:{cvat(tmp_path, tracks, size)}")
    assert len(frames) == len(numbers)
    assert (frames[0].labels == 0).all()
    assert frames[1].labels[1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert frames[2].labels[1].tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert (frames[3].labels == 1).sum() == 4
    assert frames.entries[4].truth is None, "the track of the road says nothing about frame 4, and is not outside"
    assert (frames[5].labels == 0).all()
    assert frames.entries[6].truth is None, "no track has a shape there: nobody may have looked"
    assert stray(frames) == {"box of car": 1}
    assert follows(frames[3], frames[4])
    assert not follows(frames[4], frames[5])


def test_cvat_tracks_of_several_tasks(tmp_path: Path) -> None:
    picture(tmp_path / "images/frame_000000.png")
    cvat(tmp_path, '<track id="0" label="car" task_id="1"/><track id="1" label="car" task_id="2"/>')
    with pytest.raises(DatasetError, match="tracks of several tasks"):
        open_dataset(f"cvat:{tmp_path}")


def test_cvat_tracks_without_a_frame(tmp_path: Path) -> None:
    picture(tmp_path / "images/frame_000000.png")
    cvat(tmp_path, '<track id="0" label="car"><polygon frame="x"/></track>')
    with pytest.raises(DatasetError, match="polygon has frame='x'"):
        open_dataset(f"cvat:{tmp_path}")


def test_cvat_tracks_over_images_whose_order_is_not_known(tmp_path: Path) -> None:
    picture(tmp_path / "images/10.png")
    square = polygon(SQUARE, 'frame="0" outside="0"')
    cvat(tmp_path, f'<track id="0" label="car">{square}</track>')
    with pytest.raises(DatasetError, match=r"10\.png is no frame_000000\.png of a video; .*CVAT for images"):
        open_dataset(f"cvat:{tmp_path}")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (polygon([[1, 1], [2, 2]]), r"image 'a\.png', polygon of 'car': expected at least 3 points"),
        ('<polygon label="car" points="nan,1;2,2;3,1"/>', "expected at least 3 points"),
        ('<polygon label="car" points="1e9,1;2,2;3,1"/>', "expected at least 3 points"),
        ('<polygon label="car"/>', "expected at least 3 points"),
        (polygon(SQUARE, 'label="car" z_order="front"'), "polygon has z_order='front'; expected a whole number"),
        ('<mask label="car" rle="3" left="0" top="0" width="2" height="2"/>', r"do not make a mask of \(2, 2\)"),
        ('<mask label="car" rle="-1, 5" left="0" top="0" width="2" height="2"/>', "do not make a mask"),
        ('<mask label="car" rle="1, x" left="0" top="0" width="2" height="2"/>', "do not make a mask"),
        ('<mask label="car" rle="81" left="0" top="0" width="9" height="9"/>', r"a mask of \(9, 9\) in an image"),
        ('<mask label="car" rle="4" top="0" width="2" height="2"/>', "mask has left=''; expected a whole number"),
    ],
)
def test_cvat_shapes_that_cannot_be(body: str, why: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    frames = open_dataset(f"cvat:{cvat(tmp_path, cvat_image(body))}")
    with pytest.raises(DatasetError, match=why) as caught:
        frames[0]
    assert "annotations.xml" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (cvat_image("", size='width="8"'), "image has height=''; expected a whole number"),
        (cvat_image("", "../a.png"), r"names the file '\.\./a\.png'; expected a name inside"),
        (cvat_image("", "/a.png"), r"names the file '/a\.png'"),
        (cvat_image("", more='subset="../.."'), r"names the file '\.\./\.\.'"),
        (cvat_image("", "none.png"), r"names the image 'none\.png', which is not in"),
        ('<image name="a.png"', "is not XML"),
    ],
)
def test_cvat_files_that_cannot_be(body: str, why: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    with pytest.raises(DatasetError, match=why):
        open_dataset(f"cvat:{cvat(tmp_path, body)}")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<!DOCTYPE annotations [<!ENTITY l0 "ha">{LAUGHS}]><annotations><meta/>&l9;</annotations>'
FILE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]><annotations><meta/>&f;</annotations>'


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        FILE.encode(),
        b"\xef\xbb\xbf" + BOMB.encode(),
        BOMB.encode("utf-16"),
        BOMB.encode("utf-16-le"),
        b'<?xml version="1.0" encoding="cp037"?>' + BOMB.encode("cp037"),
        b'<?xml version="1.0" encoding="utf-7"?>' + BOMB.replace("<", "+ADw-").encode(),
        b"<annotations><meta/>&l9;</annotations>",
        b"",
    ],
    ids=["laughs", "a file", "with a mark", "utf-16", "utf-16 without a mark", "cp037", "utf-7", "undeclared", "empty"],
)
def test_xml_with_entities_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_bytes(data)
    with pytest.raises(DatasetError, match=r"annotations\.xml (declares a document type|is not XML|is not in UTF-8)"):
        open_dataset(f"cvat:{tmp_path}")


def test_xml_of_something_else_and_deep_xml(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    with pytest.raises(DatasetError, match="does not hold CVAT"):
        open_dataset(f"cvat:{tmp_path}")
