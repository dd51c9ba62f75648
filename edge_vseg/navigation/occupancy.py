"""From a label map to an occupancy grid on the ground, through a ground homography."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.navigation.free_space import class_mask
from edge_vseg.types import IGNORE_ID, LabelMap, Size

FREE, OCCUPIED, UNSEEN = 0, 100, -1
"""Values of ``nav_msgs/OccupancyGrid``."""

Homography = NDArray[np.float64]
"""``(3, 3)`` float64, from pixels ``(x, y, 1)`` to metres on the ground; its scale is positive below the horizon."""


def ground_homography(
    points_px: Sequence[tuple[float, float]] | NDArray[Any], points_m: Sequence[tuple[float, float]] | NDArray[Any]
) -> Homography:
    """The homography from pixels to metres on the ground, from points whose places on the ground are known.

    Args:
        points_px: ``(N, 2)`` pixels ``(x, y)``, four or more, no three of them on a line; the centre of the top left
            pixel is ``(0, 0)``.
        points_m: ``(N, 2)`` metres ``(x, y)`` of the same points, in the robot's or the grid's frame.

    Returns:
        ``(3, 3)`` float64: least squares for more than four points.

    Raises:
        OptionError: If there are too few points, they do not determine a homography, or some of them would lie on
            the other side of the horizon.

    Reference: Hartley and Zisserman, Multiple View Geometry, 2nd edition, algorithm 4.2 (normalised DLT), by OpenCV.
    """
    pixels, metres = (np.asarray(points, np.float64) for points in (points_px, points_m))
    if pixels.ndim != 2 or pixels.shape != metres.shape or pixels.shape[1] != 2 or len(pixels) < 4:
        raise OptionError(
            f"expected as many (x, y) in pixels as in metres, four or more; got {pixels.shape} and {metres.shape}"
        )
    if not (np.isfinite(pixels).all() and np.isfinite(metres).all()):
        raise OptionError("points must be finite")
    found, _ = cv2.findHomography(pixels, metres, 0)
    if found is None or np.linalg.matrix_rank(found) < 3:
        raise OptionError("the points do not determine a homography; no three of four may lie on a line")
    homography = np.asarray(found, np.float64)
    scales = homography[2] @ np.vstack((pixels.T, np.ones(len(pixels))))
    if not ((scales > 0).all() or (scales < 0).all()):
        raise OptionError("some points would lie beyond the horizon; check the order of the points")
    return homography if scales[0] > 0 else -homography


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSpec:
    """A grid on the ground, as in ``nav_msgs/OccupancyGrid``.

    Attributes:
        resolution_m: Side of a cell.
        size_hw: Cells along y and along x.
        origin_m: ``(x, y)`` of the outer corner of cell ``(0, 0)``, in the homography's frame.
    """

    resolution_m: float
    size_hw: Size
    origin_m: tuple[float, float]

    def __post_init__(self) -> None:
        """Raise OptionError if the grid has no cells."""
        if not self.resolution_m > 0 or min(self.size_hw) < 1:
            raise OptionError(f"resolution_m must be positive and size_hw at least 1x1, got {self}")

    @property
    def centres_m(self) -> NDArray[np.float64]:
        """``(h, w, 2)`` float64, ``(x, y)`` of the centre of each cell."""
        height, width = self.size_hw
        x = self.origin_m[0] + (np.arange(width) + 0.5) * self.resolution_m
        y = self.origin_m[1] + (np.arange(height) + 0.5) * self.resolution_m
        return np.stack(np.meshgrid(x, y), axis=-1)


class GroundView:
    """Looks up each cell of a grid in the label maps of one camera.

    A cell has the value of the pixel that its centre falls on. What stands up hides the ground behind it and is seen
    there instead: those cells are occupied, never free. Choose a grid whose cells are no smaller on the image than a
    pixel or so; far away several cells share a pixel.

    Args:
        homography: Pixels to metres, from :func:`ground_homography`, for images of ``size_hw``.
        grid: The grid.
        size_hw: Height and width of the label maps.

    Raises:
        OptionError: If the homography cannot be inverted.
    """

    def __init__(self, homography: Homography, grid: GridSpec, size_hw: Size) -> None:
        matrix = np.asarray(homography, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
            raise OptionError(f"expected an invertible (3, 3) homography, got {matrix.tolist()}")
        self.grid = grid
        self.size_hw = size_hw
        centres = grid.centres_m.reshape(-1, 2)
        x, y, w = np.linalg.inv(matrix) @ np.vstack((centres.T, np.ones(len(centres))))
        # The sign of w tells the ground before the camera from what a line of sight meets behind it.
        ahead = w > 0
        scale = np.where(ahead, w, 1.0)
        column, row = np.floor(x / scale + 0.5), np.floor(y / scale + 0.5)
        seen = ahead & (column >= 0) & (column < size_hw[1]) & (row >= 0) & (row < size_hw[0])
        self._seen = seen
        self._row, self._column = row[seen].astype(np.intp), column[seen].astype(np.intp)

    def occupancy(self, labels: LabelMap, free: Iterable[int]) -> NDArray[np.int8]:
        """The grid of a label map.

        Args:
            labels: ``(H, W)`` uint8.
            free: Ids of the classes that can be driven on.

        Returns:
            ``(h, w)`` int8: 0 free, 100 occupied, -1 unseen or without a class; ``reshape(-1)`` is the data of a
            ``nav_msgs/OccupancyGrid``.

        Raises:
            FrameError: If the label map has another size.
        """
        mask = class_mask(labels, free)
        if labels.shape != self.size_hw:
            raise FrameError(f"expected labels of {self.size_hw}, got {labels.shape}; make a view for that size")
        cells = np.full(self._seen.shape, UNSEEN, np.int8)
        at = (self._row, self._column)
        values = np.where(mask[at], FREE, OCCUPIED).astype(np.int8)
        values[labels[at] == IGNORE_ID] = UNSEEN
        cells[self._seen] = values
        return cells.reshape(self.grid.size_hw)
