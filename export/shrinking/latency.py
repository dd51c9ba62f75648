"""What a network would take with fewer channels, from the times of its layers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.layer_times import LayerKind, LayerTimes
from edge_vseg.errors import CalibrationError
from edge_vseg.export.shrinking.layers import Layer

CONSTANT_IS_ZERO = 0.1
"""Weight, in measured networks, of the assumption that everything shrinks with the layers."""


class LatencyTable:
    """Predicts the time of a network by its layers' widths.

    Between widths that were timed, it is interpolated. What the layers do not account for (sums, resizes, going
    from one to the next) is taken to shrink with them, until smaller networks were measured as a whole: then a line
    is fitted through all that was measured, of which the part that does not shrink is the constant.

    Args:
        times: What the device measured.
        layers: The layers of the whole network.

    Raises:
        CalibrationError: If the times are not of this network.
    """

    def __init__(self, times: LayerTimes, layers: Iterable[Layer]) -> None:
        points: dict[LayerKind, dict[tuple[int, int], float]] = {}
        for each in times.layers:
            points.setdefault(each.kind, {})[each.reads, each.makes] = each.ms
        self._tables = {kind: _Table(found, depthwise=kind.depthwise) for kind, found in points.items()}
        whole = list(layers)
        if missing := [layer.weight for layer in whole if layer.kind not in self._tables]:
            raise CalibrationError(
                f"the layer times are of {times.name}, and do not have the layer of {missing[0]};"
                " write the layers of this network at this input size, and time them"
            )
        self._slope = self._constant_ms = 0.0
        self._measured: list[tuple[float, float]] = []
        self.take_up([(self._layers_ms(whole), times.network_ms)])

    def layer_ms(self, layer: Layer) -> float:
        """What one layer takes by itself, in ms."""
        return self._tables[layer.kind].at(layer.reads, layer.makes)

    def network_ms(self, layers: Iterable[Layer]) -> float:
        """What a network takes, in ms."""
        return self._slope * self._layers_ms(layers) + self._constant_ms

    @property
    def measured(self) -> list[tuple[float, float]]:
        """Of each network that was measured as a whole, the sum of its layers and what it took, both in ms."""
        return [*self._measured]

    def take_up(self, measured: Iterable[tuple[float, float]]) -> None:
        """Fit to what an earlier run measured."""
        self._measured = [*measured]
        self._fit()

    def correct(self, layers: Iterable[Layer], ms: float) -> None:
        """Fit to one more network that was measured as a whole."""
        self._measured.append((self._layers_ms(layers), ms))
        self._fit()

    def _layers_ms(self, layers: Iterable[Layer]) -> float:
        return sum(self.layer_ms(layer) for layer in layers)

    def _fit(self) -> None:
        """Least squares, with a constant that is taken for zero until networks differ enough to tell it."""
        sums, took = (np.array(column) for column in zip(*self._measured, strict=True))
        normal = np.array([[(sums**2).sum(), sums.sum()], [sums.sum(), len(sums) + CONSTANT_IS_ZERO]])
        slope, constant = np.linalg.solve(normal, [(sums * took).sum(), took.sum()])
        if slope <= 0 or constant < 0:
            slope, constant = (sums * took).sum() / (sums**2).sum(), 0.0
        self._slope, self._constant_ms = float(slope), float(constant)


class _Table:
    """Times of one kind of layer over input and output channels, on a grid that need not be full."""

    def __init__(self, points: dict[tuple[int, int], float], *, depthwise: bool) -> None:
        self._reads = np.array(sorted({0, *(reads for reads, _ in points)}))
        self._makes = np.array(sorted({0, *(makes for _, makes in points)}))
        self._depthwise = depthwise
        if depthwise:
            line = [points.get((n, n), 0.0) for n in self._reads]
            self._line = np.maximum.accumulate(_no_slower(np.array(line)[None])[0])
            return
        grid = np.full((len(self._reads), len(self._makes)), np.nan)
        for (reads, makes), ms in points.items():
            grid[np.searchsorted(self._reads, reads), np.searchsorted(self._makes, makes)] = ms
        grid[0], grid[:, 0] = 0.0, 0.0
        self._grid = _no_slower(_filled(grid, self._reads, self._makes))

    def at(self, reads: int, makes: int) -> float:
        if self._depthwise:
            return float(np.interp(reads, self._reads, self._line))
        rows = [np.interp(makes, self._makes, row) for row in self._grid]
        return float(np.interp(reads, self._reads, rows))


def _filled(grid: NDArray[np.float64], reads: NDArray[np.int64], makes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points that were not timed, as layers of other widths share the kind: by their products, from the nearest."""
    known = [(r, m) for r in range(1, len(reads)) for m in range(1, len(makes)) if not np.isnan(grid[r, m])]
    filled = grid.copy()
    for r in range(1, len(reads)):
        for m in range(1, len(makes)):
            if np.isnan(grid[r, m]):
                work = float(reads[r] * makes[m])
                a, b = min(known, key=lambda at: abs(np.log(reads[at[0]] * makes[at[1]] / work)))
                filled[r, m] = grid[a, b] * work / float(reads[a] * makes[b])
    return filled


def _no_slower(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """A layer is no slower than a wider one, which zeros would make of it."""
    for axis in range(grid.ndim):
        grid = np.flip(np.minimum.accumulate(np.flip(grid, axis), axis), axis)
    return grid
