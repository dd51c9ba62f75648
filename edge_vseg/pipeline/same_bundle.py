"""Open a bundle again, and no other one in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edge_vseg.bundle import Bundle
from edge_vseg.errors import BundleFileError
from edge_vseg.segmenter import Segmenter

AnySegmenter = TypeVar("AnySegmenter", bound=Segmenter)


def open_same_bundle(open_segmenter: Callable[[], AnySegmenter], bundle: Bundle) -> AnySegmenter:
    """Open another segmenter of a bundle, unless it was replaced: its labels may mean something else by now.

    Raises:
        BundleFileError: If another bundle is in its place.
        EdgeVsegError: What opening raises.
    """
    segmenter = open_segmenter()
    if segmenter.bundle.sha256 == bundle.sha256:
        return segmenter
    segmenter.close()
    raise BundleFileError(
        f"{bundle.root} is another bundle than the one that the pipeline was opened with; open the pipeline again, or"
        " start its server again"
    )
