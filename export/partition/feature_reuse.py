"""Find where a network can be cut so that its heavy part need not run on every frame.

A reuse cut is a tensor at low resolution which, once given, makes most of the network unnecessary, while the
image still reaches the scores on another way: the deep features of an encoder-decoder with skips, or the
context branch of a two-branch network. Three stages come of it: the stem, that both ways share; the context, that
may be run rarely; and the detail stage, that fuses the two.

Reference: Zhu et al., Deep Feature Flow, CVPR 2017, cut a network by hand in two; Accel (Jain et al., CVPR 2019) and
the two-branch networks (Yu et al., BiSeNet, ECCV 2018) have the other way to the image.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edge_vseg.export.partition.data_flow import DataFlow

log = logging.getLogger(__name__)

MIN_STRIDE = 8
"""Least stride of carried tensors: finer ones show every error of the optical flow."""
MAX_DETAIL_SHARE = 0.6
"""Largest share of the multiply-accumulates that may still run on every frame."""
MIN_CONTEXT_SHARE = 0.05
"""Least share of the multiply-accumulates on the path around the cut: less than that is a colour shortcut, which shows
nothing of what moved."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stages:
    """The nodes of a graph in three groups, each in order.

    Attributes:
        stem: Shared by context and detail; runs on every frame. Empty if they share the input stage alone: each then
            reads the frame and has that stage in it, which saves a slice that hands over what it got.
        context: Runs rarely; its outputs are carried along the optical flow.
        detail: The rest; runs on every frame.
    """

    stem: tuple[onnx.NodeProto, ...]
    context: tuple[onnx.NodeProto, ...]
    detail: tuple[onnx.NodeProto, ...]


def find_reuse_cut(flow: DataFlow) -> Stages | None:
    """The cut that leaves the least work for every frame; ``None`` if there is none worth it."""
    shape = flow.index.shape(flow.image)
    assert shape is not None
    pixels = (shape[1] or 0) * (shape[2] or 0)
    total = flow.cost(flow.macs)
    best: tuple[int, str] | None = None
    for node in flow.order:
        name = node.output[0]
        size = flow.index.shape(name)
        if name == flow.output or size is None or len(size) != 4 or None in size or is_internal(flow, name):
            continue
        if (size[2] or 0) * (size[3] or 0) * MIN_STRIDE**2 > 1.1 * pixels:  # sizes round up
            continue
        per_frame = flow.ancestors([flow.output], [name])
        detail = per_frame - flow.ancestors([name])
        cost = flow.cost(per_frame)
        if not _reads_image(flow, per_frame) or not detail or cost - flow.cost(detail) < MIN_CONTEXT_SHARE * total:
            continue
        # Of equal cuts the last: it has the activation in it.
        if cost <= MAX_DETAIL_SHARE * total and (best is None or cost <= best[0]):
            best = cost, name
    if best is None:
        log.info("no reuse cut: no tensor at stride %d or coarser makes most of the work unnecessary", MIN_STRIDE)
        return None
    log.info("reuse cut at %s: every frame does %.1f %% of the work", best[1], 100 * best[0] / total)
    return cut_at(flow, [best[1]])


def cut_at(flow: DataFlow, carried: Sequence[str]) -> Stages | None:
    """The stages that carrying these tensors makes; ``None`` if nothing is shared, carried or left."""
    per_frame = flow.ancestors([flow.output], carried)
    deep = flow.ancestors(carried)
    groups = (per_frame & deep, deep - per_frame, per_frame - deep)
    stem, context, detail = (tuple(node for node in flow.order if node.name in names) for names in groups)
    if not (stem and context and detail):
        return None
    return Stages(stem=() if all(in_input_stage(flow, n) for n in stem) else stem, context=context, detail=detail)


def in_input_stage(flow: DataFlow, node: onnx.NodeProto) -> bool:
    """Whether a node belongs to what turns the frame into the network's own input."""
    return bool(node.name.startswith(f"{flow.image}."))


def is_internal(flow: DataFlow, name: str) -> bool:
    """Whether a tensor lies inside what runtimes fuse: before an activation, or in the input stage."""
    node = flow.index.producer[name]
    readers = flow.index.consumers.get(name, [])
    fused = {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Elu", "Tanh"}
    return in_input_stage(flow, node) or any(reader.op_type in fused for reader in readers)


def _reads_image(flow: DataFlow, nodes: set[str]) -> bool:
    return any(flow.image in flow.reads(node) for node in flow.order if node.name in nodes)
