"""Free space on the ground, seen from above, for ``nav_msgs/OccupancyGrid``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.labels import ids_by_name
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.input_files import read_regular, strict_json
from edge_vseg.messages import definitions as ros
from edge_vseg.navigation import GridSpec, GroundView, ground_homography
from edge_vseg.types import LabelMap, Size

MAX_CELLS = 4_000_000
"""Of a grid; each message has a byte for each of them."""

_MAX_CONDITION = 1e12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroundOptions:
    """Where the ground is, and what is free.

    Attributes:
        homography: ``(3, 3)`` float64 from pixels ``(u, v)`` of the camera image to metres ``(x, y)`` on the ground,
            x ahead and y to the left, as ROS has it (REP 103).
        image_hw: Height and width of the image that those pixels are of; ``None`` for those of the first image.
        free: Names of the classes that the robot may drive on.
        range_m: ``(x_min, y_min, x_max, y_max)`` of the grid.
        resolution_m: Side of a cell.
        frame_id: Coordinate frame of those metres.
    """

    homography: NDArray[np.float64]
    free: tuple[str, ...]
    range_m: tuple[float, float, float, float] = (0.0, -5.0, 10.0, 5.0)
    resolution_m: float = 0.1
    frame_id: str = "base_link"
    image_hw: Size | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if the homography or the grid is impossible."""
        if self.homography.shape != (3, 3) or not np.isfinite(self.homography).all():
            raise OptionError(f"a homography is a finite (3, 3) matrix, got shape {self.homography.shape}")
        if np.linalg.cond(self.homography) > _MAX_CONDITION:
            raise OptionError("the homography cannot be inverted; give four points of the ground, no three in a line")
        x_min, y_min, x_max, y_max = self.range_m
        if not (x_min < x_max and y_min < y_max and 0 < self.resolution_m < math.inf):
            raise OptionError(
                f"a grid needs x_min < x_max, y_min < y_max and a positive resolution, got {self.range_m} and"
                f" {self.resolution_m}"
            )
        cells = [side / self.resolution_m for side in (x_max - x_min, y_max - y_min)]
        if not (math.isfinite(math.prod(cells)) and min(self.size) >= 1 and math.prod(self.size) <= MAX_CELLS):
            raise OptionError(
                f"cells of {self.resolution_m:g} m make a grid of {cells[0]:.5g} x {cells[1]:.5g} for {self.range_m};"
                f" at least one each way and at most {MAX_CELLS} in all are possible: choose a"
                f" {'smaller' if min(cells) < 1 else 'larger'} resolution (metres of a cell), or another range"
            )
        if self.image_hw is not None and min(self.image_hw) < 1:
            raise OptionError(f"an image has at least one pixel, got {self.image_hw} for its height and width")
        if not self.free:
            raise OptionError("no class is free; name those that the robot may drive on, such as road")

    @property
    def size(self) -> tuple[int, int]:
        """Cells ahead (along x) and to the side (along y)."""
        x_min, y_min, x_max, y_max = self.range_m
        return round((x_max - x_min) / self.resolution_m), round((y_max - y_min) / self.resolution_m)


