"""Put the weights of a float graph onto the int8 grid so that the layers' outputs change least.

Rounding each weight to the nearest step ignores that errors add up over correlated inputs. Here the
integers of every output channel are chosen by coordinate descent on the output error
``(w - s q)^T C (w - s q)``, where C is the covariance of what the layer reads on calibration frames, and
what is left of the mean error goes into the bias. The result is a float graph whose weights are exact
multiples of the step that each runtime's own per-channel quantizer finds, so one optimisation serves all.

References: Behdin et al., QuantEase, 2023 (coordinate descent, eq. 8 to 10); Nagel et al., Data-Free
Quantization, 2019, section 4.2 (bias correction). Unlike QuantEase, the largest weight of a channel stays
where it is, since every runtime reads the step off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edge_vseg.export.graph.index import GraphIndex, prune, set_initializer
from edge_vseg.export.quantization.layer_moments import measure_moments
from edge_vseg.export.quantization.patches import PatchMoments
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Image

PASSES = 6
RIDGE = 0.01
BLOCK = 64
MAX_THREADS = 4
"""Each holds the covariance of a layer once more."""

_At: TypeAlias = tuple[slice | NDArray[np.intp], ...]
"""Groups, values of a patch, and output channels."""


def round_weights(
    model: onnx.ModelProto, frames: Sequence[Image], rng: np.random.Generator, grids: Sequence[int] = (127,)
) -> dict[int, onnx.ModelProto]:
    """Round the weights of all 2-D convolutions to symmetric per-channel int8, and correct their biases.

    Takes several passes over the frames where the covariances of all layers do not fit into memory together. They are
    most of the work, and the same for every grid.

    Args:
        model: A graph with the input ``frame``; not changed.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        rng: Chooses the sampled patches.
        grids: Largest integers: 127 for int8, 64 for the reduced range.

    Returns:
        By each of ``grids`` the graph with float weights that are multiples of ``max |w| / largest integer`` of their
        output channel.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    index = GraphIndex(inferred)
    made = {levels: onnx.ModelProto() for levels in grids}
    for graph in made.values():
        graph.CopyFrom(inferred)
    nodes = {levels: {node.output[0]: node for node in graph.graph.node} for levels, graph in made.items()}
    # A thread for each layer and none inside BLAS, whose threads wait for each other after every small product.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(MAX_THREADS, usable_cores())) as pool:
        for batch in measure_moments(inferred, frames, rng, pool):
            rounded = list(pool.map(lambda layer: _rounded(layer[0], layer[1], index, grids), batch))
            names = [conv.output[0] for conv, _ in batch]
            batch.clear()  # its covariances, before those of the next one are made
            for name, found in zip(names, rounded, strict=True):
                for levels, (weight, bias) in found.items():
                    node = nodes[levels][name]
                    del node.input[1:]
                    for suffix, value in (("weight8", weight), ("bias8", bias)):
                        node.input.append(set_initializer(made[levels].graph, f"{name}.{suffix}", value))
    for graph in made.values():
        prune(graph)
    return made


