"""The network that is made smaller, and its layers for a device to time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import CalibrationError, OptionError, UnsupportedOperatorError
from edge_vseg.export.export_options import ExportOptions, native_targets
from edge_vseg.export.float_graph import FloatGraph, finish_float_graph
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.shrinking.channels import Channel, find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.shrinking.layers import write_layers
from edge_vseg.export.shrinking.trainable import Trainable
from edge_vseg.export.source.own_normalization import ChosenNormalization, choose_normalization
from edge_vseg.export.source.source_network import SourceNetwork, is_ready_made, open_source_network
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.runtimes.cpu import cpu_features

RANGE_FRAMES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """A constant of the network as it came that the device's graph has under another name.

    Attributes:
        name: Its name there.
        swapped: Whether the device's constant has red and blue the other way round.
        factor: What it is multiplied by then to be this one, by input channel, ``(1, 3, ...)``.
        widened: Axis along which the device's constant has two classes for one channel, whose score is the second less
            the first; ``None`` if it has not.
    """

    name: str
    swapped: bool
    factor: NDArray[np.float32]
    widened: int | None = None

    def of(self, ours: NDArray[np.float32]) -> NDArray[np.float32]:
        """This constant, from the device's."""
        if self.widened is not None:
            return np.diff(ours, axis=self.widened)
        return (ours[:, ::-1] if self.swapped else ours) * self.factor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeNetwork:
    """The network that is made smaller.

    Attributes:
        source: As it came.
        canonical: Its graph, with its own input and head.
        image: Its input.
        graph: The float graph that devices run.
        normalization: What its images are normalized by.
    """

    source: SourceNetwork
    canonical: onnx.ModelProto
    image: ImageInput
    graph: FloatGraph
    normalization: ChosenNormalization


def open_whole(source: str, options: ExportOptions) -> WholeNetwork:
    """Open a network to be made smaller.

    Raises:
        SourceError: If it cannot be used.
        OptionError: If it gives labels, or nothing can be cut from it.
        UnsupportedOperatorError: If it has an operator that cannot be trained here.
    """
    if is_ready_made(source):
        raise OptionError(
            f"{source} is a file for one runtime; give the torch module or the ONNX file that it came from"
        )
    network = open_source_network(
        source,
        weights=options.weights,
        size_hw=options.size_hw,
        output_name=options.output_name,
        classes=None if options.labels is None else len(options.labels),
        normalization=options.normalization,
    )
    chosen = choose_normalization(options.normalization, network)
    canonical, image = canonicalize(network.model, options.size_hw)
    labels = options.labels or network.labels
    graph = finish_float_graph(canonical, image, replace(options, normalization=chosen.value, labels=labels))
    if graph.head_spec.kind == "labels":
        raise OptionError(
            f"{source} gives labels, and a smaller network learns from scores; export it without its argmax"
        )
    if not find_channels(graph.model):
        raise OptionError(f"{source} has no channels that can be cut: every layer's are mixed by an operator behind it")
    try:
        Trainable(graph.model)
    except UnsupportedOperatorError as exc:
        raise UnsupportedOperatorError(
            f"{source} cannot be trained here, and a smaller network has to learn: {exc}. Change these layers;"
            " or export it at a smaller --input-size, for which nothing is trained"
        ) from exc
    return WholeNetwork(source=network, canonical=canonical, image=image, graph=graph, normalization=chosen)


def write_network_layers(network: WholeNetwork, frames: SampleFrames, folder: Path) -> None:
    """Write the layers of a network, in several widths, for a device to time.

    Raises:
        CalibrationError: If there are no frames.
    """
    model = network.graph.model
    write_layers(folder, network.source.name, model, rough_int8(model, frames))