class GroundGrid:
    """Looks up the class of each cell of the ground; the look-up is computed once for each image size.

    The homography is of images of one size, that of the first one if the options do not tell. For the same picture at
    another size it is scaled.

    Args:
        options: Where the ground is, and what is free.
        labels: The bundle's classes.

    Raises:
        OptionError: If a free class is not among them.
    """

    def __init__(self, options: GroundOptions, labels: Sequence[Label]) -> None:
        known = ids_by_name(labels)
        unknown = [name for name in options.free if name not in known]
        if unknown:
            raise OptionError(f"there is no class {unknown[0]!r} to be free; known: {', '.join(known)}")
        self._options = options
        self._free = [number for name in options.free for number in known[name]]
        self._image_hw = options.image_hw
        self._view: GroundView | None = None

    def cells(self, labels: LabelMap) -> NDArray[np.int8]:
        """The grid of a label map at the size of the camera image.

        Returns:
            ``(rows along y, columns along x)`` int8: 0 free, 100 occupied, -1 not in the image.

        Raises:
            FrameError: If it has another aspect ratio than the image that the homography is of.
        """
        if self._view is None or self._view.size_hw != labels.shape:
            self._view = self._look_from(labels.shape)
        return self._view.occupancy(labels, self._free)

    def _look_from(self, size_hw: Size) -> GroundView:
        options = self._options
        columns, rows = options.size
        grid = GridSpec(resolution_m=options.resolution_m, size_hw=(rows, columns), origin_m=options.range_m[:2])
        homography = options.homography @ self._scaling(size_hw)
        # A homography holds with either sign; what the camera sees below its middle lies before it.
        below = homography[2] @ (size_hw[1] / 2, size_hw[0] - 1, 1)
        return GroundView(homography if below >= 0 else -homography, grid, size_hw)

    def _scaling(self, size_hw: Size) -> NDArray[np.float64]:
        """From pixels of this image to those of the image that the homography is of, whose centres are whole."""
        if self._image_hw is None:
            self._image_hw = size_hw
        (known_h, known_w), (height, width) = self._image_hw, size_hw
        # One pixel of the smaller image, for the rounding of its width: 854x480 is 16:9, too.
        if abs(width * known_h - known_w * height) > max(height, known_h):
            raise FrameError(
                f"the homography is of images of {known_w}x{known_h}, and this one is {width}x{height}, which is not"
                " the same picture at another size; measure it again, and put its size into the JSON file"
            )
        x, y = known_w / width, known_h / height
        return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)

    def message(self, labels: LabelMap, stamp: ros.Time) -> ros.OccupancyGrid:
        """The grid as a message, with the stamp of the camera image.

        Raises:
            FrameError: As :meth:`cells`.
        """
        options = self._options
        columns, rows = options.size
        corner = ros.Position(x=options.range_m[0], y=options.range_m[1])
        return ros.OccupancyGrid(
            header=ros.Header(stamp=stamp, frame_id=options.frame_id),
            info=ros.MapMetaData(
                map_load_time=stamp,
                resolution=options.resolution_m,
                width=columns,
                height=rows,
                origin=ros.Pose(position=corner, orientation=ros.Quaternion()),
            ),
            data=self.cells(labels).reshape(-1),
        )


def read_homography(path: Path) -> tuple[NDArray[np.float64], Size | None]:
    """Read a JSON file: ``{"matrix": 3x3}``, or ``{"pixels": [[u, v], ...], "metres": [[x, y], ...]}``.

    Either may have ``"size": [width, height]`` of the image that the pixels are of.

    Returns:
        ``(3, 3)`` float64 from pixels to metres; of more than four points, the one with the least squared error. And
        height and width of the image; ``None`` if the file does not tell.

    Raises:
        OptionError: If the file cannot be read, or the points do not define one.
    """
    try:
        tree: Any = strict_json(read_regular(path))
        size_hw = _size_hw(tree["size"]) if "size" in tree else None
        if "matrix" in tree:
            return np.array(tree["matrix"], np.float64), size_hw
        pixels = np.array(tree["pixels"], np.float64).reshape(-1, 2)
        metres = np.array(tree["metres"], np.float64).reshape(-1, 2)
        return ground_homography(pixels, metres), size_hw
    except (OSError, ValueError, KeyError, TypeError, cv2.error) as exc:
        raise OptionError(
            f'{path}: expected {{"matrix": 3x3}}, or "pixels" and "metres" of at least four points of the ground, and'
            f' "size": [width, height] of the image if it is known: {exc}'
        ) from exc


def _size_hw(given: Any) -> Size:
    width, height = given
    if not (type(width) is type(height) is int and width >= 1 and height >= 1):
        raise ValueError(f"size is {given}")
    return height, width
