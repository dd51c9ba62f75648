"""How much the float network changes its own mind when the camera's noise does: what int8 is to be measured by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.types import Image, LabelMap, Tensor

LEVELS = 1
"""Grey levels by which a channel of a pixel changes at most, of 255: less than the noise of most cameras."""


def noise_agreement(graph: FloatGraph, frames: Sequence[Image], seed: int) -> float:
    """Share of pixels to which the float graph gives the same class with and without a little noise in the frame.

    Every channel of every pixel changes by -1, 0 or 1 grey level. Pixels that change their class then lie on a border
    or are a guess, and no network that computes a little differently can be asked to agree on them.

    Args:
        graph: The float graph.
        frames: ``(H, W, 3)`` uint8 at the input size.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    noisy = [
        np.clip(frame + rng.integers(-LEVELS, LEVELS + 1, frame.shape, np.int16), 0, 255).astype(np.uint8)
        for frame in frames
    ]
    pairs = zip(_label_maps(graph, frames), _label_maps(graph, noisy), strict=True)
    return float(np.mean([np.mean(one == other) for one, other in pairs]))


def _label_maps(graph: FloatGraph, frames: Sequence[Image]) -> list[LabelMap]:
    outputs: Sequence[Tensor] = run_frames(graph.model, frames)
    if graph.head_spec.kind == "labels":
        return [output[0].astype(np.uint8) for output in outputs]
    mapper = LabelMapper(graph.size_hw, graph.head.align)
    return [mapper(output[0]) for output in outputs]
