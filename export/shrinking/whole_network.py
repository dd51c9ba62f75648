"""The network that is made smaller, and its layers for a device to time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export.export_options import ExportOptions, native_targets
from edge_vseg.export.float_graph import FloatGraph, finish_float_graph
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.interface import ImageInput
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.shrinking.channels import find_channels
from edge_vseg.export.shrinking.layers import write_layers
from edge_vseg.export.source.source_network import SourceNetwork, is_ready_made, open_source_network
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.runtimes.cpu import cpu_features

RANGE_FRAMES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeNetwork:
    """The network that is made smaller.

    Attributes:
        source: As it came.
        canonical: Its graph, with its own input and head.
        image: Its input.
        graph: The float graph that devices run.
    """

    source: SourceNetwork
    canonical: onnx.ModelProto
    image: ImageInput
    graph: FloatGraph


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
    canonical, image = canonicalize(network.model, options.size_hw)
    graph = finish_float_graph(canonical, image, options)
    if graph.head_spec.kind == "labels":
        raise OptionError(
            f"{source} gives labels, and a smaller network learns from scores; export it without its argmax"
        )
    if not find_channels(graph.model):
        raise OptionError(f"{source} has no channels that can be cut: every layer's are mixed by an operator behind it")
    return WholeNetwork(source=network, canonical=canonical, image=image, graph=graph)


def write_network_layers(network: WholeNetwork, frames: SampleFrames, folder: Path) -> None:
    """Write the layers of a network, in several widths, for a device to time."""
    size = network.graph.size_hw
    images = [resize_image(frame, size) for frame in frames.calibration[:RANGE_FRAMES]]
    if not images:
        raise CalibrationError("measuring ranges needs a frame; give a longer video with --frames")
    model = network.graph.model
    target = native_targets(cpu_features().has("vnni"))[0]
    int8 = quantize_onnxruntime(model, measure_ranges(model, images), recipe_for(target))
    write_layers(folder, network.source.name, model, int8)
