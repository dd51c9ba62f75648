"""Outputs that look like scores of classes and are not: masks of queries, and what objects are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_vseg.errors import HeadError
from edge_vseg.types import Size

if TYPE_CHECKING:
    from edge_vseg.export.source.output_choice import Output

_STRIDES = (8, 16, 32)
"""Of the maps whose cells a YOLO's boxes come from."""
_ANCHORS = (1, 3)
_PROTOTYPES = 32
_END_TO_END = 6
"""Corners, score and class of a box, before its coefficients, where a YOLO drops double boxes by itself."""


def refuse_other_tasks(outputs: Sequence[Output], size_hw: Size) -> None:
    """See whether a network's outputs, taken together, say that none of them holds classes of pixels.

    Args:
        outputs: All that the network gives.
        size_hw: Size of the image that gives these shapes.

    Raises:
        HeadError: If they do.
    """
    if {"boxes", "masks"} <= {output.name.rpartition(".")[2] for output in outputs}:
        raise HeadError(_objects("boxes, and a mask for each"))
    lists = [output for output in outputs if len(output.shape) == 3 and not output.whole]
    for mask in (output for output in outputs if len(output.shape) == 4):
        for rows in lists:
            if rows.shape[1] == mask.shape[1] > 1:
                raise HeadError(_queries(mask, rows))
            if _PROTOTYPES in mask.shape[1::2] and _are_boxes(rows.shape, size_hw):
                raise HeadError(_objects(f"boxes in {rows}, and parts of their masks in {mask}"))


def _queries(mask: Output, rows: Output) -> str:
    return (
        f"{mask} holds a mask for each of {mask.shape[1]} queries, and {rows} what class each query has, as in"
        " MaskFormer, Mask2Former, OneFormer and EoMT: neither holds scores of classes. Export a module around the"
        " network that joins them: torch.einsum('bqc,bqhw->bchw', classes.softmax(-1)[..., :-1], masks.sigmoid()). With"
        " --output-name, one is taken as it is"
    )


def _objects(what: str) -> str:
    return (
        f"the network gives {what}: it finds objects one by one, as YOLO-seg and Mask R-CNN do, and no class for each"
        " pixel; export a network for semantic segmentation. With --output-name, an output is taken as it is"
    )


def _are_boxes(shape: Sequence[int], size_hw: Size) -> bool:
    """Whether the rows or columns of a list are a YOLO's boxes, each with the coefficients of all prototypes."""
    cells = sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in _STRIDES)
    counts = [cells * anchors for anchors in _ANCHORS]
    _, first, second = shape
    widths = [second] * (first in counts) + [first] * (second in counts)
    return second == _END_TO_END + _PROTOTYPES or any(width > 4 + _PROTOTYPES for width in widths)
