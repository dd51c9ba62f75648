"""Images as a source: order, sizes, damage."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_video import number_of, numbered

from edge_vseg.errors import NoFramesError, OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.video import open_source
from edge_vseg.video.images import picture_in, read_image
from edge_vseg.video.paths import natural_key


def save(path: Path, image: np.ndarray) -> Path:
    data = cv2.imencode(path.suffix, image)[1].tobytes()
    path.write_bytes(data)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in (0, 1, 2, 9, 10, 100):
        save(tmp_path / f"frame{number}.png", numbered(number))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame0.png").write_bytes(b"what another system leaves behind")
    return tmp_path


def test_a_folder_is_read_in_natural_order(folder):
    with open_source(folder) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 9, 10, 100]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [frame.pts_ns for frame in frames] == [None] * 6
    assert frames[3].source_name == str(folder / "frame9.png")


def test_folder_properties(folder):
    with open_source(folder, max_frames=4) as source:
        assert (source.frame_count, source.fps, source.is_live) == (4, None, False)
        assert len(list(source)) == 4


def test_image_fps_gives_times(folder):
    with open_source(folder, image_fps=15) as source:
        assert source.fps == 15
        assert [frame.pts_ns for frame in source] == [round(i * 1e9 / 15) for i in range(6)]


def test_a_list_is_read_in_the_order_given(folder):
    with open_source([folder / "frame10.png", str(folder / "frame2.png")]) as source:
        assert [number_of(frame.image) for frame in source] == [10, 2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".webp", ".tif", ".ppm"])
def test_one_image_is_one_frame(tmp_path, suffix):
    with open_source(save(tmp_path / f"sign{suffix}", numbered(77))) as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [77]
    assert frames[0].image.shape == (64, 96, 3)


def test_sizes_may_differ(tmp_path):
    save(tmp_path / "1.png", numbered(1))
    save(tmp_path / "2.png", numbered(2, (48, 160)))
    with open_source(tmp_path) as source:
        assert [frame.image.shape[:2] for frame in source] == [(64, 96), (48, 160)]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param(np.full((8, 8), 200, np.uint8), 200, id="grey"),
        pytest.param(np.full((8, 8), 200 * 257, np.uint16), 200, id="16 bits"),
        pytest.param(np.full((8, 8, 4), 200, np.uint8), 200, id="alpha"),
    ],
)
def test_any_kind_of_png_becomes_bgr(tmp_path, stored, expected):
    image = read_image(save(tmp_path / "x.png", stored))
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("part", [0.05, 0.6, 0.98])
def test_a_truncated_image_is_refused(tmp_path, suffix, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    save(tmp_path / f"1{suffix}", noise)
    cut = save(tmp_path / f"2{suffix}", noise)
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * part)])
    with open_source(tmp_path) as source:
        assert next(source).seq == 0
        with pytest.raises(VideoDecodeError, match=rf"2\{suffix}: "):
            next(source)


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path):
    path = save(tmp_path / "x.jpg", numbered(5))
    path.write_bytes(path.read_bytes() + b"maker notes" * 100)
    assert number_of(read_image(path)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull", id="git-lfs"),
        pytest.param(b"hello", "not an image", id="text"),
    ],
)
def test_files_that_are_not_images_are_refused(tmp_path, content, message):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(VideoDecodeError, match=rf"x\.png.*{message}"):
        next(source)


def test_a_missing_image_of_a_list_is_found_at_once(folder):
    with pytest.raises(VideoNotFoundError, match=r"frame3\.png does not exist"):
        open_source([folder / "frame1.png", folder / "frame3.png"])


def test_folders_without_images_list_their_content(tmp_path):
    with pytest.raises(NoFramesError, match="is empty; expected images"):
        open_source(tmp_path)
    (tmp_path / "images").mkdir()
    save(tmp_path / "images" / "1.png", numbered(1))
    with pytest.raises(NoFramesError, match="its folders images do"):
        open_source(tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "drive.mp4").write_bytes(b"x")
    with pytest.raises(NoFramesError, match=r"found drive\.mp4"):
        open_source(tmp_path)


def test_lists_contain_images_only():
    with pytest.raises(NoFramesError, match="list of images is empty"):
        open_source([])
    with pytest.raises(OptionError, match="open videos one at a time"):
        open_source(["a.png", "b.mp4"])


@pytest.mark.parametrize("fps", [0, -3, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(folder, fps):
    with pytest.raises(OptionError, match="must be positive"):
        open_source(folder, image_fps=fps)


@given(st.lists(st.integers(0, 10**6), unique=True), st.sampled_from(["frame", "a1_", ""]))
def test_natural_order(numbers, prefix):
    names = [f"{prefix}{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text("aB0129_-.é٣", max_size=6)))
def test_natural_order_can_compare_any_names(names):
    assert sorted(sorted(names, key=natural_key)) == sorted(names)


@pytest.mark.parametrize("name", ["*.png", "frame%04d.png", "frame[0-9].png"])
def test_a_pattern_of_names_is_told_from_a_slip(name, tmp_path):
    (tmp_path / "frame0.png").write_bytes(b"")
    with pytest.raises(VideoNotFoundError, match=rf"give the folder {tmp_path}, or a list such as sorted\(glob"):
        open_source(tmp_path / name)


def test_a_home_that_no_shell_has_written_out():
    with pytest.raises(VideoNotFoundError, match=r"give Path\('~/drive.mp4'\).expanduser\(\)"):
        open_source("~/drive.mp4")


def test_a_name_that_is_no_utf8(tmp_path):
    """As any other name is in a locale of ASCII; ``cv2.imread`` ends the process there."""
    path = tmp_path / os.fsdecode(b"stra\xdfe.png")
    try:
        save(path, numbered(3))
    except OSError:
        pytest.skip("the file system takes no such name")
    assert number_of(picture_in(path, cv2.IMREAD_COLOR)) == 3
    assert picture_in(path, cv2.IMREAD_GRAYSCALE).ndim == 2
    assert number_of(read_image(path)) == 3
    path.write_bytes(b"")
    assert picture_in(path, cv2.IMREAD_COLOR) is None
    assert picture_in(path.with_name("missing.png"), cv2.IMREAD_COLOR) is None
