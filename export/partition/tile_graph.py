"""The float graph of a network at the size of a tile."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from edge_vseg.errors import ExportError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import FloatGraph, make_float_graph
from edge_vseg.export.source.source_network import SourceNetwork
from edge_vseg.imaging.tiles import ALIGNMENT_PX


def make_tile_graph(network: SourceNetwork, whole: FloatGraph, options: ExportOptions) -> FloatGraph:
    """The float graph at the size of a tile; a torch module is traced for it once more.

    Args:
        network: The network.
        whole: Its float graph at the input size.
        options: Options of the export; ``tiles`` is set.

    Raises:
        SourceError: If the network does not work at that size.
        ExportError: If the logits of a tile do not fall on those of the whole frame.
    """
    if whole.head.kind != "scores":
        raise ExportError("the network gives finished label maps, and tiles are put together from scores")
    assert options.tiles is not None
    # A tile may be as high as there are classes; by now it is known how many those are.
    for_tiles = replace(options, size_hw=options.tiles, tiles=None, labels=whole.labels)
    graph = make_float_graph(network.at_size(options.tiles), for_tiles)
    if replace(graph.head, size_hw=whole.head.size_hw) != whole.head:
        raise ExportError(f"a tile's head is {graph.head}, that of the whole frame {whole.head}")
    strides = [[Fraction(*pair) for pair in zip(g.size_hw, g.head.size_hw, strict=True)] for g in (whole, graph)]
    texts = [" by ".join(f"{float(stride):.4g}" for stride in each) for each in strides]
    if strides[0] != strides[1]:
        raise ExportError(f"a tile's scores have a stride of {texts[1]} pixels, those of the whole frame {texts[0]}")
    if any((ALIGNMENT_PX / stride).denominator != 1 or stride.denominator != 1 for stride in strides[0]):
        raise ExportError(f"scores every {texts[0]} pixels do not fall on multiples of {ALIGNMENT_PX}, as tiles do")
    return graph
