"""Moments of what the convolutions of a graph read, a few layers at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.quantization.activations import open_float, watch_activations
from edge_vseg.export.quantization.patches import (
    MAX_COVARIANCE_BYTES,
    PATCHES_PER_FRAME,
    ConvGeometry,
    PatchMoments,
    Positions,
    conv_geometry,
    covariance_spans,
    draw_positions,
)
from edge_vseg.types import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """A convolution with constant weight and bias.

    Attributes:
        node: It.
        geometry: Of its patches.
        channels: Of its input.
        positions: Where its patches lie, frame by frame.
    """

    node: onnx.NodeProto
    geometry: ConvGeometry
    channels: int
    positions: list[Positions]

    @property
    def covariance_bytes(self) -> int:
        """What its covariance takes."""
        spans = covariance_spans(self.geometry, self.channels)
        values: int = self.geometry.group * sum((span.stop - span.start) ** 2 for span in spans)
        return 8 * values


def measure_moments(
    model: onnx.ModelProto, frames: Sequence[Image], rng: np.random.Generator, pool: Executor
) -> Iterator[list[tuple[onnx.NodeProto, PatchMoments]]]:
    """Moments of the input of every 2-D convolution with constant weight and bias, in the order of the graph.

    No more than :data:`~edge_vseg.export.quantization.patches.MAX_COVARIANCE_BYTES` of covariances are held at a time:
    each batch of layers takes a pass over the frames. Which patches are sampled does not depend on that.

    Args:
        model: A graph with the input ``frame`` and the shapes of its tensors; not changed.
        frames: ``(H, W, 3)`` uint8 at the input size.
        rng: Chooses the patches.
        pool: Runs layers at the same time.

    Yields:
        One batch of layers after the other.
    """
    layers = _find_layers(model)
    if not layers:
        return
    _draw(model, layers, frames, rng)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    have = {output.name for output in watched.graph.output}
    names = dict.fromkeys(layer.node.input[0] for layer in layers)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    # One session for all batches, in which all their tensors are outputs: others would fuse, and round, in other ways.
    session = open_float(watched)
    for batch in _batches(layers):
        moments = [PatchMoments(layer.geometry, layer.channels) for layer in batch]
        for number, values in enumerate(_inputs(session, batch, frames)):
            positions = [layer.positions[number] for layer in batch]
            list(pool.map(PatchMoments.see, moments, values, positions))
        yield [(layer.node, moment) for layer, moment in zip(batch, moments, strict=True)]
        del moments  # before those of the next batch are made


def _find_layers(model: onnx.ModelProto) -> list[_Layer]:
    index = GraphIndex(model)
    layers = []
    for node in model.graph.node:
        geometry, shape = conv_geometry(node, index), index.shape(node.input[0]) if node.input else None
        constant = all(index.constant(name) is not None for name in node.input[1:])
        if geometry is not None and shape is not None and constant:
            layers.append(_Layer(node=node, geometry=geometry, channels=shape[1] or 0, positions=[]))
    return layers


def _draw(model: onnx.ModelProto, layers: Sequence[_Layer], frames: Sequence[Image], rng: np.random.Generator) -> None:
    """Draw all positions: frame by frame, so that they are the same however layers are batched."""
    readers: dict[str, list[_Layer]] = {}
    for layer in layers:
        readers.setdefault(layer.node.input[0], []).append(layer)
    index = GraphIndex(model)
    sizes = {name: shape[2:] for name in readers if (shape := index.shape(name)) is not None and None not in shape}

    def measure(name: str, value: NDArray[np.float32]) -> None:
        sizes[name] = value.shape[2:]

    watch_activations(model, frames[:1], [name for name in readers if name not in sizes], measure)
    for _ in frames:
        for name, mine in readers.items():
            height, width = sizes[name]
            for layer in mine:
                size_hw = (height or 0, width or 0)
                layer.positions.append(draw_positions(layer.geometry, size_hw, PATCHES_PER_FRAME, rng))


def _batches(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """Neighbours whose covariances fit into memory together."""
    batch: list[_Layer] = []
    taken = 0
    for layer in layers:
        if batch and taken + layer.covariance_bytes > MAX_COVARIANCE_BYTES:
            yield batch
            batch, taken = [], 0
        batch.append(layer)
        taken += layer.covariance_bytes
    yield batch


def _inputs(
    session: onnxruntime.InferenceSession, batch: Sequence[_Layer], frames: Sequence[Image]
) -> Iterator[list[NDArray[np.float32]]]:
    """What the layers read, frame by frame."""
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    names = list(dict.fromkeys(layer.node.input[0] for layer in batch))
    for frame in frames:
        values = dict(zip(names, session.run(names, {FRAME: frame[None]}, options), strict=True))
        yield [values[layer.node.input[0]] for layer in batch]
