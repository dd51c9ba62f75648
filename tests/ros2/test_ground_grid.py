"""The ground from above, against rays of a camera traced cell by cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.messages import definitions as ros
from edge_vseg.ros2.ground_grid import GroundGrid, GroundOptions, read_homography

LABELS = tuple(Label(id=i, name=name, color=(0, 0, 0)) for i, name in enumerate(["road", "grass", "wall"]))
HEIGHT, WIDTH, FOCAL_PX, CAMERA_M, PITCH = 48, 64, 50.0, 1.2, 0.35


def project(x: float, y: float) -> tuple[float, float] | None:
    """Pixel of a point of the ground, seen by a camera 1.2 m above it that looks down by 0.35 rad; None behind it."""
    down, left, ahead = CAMERA_M, y, x
    depth = ahead * np.cos(PITCH) + down * np.sin(PITCH)
    if depth <= 0:
        return None
    below = down * np.cos(PITCH) - ahead * np.sin(PITCH)
    return WIDTH / 2 - FOCAL_PX * left / depth, HEIGHT / 2 + FOCAL_PX * below / depth


def homography() -> np.ndarray:
    """From four points by solving for the eight unknowns."""
    rows, right = [], []
    for x, y in ((2.0, 1.0), (2.0, -1.0), (6.0, 2.0), (6.0, -2.0)):
        pixel = project(x, y)
        assert pixel is not None
        u, v = pixel
        rows += [[u, v, 1, 0, 0, 0, -x * u, -x * v], [0, 0, 0, u, v, 1, -y * u, -y * v]]
        right += [x, y]
    return np.append(np.linalg.solve(np.array(rows), np.array(right)), 1).reshape(3, 3)


def options(**changes: object) -> GroundOptions:
    given = {"homography": homography(), "free": ("road",), "range_m": (-3.0, -4.0, 9.0, 4.0), "resolution_m": 0.25}
    return GroundOptions(**(given | changes))  # type: ignore[arg-type]


def test_cells_are_those_of_the_rays() -> None:
    labels = np.random.default_rng(0).choice([0, 1, 2, 255], (HEIGHT, WIDTH)).astype(np.uint8)
    cells = GroundGrid(options(free=("road", "grass")), LABELS).cells(labels)
    assert cells.shape == (32, 48)
    expected = np.full(cells.shape, -1)
    close = 0
    for row in range(32):
        for column in range(48):
            pixel = project(-3.0 + (column + 0.5) * 0.25, -4.0 + (row + 0.5) * 0.25)
            if pixel is None:
                continue
            u, v = round(pixel[0]), round(pixel[1])
            close += min(abs(pixel[0] % 1 - 0.5), abs(pixel[1] % 1 - 0.5)) < 1e-6
            if 0 <= u < WIDTH and 0 <= v < HEIGHT:
                expected[row, column] = {0: 0, 1: 0, 2: 100, 255: -1}[int(labels[v, u])]
    assert (cells != expected).sum() <= close
    assert set(np.unique(cells)) == {-1, 0, 100}
    assert (cells[:, :12] == -1).all(), "behind the camera"


@pytest.mark.parametrize("told", [(HEIGHT, WIDTH), None], ids=["told", "first seen"])
@pytest.mark.parametrize("scale", [2, 0.5], ids=["twice", "half"])
def test_the_same_picture_at_another_size(told: tuple[int, int] | None, scale: float) -> None:
    """The camera traced again, with the focal length and centre of the other image."""
    grid = GroundGrid(options(image_hw=told), LABELS)
    if told is None:
        grid.cells(np.zeros((HEIGHT, WIDTH), np.uint8))
    height, width = round(HEIGHT * scale), round(WIDTH * scale)
    labels = np.random.default_rng(1).choice([0, 2], (height, width)).astype(np.uint8)
    cells = grid.cells(labels)
    wrong = 0
    for row in range(32):
        for column in range(48):
            pixel = project(-3.0 + (column + 0.5) * 0.25, -4.0 + (row + 0.5) * 0.25)
            if pixel is None:
                continue
            # Edges of the image stay where they are: pixel 0 is from -0.5 to 0.5.
            u, v = (round((each + 0.5) * scale - 0.5) for each in pixel)
            inside = 0 <= u < width and 0 <= v < height
            wrong += cells[row, column] != ({0: 0, 2: 100}[int(labels[v, u])] if inside else -1)
    assert wrong <= 3, "only where rounding is close"


def test_all_classes_of_a_name_are_free() -> None:
    """As an old bundle may have several."""
    twice = tuple(Label(id=i, name=name, color=(0, 0, 0)) for i, name in enumerate(["road", "road", "wall"]))
    cells = [GroundGrid(options(), twice).cells(np.full((HEIGHT, WIDTH), each, np.uint8)) for each in (0, 1, 2)]
    np.testing.assert_array_equal(cells[0], cells[1])
    assert (cells[1] == 0).any()
    assert not (cells[2] == 0).any()


@pytest.mark.parametrize("size_hw", [(36, 64), (WIDTH, HEIGHT), (HEIGHT, WIDTH + 2)], ids=["cut", "turned", "wider"])
@pytest.mark.parametrize("told", [(HEIGHT, WIDTH), None], ids=["told", "first seen"])
def test_another_picture_has_no_grid(told: tuple[int, int] | None, size_hw: tuple[int, int]) -> None:
    grid = GroundGrid(options(image_hw=told), LABELS)
    if told is None:
        grid.cells(np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(FrameError, match=f"of images of 64x48, and this one is {size_hw[1]}x{size_hw[0]}"):
        grid.message(np.zeros(size_hw, np.uint8), ros.Time(sec=3))
    assert (grid.cells(np.zeros((HEIGHT, WIDTH), np.uint8)) == 0).any(), "it comes again with the right images"


@pytest.mark.parametrize("sizes", [((720, 1280), (480, 854)), ((480, 854), (1080, 1920))], ids=["smaller", "larger"])
def test_a_width_that_was_rounded_is_the_same_picture(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    grid = GroundGrid(options(image_hw=sizes[0]), LABELS)
    grid.cells(np.zeros(sizes[1], np.uint8))


def test_message() -> None:
    message = GroundGrid(options(), LABELS).message(np.zeros((HEIGHT, WIDTH), np.uint8), ros.Time(sec=3))
    assert (message.info.width, message.info.height, message.header.frame_id) == (48, 32, "base_link")
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-3.0, -4.0)
    assert message.info.origin.orientation.w == 1.0
    assert message.data.dtype == np.int8
    assert message.header.stamp == ros.Time(sec=3)


def test_homography_of_points(tmp_path: Path) -> None:
    metres = [(2.0, 1.0), (2.0, -1.0), (6.0, 2.0), (6.0, -2.0), (4.0, 0.0)]
    path = tmp_path / "ground.json"
    path.write_text(json.dumps({"pixels": [project(*point) for point in metres], "metres": metres}))
    found, image_hw = read_homography(path)
    assert image_hw is None
    np.testing.assert_allclose(found / found[2, 2], homography(), rtol=1e-5, atol=1e-6)
    path.write_text(json.dumps({"matrix": homography().tolist(), "size": [WIDTH, HEIGHT]}))
    found, image_hw = read_homography(path)
    np.testing.assert_allclose(found, homography())
    assert image_hw == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"pixels": [[1, 2]], "metres": [[1, 2]]}',
        '{"matrix": [[1, 2], [3]]}',
        '{"size": [64], "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}',
        '{"size": [64, 0], "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}',
        '{"size": [true, 48.0], "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}',
        '{"size": 64, "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}',
    ],
    ids=["empty", "list", "nothing", "one point", "ragged", "one side", "no rows", "no numbers", "one number"],
)
def test_files_that_define_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ground.json"
    path.write_text(text)
    with pytest.raises(OptionError, match="at least four points"):
        read_homography(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"homography": np.zeros((3, 3))}, "cannot be inverted"),
        ({"homography": np.eye(2)}, r"finite \(3, 3\) matrix"),
        ({"range_m": (1.0, 0.0, 1.0, 2.0)}, "x_min < x_max"),
        ({"resolution_m": 0.0}, "positive resolution"),
        ({"resolution_m": 30.0}, r"a grid of 0\.4 x 0\.26667 .* a smaller resolution"),
        ({"range_m": (0.0, 0.0, 10.0, 0.2), "resolution_m": 0.5}, r"a grid of 20 x 0\.4 .* a smaller resolution"),
        ({"resolution_m": 0.001}, r"a grid of 12000 x 8000 .* at most 4000000 .* a larger resolution"),
        ({"resolution_m": 5e-324}, r"a grid of inf x inf .* a larger resolution"),
        ({"range_m": (0.0, 0.0, float("inf"), 1.0)}, "a grid of inf x 4 "),
        ({"image_hw": (0, 64)}, "at least one pixel"),
        ({"free": ()}, "no class is free"),
    ],
)
def test_impossible_grounds(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        options(**changes)


def test_a_free_class_that_the_bundle_lacks() -> None:
    with pytest.raises(OptionError, match="no class 'water' to be free; known: road, grass, wall"):
        GroundGrid(options(free=("water",)), LABELS)
