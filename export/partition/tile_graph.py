"""The canonical graph of a network at the size of a tile."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from edge_vseg.errors import ExportError
from edge_vseg.export.export_options import TILE_STEP_PX, ExportOptions
from edge_vseg.export.float_graph import FloatGraph, make_float_graph
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network


def make_tile_graph(source: str, network: SourceNetwork, whole: FloatGraph, options: ExportOptions) -> FloatGraph:
    """The canonical graph of a network at the size of a tile.

    Args:
        source: What the network was opened from.
        network: The network.
        whole: Its canonical graph at the input size.
        options: Options of the export; ``tiles`` is set.

    Raises:
        SourceError: If the network does not work at that size.
        ExportError: If what it gives there cannot be placed among the whole's scores.
    """
    if whole.head.kind != "scores":
        raise ExportError("the network gives finished label maps, and tiles are put together from scores")
    if network.kind == "torch":
        # Tracing wrote the sizes of the whole into the graph, down to those of its features.
        network = open_source_network(source, weights=options.weights, size_hw=options.tiles)
    graph = make_float_graph(network, replace(options, size_hw=options.tiles, tiles=None))
    if replace(graph.head, size_hw=whole.head.size_hw) != whole.head:
        raise ExportError(f"a tile's head is {graph.head}, that of the whole frame {whole.head}")
    strides = [[Fraction(*pair) for pair in zip(g.size_hw, g.head.size_hw, strict=True)] for g in (whole, graph)]
    said = [" by ".join(f"{float(stride):.4g}" for stride in each) for each in strides]
    if strides[0] != strides[1]:
        raise ExportError(f"a tile's scores have a stride of {said[1]} pixels, those of the whole frame {said[0]}")
    if any((TILE_STEP_PX / stride).denominator != 1 or stride.denominator != 1 for stride in strides[0]):
        raise ExportError(f"scores every {said[0]} pixels do not fall on multiples of {TILE_STEP_PX}, as tiles do")
    return graph
