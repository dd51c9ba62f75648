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
from edge_vseg.errors import CalibrationError, OptionError
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
    """

    name: str
    swapped: bool
    factor: NDArray[np.float32]

    def of(self, ours: NDArray[np.float32]) -> NDArray[np.float32]:
        """This constant, from the device's."""
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
    """Constants that the device's graph has under another name, by that name: the input's scale is in them."""
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
    """Whichever order of colours fits."""
    found = [_fitted(name, swapped, ours, theirs) for swapped in (False, True)]
    return min(found, key=lambda twin: float(np.abs(twin.of(ours) - theirs).max()))


def _fitted(name: str, swapped: bool, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Twin:
    others = tuple(axis for axis in range(ours.ndim) if axis != 1)
    size = np.abs(ours[:, ::-1] if swapped else ours).max(others, keepdims=True)
    factor = np.where(size > 0, np.abs(theirs).max(others, keepdims=True) / np.maximum(size, 1e-30), 1.0)
    return Twin(name=name, swapped=swapped, factor=factor.astype(np.float32))


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
