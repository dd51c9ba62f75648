"""Masks as COCO's run lengths.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014.
"""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.annotation_files import field
from edge_vseg.analysis.datasets.drawn_masks import run_mask
from edge_vseg.errors import DatasetError
from edge_vseg.types import Size


def rle_mask(rle: object, size_hw: Size, where: str) -> NDArray[np.bool_]:
    """A mask ``(H, W)`` from ``{"size": [h, w], "counts": ...}``.

    Args:
        rle: Its counts are a list, or packed into a text; only the text needs pycocotools.
        size_hw: Size of the image.
        where: Where it is from, for messages.

    Raises:
        DatasetError: If it does not make a mask of that size, or pycocotools is needed and not there.
    """
    size = field(rle, "size", list, where)
    if size != list(size_hw):
        raise DatasetError(f"{where}: a mask of {size} in an image of {size_hw}; sizes must agree")
    counts = rle.get("counts") if isinstance(rle, dict) else None
    if isinstance(counts, list):
        return run_mask(counts, size_hw, "columns", where)
    if not isinstance(counts, str) or not counts.isascii():
        raise DatasetError(f"{where}: `counts` is neither a list nor a text; export the dataset again")
    return _unpack(counts, size_hw, where)


def _unpack(counts: str, size_hw: Size, where: str) -> NDArray[np.bool_]:
    coder = _pycocotools(where)
    mask = _decode(coder, counts, size_hw)
    # It refuses runs that are too long, and leaves memory as it was where they are too short. A mask of one pixel less
    # must be too small for them.
    if mask is None or _decode(coder, counts, (size_hw[0] * size_hw[1] - 1, 1)) is not None:
        raise DatasetError(f"{where}: the run lengths do not make a mask of {size_hw}; export the dataset again")
    return mask


def _decode(coder: ModuleType, counts: str, size_hw: Size) -> NDArray[np.bool_] | None:
    """The mask; ``None`` if the runs are too long for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its arrays lack a keyword of numpy 2
        try:
            return np.asarray(coder.decode({"size": list(size_hw), "counts": counts.encode()}) != 0)
        except ValueError:
            return None


def _pycocotools(where: str) -> ModuleType:
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError as exc:
        raise DatasetError(
            f"{where}: packed run lengths need pycocotools, which cannot be loaded ({exc}):"
            " pip install 'edge-vseg[datasets]'"
        ) from exc
