"""Operators that split, join and rearrange tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec


def _concat(node: Node) -> Function:
    axis = node.axis(node.integer("axis", 1))
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Function:
    axis, count = node.axis(node.integer("axis", 0)), len(node.proto.output)
    size = node.shape()[axis]
    sizes = node.integers("split") if node.version < 13 else node.input_ints(1)
    if sizes is None:
        each = -(-size // node.integer("num_outputs", count))
        sizes = tuple(min(each, size - start) for start in range(0, size, each))
    if sum(sizes) != size or len(sizes) != count:
        raise node.unsupported(f"cannot split {size} elements into {count} parts of {sizes}")
    starts = np.cumsum((0, *sizes[:-1])).tolist()
    # narrow() lowers to SLICE, also on the channels of NHWC.
    return lambda x: tuple(x.narrow(axis, start, length) for start, length in zip(starts, sizes, strict=True))


def _slice(node: Node) -> Function:
    starts, ends, axes, steps = _slice_arguments(node)
    cuts: list[tuple[int, range]] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(axis)
        picked = range(node.shape()[axis])[slice(start, None if _beyond(end, step) else end, step)]
        if len(picked) == 0:
            raise node.unsupported(f"axis {axis} from {start} to {end} is empty")
        cuts.append((axis, picked))

    def cut(x: Tensor) -> Tensor:
        for axis, picked in cuts:
            first, last, step = min(picked), max(picked), abs(picked.step)
            if (first, last, step) != (0, x.shape[axis] - 1, 1):
                index = [slice(None)] * x.ndim
                index[axis] = slice(first, last + 1, step)
                x = x[tuple(index)]
            x = x.flip(axis) if picked.step < 0 else x
        return x

    return cut


def _slice_arguments(node: Node) -> tuple[Sequence[int], ...]:
    if node.version < 10:
        starts, ends = node.integers("starts") or (), node.integers("ends") or ()
        axes, steps = node.integers("axes"), None
    else:
        starts, ends = node.input_ints(1) or (), node.input_ints(2) or ()
        axes, steps = node.input_ints(3), node.input_ints(4)
    return starts, ends, axes or range(len(starts)), steps or (1,) * len(starts)


def _beyond(end: int, step: int) -> bool:
    """Whether a backward slice includes the first element; Python would read -1 as the last element."""
    return step < 0 and end < -(2**31) + 1


def _gather(node: Node) -> Function:
    axis, size = node.axis(node.integer("axis", 0)), node.shape()[node.axis(node.integer("axis", 0))]
    before, after = node.shape()[:axis], node.shape()[axis + 1 :]
    shape = (*before, *node.shape(1), *after)
    indices = node.array(1)
    if indices is None:

        def gather(x: Tensor, index: Tensor) -> Tensor:
            index = torch.where(index < 0, index + size, index).to(torch.int64)
            return x.index_select(axis, index.reshape(-1)).reshape(shape)

        return gather
    if indices.min() < -size or indices.max() >= size:
        raise node.unsupported(f"indices outside an axis of {size}")
    flat = (indices.reshape(-1) % size).astype(np.int64)
    if flat.size == 1 or np.all(np.diff(flat) == 1):
        start, length = int(flat[0]), flat.size
        return lambda x, _: x.narrow(axis, start, length).reshape(shape)
    return Bound(lambda index, x, _: x.index_select(axis, index).reshape(shape), flat)


def _depth_to_space(node: Node) -> Function:
    block, mode = node.integer("blocksize", 1), _block_mode(node)
    n, c, h, w = _images(node)
    depth = c // (block * block)
    if mode == "CRD":
        return lambda x: F.pixel_shuffle(x, block)

    # In NHWC the channels of DCR are (row, column, depth): one rank-4 TRANSPOSE.
    def depth_to_space(x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).reshape(n * h, w, block, block * depth).permute(0, 2, 1, 3)
        return x.reshape(n, h * block, w * block, depth).permute(0, 3, 1, 2)

    return depth_to_space


def _space_to_depth(node: Node) -> Function:
    block, mode = node.integer("blocksize", 1), _block_mode(node)
    n, c, h, w = _images(node)
    if h % block or w % block:
        raise node.unsupported(f"{h}x{w} pixels are no multiple of blocks of {block}")
    if mode == "CRD":
        return lambda x: F.pixel_unshuffle(x, block)

    def space_to_depth(x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).reshape(n * h // block, block, w // block, block * c).permute(0, 2, 1, 3)
        return x.reshape(n, h // block, w // block, block * block * c).permute(0, 3, 1, 2)

    return space_to_depth


def _block_mode(node: Node) -> str:
    mode = node.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.unsupported(f"mode '{mode}'")
    return mode


def _images(node: Node) -> tuple[int, int, int, int]:
    if node.rank() != 4:
        raise node.unsupported(f"input of {node.rank()} dimensions; 4 are supported")
    n, c, h, w = node.shape()
    return n, c, h, w


OPERATORS = (
    OperatorSpec(name="Concat", versions=(4, 11, 13), build=_concat, covers="any axis"),
    OperatorSpec(
        name="Split",
        versions=(2, 11, 13, 18),
        build=_split,
        constants=(1,),
        covers="equal or explicit sizes, num_outputs",
        refuses="computed sizes",
    ),
    OperatorSpec(
        name="Slice",
        versions=(1, 10, 11, 13),
        build=_slice,
        constants=(1, 2, 3, 4),
        covers="any axes, steps and directions",
        refuses="computed bounds",
    ),
    OperatorSpec(name="Gather", versions=(1, 11, 13), build=_gather, covers="constant and computed indices"),
    OperatorSpec(name="DepthToSpace", versions=(1, 11, 13, 28), build=_depth_to_space, covers="DCR and CRD"),
    OperatorSpec(name="SpaceToDepth", versions=(1, 13, 28), build=_space_to_depth, covers="DCR and CRD"),
)
