"""Mean and covariance of the inputs of convolutions, from sampled patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex, attribute

PATCHES_PER_FRAME = 400


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


class PatchMoments:
    """Mean and covariance of the patches that one convolution reads, group by group.

    Args:
        geometry: The convolution's geometry.
        channels: Input channels.
    """

    def __init__(self, geometry: ConvGeometry, channels: int) -> None:
        self._geometry = geometry
        length = channels // geometry.group * geometry.kernel[0] * geometry.kernel[1]
        self._sum: NDArray[np.float64] = np.zeros((geometry.group, length))
        self._products: NDArray[np.float64] = np.zeros((geometry.group, length, length))
        self._count = 0

    def see(self, value: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Sample patches of an input of shape ``(1, C, H, W)`` at random output positions."""
        patches = sample_patches(value[0], self._geometry, PATCHES_PER_FRAME, rng)
        grouped = patches.reshape(len(patches), self._geometry.group, -1).astype(np.float64).transpose(1, 0, 2)
        self._sum += grouped.sum(1)
        self._products += grouped.transpose(0, 2, 1) @ grouped
        self._count += len(patches)

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ``(G, L)`` and covariance ``(G, L, L)``, L running over channel, row and column of the kernel."""
        mean = self._sum / max(self._count, 1)
        covariance = self._products / max(self._count, 1) - mean[:, :, None] * mean[:, None, :]
        return mean, covariance


def sample_patches(
    image: NDArray[np.float32], geometry: ConvGeometry, count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Patches ``(N, C, kh, kw)`` of an input ``(C, H, W)`` at random output positions."""
    top, left, bottom, right = geometry.pads
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    reach = [(k - 1) * d for k, d in zip(geometry.kernel, geometry.dilations, strict=True)]
    last = [(padded.shape[i + 1] - reach[i] - 1) // geometry.strides[i] for i in (0, 1)]
    rows = rng.integers(0, last[0] + 1, count) * geometry.strides[0]
    columns = rng.integers(0, last[1] + 1, count) * geometry.strides[1]
    y = rows[:, None, None] + np.arange(geometry.kernel[0])[:, None] * geometry.dilations[0]
    x = columns[:, None, None] + np.arange(geometry.kernel[1])[None] * geometry.dilations[1]
    return np.ascontiguousarray(padded[:, y, x].transpose(1, 0, 2, 3))
