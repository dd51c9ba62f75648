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

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex, prune, set_initializer
from edge_vseg.export.quantization.activations import watch_activations
from edge_vseg.export.quantization.patches import PatchMoments, conv_geometry
from edge_vseg.types import Image

PASSES = 6
RIDGE = 0.01


def round_weights(
    model: onnx.ModelProto, frames: Sequence[Image], rng: np.random.Generator, *, levels: int = 127
) -> onnx.ModelProto:
    """Round the weights of all 2-D convolutions to symmetric per-channel int8, and correct their biases.

    Args:
        model: A graph with the input ``frame``; not changed.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        rng: Chooses the sampled patches.
        levels: Largest integer; 127 for int8, 64 for the reduced range.

    Returns:
        The graph with float weights that are multiples of ``max |w| / levels`` of their output channel.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(model))
    index = GraphIndex(copy)
    watched: dict[str, PatchMoments] = {}
    convs: list[tuple[onnx.NodeProto, str]] = []
    for node in copy.graph.node:
        geometry, shape = conv_geometry(node, index), index.shape(node.input[0])
        if geometry is None or shape is None or index.constant(node.input[1]) is None or len(node.input) < 2:
            continue
        key = node.output[0]
        watched[key] = PatchMoments(geometry, shape[1] or 0)
        convs.append((node, key))
    readers: dict[str, list[str]] = {}
    for node, key in convs:
        readers.setdefault(node.input[0], []).append(key)

    def see(name: str, value: NDArray[np.float32]) -> None:
        for key in readers[name]:
            watched[key].see(value, rng)

    watch_activations(copy, frames, list(readers), see)
    for node, key in convs:
        mean, covariance = watched[key].moments()
        _round_conv(copy, index, node, mean, covariance, levels)
    prune(copy)
    return copy


def _round_conv(
    model: onnx.ModelProto,
    index: GraphIndex,
    node: onnx.NodeProto,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    levels: int,
) -> None:
    weight = np.asarray(index.constant(node.input[1]), np.float64)
    groups = len(mean)
    flat = weight.reshape(groups, weight.shape[0] // groups, -1)
    rounded = np.stack([nearest_in_output(w, c, levels) for w, c in zip(flat, covariance, strict=True)])
    shift = np.einsum("gol,gl->go", flat - rounded, mean).reshape(-1)
    bias = np.asarray(index.constant(node.input[2]), np.float64) if len(node.input) > 2 else np.zeros(weight.shape[0])
    name = node.output[0]
    set_initializer(model.graph, f"{name}.weight8", rounded.reshape(weight.shape).astype(np.float32))
    set_initializer(model.graph, f"{name}.bias8", (bias + shift).astype(np.float32))
    del node.input[1:]
    node.input.extend([f"{name}.weight8", f"{name}.bias8"])


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
    largest = np.abs(weight).max(1, keepdims=True)
    step = np.where(largest > 0, largest, 1.0) / levels
    fixed = np.abs(weight) == largest
    damped = covariance + np.eye(len(covariance)) * (RIDGE * np.trace(covariance) / len(covariance) + 1e-12)
    integers = np.round(weight / step)
    error = weight - integers * step
    for _ in range(PASSES):
        changed = False
        for i in range(weight.shape[1]):
            target = integers[:, i] + (error @ damped[:, i]) / (damped[i, i] * step[:, 0])
            new = np.clip(np.round(target), -levels, levels)
            new = np.where(fixed[:, i], integers[:, i], new)
            moved = new != integers[:, i]
            if moved.any():
                error[:, i] -= (new - integers[:, i]) * step[:, 0]
                integers[:, i] = new
                changed = True
        if not changed:
            break
    return integers * step
