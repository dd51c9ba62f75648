"""Mean and covariance of the inputs of convolutions, from sampled patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex, attribute

PATCHES_PER_FRAME = 400
TILE = 1024
MAX_COVARIANCE_BYTES = 256_000_000
"""Most that the covariance of one convolution may take. A larger one (7x7 over 512 channels: 5 GB) is made of blocks:
how the errors of channels of different blocks add up is then left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvGeometry:
    """Shape of the patches of a 2-D convolution; pads are top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    group: int


def conv_geometry(node: onnx.NodeProto, index: GraphIndex) -> ConvGeometry | None:
    """Geometry of a Conv with explicit pads, ``None`` for anything else."""
    if node.op_type != "Conv" or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    weight = index.shape(node.input[1])
    if weight is None or len(weight) != 4:
        return None
    return ConvGeometry(
        kernel=cast(tuple[int, int], weight[2:]),
        strides=cast(tuple[int, int], tuple(cast(list[int], attribute(node, "strides", [1, 1])))),
        dilations=cast(tuple[int, int], tuple(cast(list[int], attribute(node, "dilations", [1, 1])))),
        pads=cast(tuple[int, int, int, int], tuple(cast(list[int], attribute(node, "pads", [0, 0, 0, 0])))),
        group=cast(int, attribute(node, "group", 1)),
    )


Positions: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32]]
"""First row and first column, in the padded input, of each patch."""


def covariance_spans(geometry: ConvGeometry, channels: int) -> list[slice]:
    """Parts of a patch whose covariance is kept: all of it, or blocks of input channels where that takes too much.

    Args:
        geometry: The convolution's geometry.
        channels: Its input channels.

    Returns:
        Slices of the length of a patch of one group, in order and without gaps. All blocks together take at most
        :data:`MAX_COVARIANCE_BYTES`, unless a block of one value for each group takes more.
    """
    kernel = geometry.kernel[0] * geometry.kernel[1]
    length = channels // geometry.group * kernel
    # Blocks of s values take length / s * s^2 values in each group.
    size = max(1, min(length, MAX_COVARIANCE_BYTES // (8 * geometry.group * length)))
    if kernel <= size < length:
        size -= size % kernel
    return [slice(begin, min(begin + size, length)) for begin in range(0, length, size)]


class PatchMoments:
    """Mean and covariance of the patches that one convolution reads, group by group.

    Args:
        geometry: The convolution's geometry.
        channels: Input channels.
    """

    def __init__(self, geometry: ConvGeometry, channels: int) -> None:
        self._geometry = geometry
        self.spans = covariance_spans(geometry, channels)
        length, group = self.spans[-1].stop, geometry.group
        self._sum: NDArray[np.float64] = np.zeros((group, length))
        self._products = [np.zeros((group, s.stop - s.start, s.stop - s.start)) for s in self.spans]
        self._count = 0

    def see(self, value: NDArray[np.float32], positions: Positions) -> None:
        """Take the patches of an input of shape ``(1, C, H, W)`` at some positions."""
        patches = cut_patches(value[0], self._geometry, positions)
        grouped = patches.reshape(len(patches), self._geometry.group, -1).transpose(1, 0, 2)
        rows = np.ascontiguousarray(grouped, np.float64)
        self._sum += rows.sum(1)
        self._count += len(patches)
        for span, products in zip(self.spans, self._products, strict=True):
            _add_products(products, rows[:, :, span])

    def mean(self) -> NDArray[np.float64]:
        """Mean ``(G, L)``, L running over channel, row and column of the kernel."""
        mean: NDArray[np.float64] = self._sum / max(self._count, 1)
        return mean

    def take_covariance(self, number: int) -> NDArray[np.float64]:
        """Covariance ``(G, l, l)`` of the values of the span of that number, once: it takes the place of the sums."""
        mean, covariance = self.mean()[:, self.spans[number]], self._products[number]
        covariance /= max(self._count, 1)
        for row in range(covariance.shape[1]):
            covariance[:, row, row:] -= mean[:, row, None] * mean[:, row:]
            covariance[:, row:, row] = covariance[:, row, row:]
        return covariance


def _add_products(products: NDArray[np.float64], rows: NDArray[np.float64]) -> None:
    """Add the products of each two columns of the rows ``(G, N, l)``; of those below the diagonal, only a few.

    Twice as fast as the whole product, since what is added on stays in the CPU's cache.
    """
    length = rows.shape[2]
    turned = rows.transpose(0, 2, 1)
    for top in range(0, length, TILE):
        bottom = top + TILE
        for left in range(top, length, TILE):
            right = left + TILE
            products[:, top:bottom, left:right] += turned[:, top:bottom] @ rows[:, :, left:right]


def draw_positions(geometry: ConvGeometry, size_hw: tuple[int, int], count: int, rng: np.random.Generator) -> Positions:
    """Patches at random output positions of an input of that size."""
    top, left, bottom, right = geometry.pads
    padded = size_hw[0] + top + bottom, size_hw[1] + left + right
    reach = [(k - 1) * d for k, d in zip(geometry.kernel, geometry.dilations, strict=True)]
    last = [(padded[i] - reach[i] - 1) // geometry.strides[i] for i in (0, 1)]
    rows = rng.integers(0, last[0] + 1, count) * geometry.strides[0]
    columns = rng.integers(0, last[1] + 1, count) * geometry.strides[1]
    return rows.astype(np.int32), columns.astype(np.int32)


def cut_patches(image: NDArray[np.float32], geometry: ConvGeometry, positions: Positions) -> NDArray[np.float32]:
    """Patches ``(N, C, kh, kw)`` of an input ``(C, H, W)``."""
    top, left, bottom, right = geometry.pads
    # Channels last: the values of a position lie together, and each is found once.
    padded = np.pad(image.transpose(1, 2, 0), ((top, bottom), (left, right), (0, 0)))
    rows, columns = positions
    y = rows[:, None, None] + np.arange(geometry.kernel[0])[:, None] * geometry.dilations[0]
    x = columns[:, None, None] + np.arange(geometry.kernel[1])[None] * geometry.dilations[1]
    return np.ascontiguousarray(padded[y, x].transpose(0, 3, 1, 2))
