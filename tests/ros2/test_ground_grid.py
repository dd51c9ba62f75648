"""The ground from above, against rays of a camera traced cell by cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
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


def test_another_image_size_is_looked_up_anew() -> None:
    grid = GroundGrid(options(), LABELS)
    small = grid.cells(np.zeros((24, 32), np.uint8))
    large = grid.cells(np.zeros((HEIGHT, WIDTH), np.uint8))
    assert (small == 0).sum() != (large == 0).sum()


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
    found = read_homography(path)
    np.testing.assert_allclose(found / found[2, 2], homography(), rtol=1e-5, atol=1e-6)
    path.write_text(json.dumps({"matrix": homography().tolist()}))
    np.testing.assert_allclose(read_homography(path), homography())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"pixels": [[1, 2]], "metres": [[1, 2]]}', '{"matrix": [[1, 2], [3]]}'],
    ids=["empty", "list", "nothing", "one point", "ragged"],
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
        ({"free": ()}, "no class is free"),
    ],
)
def test_impossible_grounds(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        options(**changes)


def test_a_free_class_that_the_bundle_lacks() -> None:
    with pytest.raises(OptionError, match="no class 'water' to be free; known: road, grass, wall"):
        GroundGrid(options(free=("water",)), LABELS)