def rough_int8(model: onnx.ModelProto, frames: SampleFrames) -> onnx.ModelProto:
    """An int8 graph that takes as long as a careful one.

    Args:
        model: A float graph with the input ``frame``.
        frames: Sample frames; two of them give ranges.

    Raises:
        CalibrationError: If there are none.
    """
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    images = [resize_image(frame, (height, width)) for frame in frames.calibration[:RANGE_FRAMES]]
    if not images:
        raise CalibrationError("measuring ranges needs a frame; give a longer video with --frames")
    target = native_targets(cpu_features().has("vnni"))[0]
    return quantize_onnxruntime(model, measure_ranges(model, images), recipe_for(target))


def find_twins(graph: onnx.ModelProto, canonical: onnx.ModelProto) -> dict[str, Twin]:
    """Constants that the device's graph has under another name, by that name.

    The input's scale is in those of the first layer, and a last layer of one channel was widened to two classes.
    """
    ours, theirs = GraphIndex(graph), GraphIndex(canonical)
    nodes = {node.name: node for node in canonical.graph.node}
    found: dict[str, Twin] = {}
    for node in graph.graph.node:
        pairs = zip(node.input, nodes[node.name].input, strict=False) if node.name in nodes else ()
        for name, other in pairs:
            if name != other and name in ours.initializer and other in theirs.initializer:
                found[name] = _twin(other, _array(ours, name), _array(theirs, other))
    return found


def _twin(name: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Twin:
    """The second class less the first, or whichever order of colours fits."""
    if ours.shape != theirs.shape:
        axis = next(axis for axis, sizes in enumerate(zip(ours.shape, theirs.shape, strict=True)) if sizes == (2, 1))
        return Twin(name=name, swapped=False, factor=np.ones(1, np.float32), widened=axis)
    found = [_fitted(name, swapped, ours, theirs) for swapped in (False, True)]
    return min(found, key=lambda twin: float(np.abs(twin.of(ours) - theirs).max()))


def _fitted(name: str, swapped: bool, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Twin:
    others = tuple(axis for axis in range(ours.ndim) if axis != 1)
    size = np.abs(ours[:, ::-1] if swapped else ours).max(others, keepdims=True)
    factor = np.where(size > 0, np.abs(theirs).max(others, keepdims=True) / np.maximum(size, 1e-30), 1.0)
    return Twin(name=name, swapped=swapped, factor=factor.astype(np.float32))


def find_fixed(graph: onnx.ModelProto, canonical: onnx.ModelProto, twins: Mapping[str, Twin]) -> frozenset[str]:
    """Constants of the device's graph that the network as it came has no place for, and so must not learn."""
    theirs = {tensor.name for tensor in canonical.graph.initializer}
    return frozenset({tensor.name for tensor in graph.graph.initializer} - theirs - twins.keys())


def cut_network(network: onnx.ModelProto, removed: Iterable[Channel], twins: Mapping[str, Twin]) -> onnx.ModelProto:
    """The network as it came, without channels that were found in the device's graph."""
    return cut_channels(network, [_renamed(channel, twins) for channel in removed])


def take_weights(network: onnx.ModelProto, trained: onnx.ModelProto, twins: Mapping[str, Twin]) -> onnx.ModelProto:
    """The network as it came, with the weights of a device's graph with the same channels."""
    values = {}
    for tensor in trained.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value, twin = numpy_helper.to_array(tensor), twins.get(tensor.name)
            values[tensor.name if twin is None else twin.name] = value if twin is None else twin.of(value)
    copy = onnx.ModelProto()
    copy.CopyFrom(network)
    for tensor in copy.graph.initializer:
        if tensor.name in values and values[tensor.name].shape == tuple(tensor.dims):
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[tensor.name]), tensor.name))
    return copy


def _renamed(channel: Channel, twins: Mapping[str, Twin]) -> Channel:
    held = [(twins[name].name if name in twins else name, axis, at) for name, axis, at in channel.held]
    return replace(channel, held=tuple(held))


def _array(index: GraphIndex, name: str) -> NDArray[np.float32]:
    return np.asarray(index.constant(name), np.float32)