def _rounded(
    conv: onnx.NodeProto, moments: PatchMoments, index: GraphIndex, grids: Sequence[int]
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weight and bias of a convolution after rounding to each grid."""
    weight = np.asarray(index.constant(conv.input[1]), np.float64)
    bias = np.asarray(index.constant(conv.input[2]), np.float64) if len(conv.input) > 2 else np.zeros(len(weight))
    mean = moments.mean()
    flat = weight.reshape(len(mean), len(weight) // len(mean), -1)
    roundings = {levels: _Rounding(flat, levels) for levels in grids}
    for number, span in enumerate(moments.spans):
        covariance = moments.take_covariance(number)
        for rounding in roundings.values():
            rounding.descend(span, covariance)
    found = {}
    for levels, rounding in roundings.items():
        values = rounding.values
        shift = np.einsum("gol,gl->go", flat - values, mean).reshape(-1)
        found[levels] = values.reshape(weight.shape).astype(np.float32), (bias + shift).astype(np.float32)
    return found


def nearest_in_output(
    weight: NDArray[np.float64], covariance: NDArray[np.float64], levels: int = 127
) -> NDArray[np.float64]:
    """Weights on the grid whose output is nearest to that of ``weight``.

    Args:
        weight: ``(O, L)``, one row per output channel.
        covariance: ``(L, L)`` of the inputs.
        levels: Largest integer of the grid.

    Returns:
        ``(O, L)`` multiples of each row's ``max |w| / levels``; the output error is never above plain rounding's.
    """
    rounding = _Rounding(weight[None], levels)
    rounding.descend(slice(0, weight.shape[1]), covariance[None])
    values: NDArray[np.float64] = rounding.values[0]
    return values


class _Rounding:
    """The integers of a convolution, plainly rounded at first.

    Args:
        weight: ``(G, O, L)``: groups, output channels of each, values of a patch.
        levels: Largest integer of the grid.
    """

    def __init__(self, weight: NDArray[np.float64], levels: int) -> None:
        # In here ``(G, L, O)``: what one value is for all output channels lies together.
        weight = np.ascontiguousarray(weight.transpose(0, 2, 1))
        largest = np.abs(weight).max(1, keepdims=True)
        self._levels = levels
        self._step = np.where(largest > 0, largest, 1.0) / levels
        self._fixed = np.abs(weight) == largest
        self._integers = np.round(weight / self._step)
        self._error = weight - self._integers * self._step

    @property
    def values(self) -> NDArray[np.float64]:
        """``(G, O, L)`` multiples of the steps."""
        values: NDArray[np.float64] = (self._integers * self._step).transpose(0, 2, 1)
        return values

    def descend(self, span: slice, covariance: NDArray[np.float64]) -> None:
        """Coordinate descent over the values of a span, whose inputs have that covariance ``(G, l, l)``.

        What a pass leaves as it is, an output channel or a whole group of them, later passes leave out.
        """
        groups, _, outputs = self._step.shape
        ridge = RIDGE * np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1] + 1e-12
        moving = np.arange(outputs if groups == 1 else groups)
        for _ in range(PASSES):
            at: _At = (slice(None), span, moving) if groups == 1 else (moving, span)
            whole = groups == 1 or len(moving) == groups
            moved = self._descend_once(
                at, covariance if whole else covariance[moving], ridge if whole else ridge[moving]
            )
            moving = moving[moved[0] if groups == 1 else moved.any(1)]
            if not len(moving):
                break

    def _descend_once(self, at: _At, covariance: NDArray[np.float64], ridge: NDArray[np.float64]) -> NDArray[np.bool_]:
        """One pass; says of each output channel ``(G, O)`` whether it has changed.

        What the other errors pull values to is one matrix product for a block of them. Only what changes inside the
        block is added value by value, as in GPTQ (Frantar et al., 2022, section 3.3).
        """
        # Indexing leaves an order of axes that matrix products are slow in.
        error, integers, fixed = (np.ascontiguousarray(all_[at]) for all_ in (self._error, self._integers, self._fixed))
        step = self._step[(at[0], slice(None), *at[2:])]
        moved = np.zeros((len(step), step.shape[2]), np.bool_)
        for begin in range(0, error.shape[1], BLOCK):
            block = slice(begin, begin + BLOCK)
            pull = covariance[:, block] @ error + ridge[:, None, None] * error[:, block]
            corner = covariance[:, block, block].copy()
            np.einsum("gii->gi", corner)[:] += ridge[:, None]
            change = _descend_block(pull, integers[:, block], fixed[:, block], corner, step[:, 0], self._levels)
            integers[:, block] += change
            error[:, block] -= change * step
            moved |= change.any(1)
        self._error[at], self._integers[at] = error, integers
        return moved


def _descend_block(
    pull: NDArray[np.float64],
    integers: NDArray[np.float64],
    fixed: NDArray[np.bool_],
    corner: NDArray[np.float64],
    step: NDArray[np.float64],
    levels: int,
) -> NDArray[np.float64]:
    """Coordinate descent over neighbouring values.

    Args:
        pull: ``(G, b, O)`` product of the covariance and the errors; changed.
        integers: ``(G, b, O)``.
        fixed: ``(G, b, O)``, those that stay.
        corner: ``(G, b, b)`` covariance of these values.
        step: ``(G, O)``.
        levels: Largest integer of the grid.

    Returns:
        ``(G, b, O)``, what to add to the integers.
    """
    changes = np.zeros_like(integers)
    for i in range(integers.shape[1]):
        target = np.round(integers[:, i] + pull[:, i] / (corner[:, i, i, None] * step))
        change = np.where(fixed[:, i], 0.0, target.clip(-levels, levels) - integers[:, i])
        if change.any():
            changes[:, i] = change
            pull[:, i + 1 :] -= corner[:, i, i + 1 :, None] * (change * step)[:, None]
    return changes
