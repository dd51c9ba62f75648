"""Run one variant of a bundle on its check frame, and compare with the labels of the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.part_agreement import run_slices, tile_agreement
from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, Bundle
from edge_vseg.bundle.manifest import FrameSpec, Parity, TensorSpec, Variant
from edge_vseg.errors import BackendError, BundleFileError, OptionError, SessionError
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.imaging.tiles import divide
from edge_vseg.open_options import DEFAULT_OPTIONS, OpenOptions
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.runtimes.probing import ProbeRule
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Image, LabelMap, Tensor
from edge_vseg.video.images import picture_in

AGREEMENT_TOLERANCE = 0.02
"""Share of pixels by which a variant may agree less with float here than at export."""
UNCOMPARED_AGREEMENT = 0.9
"""Share of pixels in which a variant that was never compared with float must agree with it."""
SLICE_AGREEMENT = 0.98
"""Share of the cells in which slices must agree with the whole graph; at export it is 99.5 %."""
TILE_TOLERANCE = 0.1
"""Share of the cells by which a graph for tiles may agree less with the whole graph here than at export."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCheck:
    """Result of one variant.

    Attributes:
        id: The variant.
        status: ``ok``, ``wrong`` (its labels differ from those at export, or it does not run), or ``skipped``.
        agreement: Share of pixels on the check frame with the float labels of the export.
        expected: The minimum agreement: from the parity at export, or 0.9 if it was not compared there.
        slices: Share of the cells in which its slices agree with its whole graph; ``None`` if it has none.
        tiles: The same for its graph for tiles.
        detail: Why it was skipped or is wrong, or else its provider.
    """

    id: str
    status: Literal["ok", "wrong", "skipped"]
    agreement: float | None = None
    expected: float | None = None
    slices: float | None = None
    tiles: float | None = None
    detail: str = ""


def read_check_frame(bundle: Bundle) -> tuple[Image, LabelMap]:
    """The check frame ``(h, w, 3)`` uint8 BGR and the float graph's labels on it.

    Raises:
        BundleFileError: If the bundle has none, or their sizes differ.
    """
    paths = bundle.file(CHECK_FRAME), bundle.file(CHECK_LABELS)
    try:
        frame, labels = picture_in(paths[0], cv2.IMREAD_COLOR), picture_in(paths[1], cv2.IMREAD_GRAYSCALE)
    except cv2.error as exc:  # such as a header that promises more pixels than OpenCV takes
        raise BundleFileError(
            f"{bundle.root}/check holds no readable images: {exc.err}; export the bundle again"
        ) from exc
    if frame is None or labels is None:
        raise BundleFileError(f"{bundle.root}/check holds no readable images; export the bundle again")
    if frame.shape[:2] != labels.shape:
        raise BundleFileError(
            f"{bundle.root}/check: frame {frame.shape[:2]} and labels {labels.shape} differ in size;"
            " export the bundle again"
        )
    return np.asarray(frame, np.uint8), np.asarray(labels, np.uint8)


def check_variant(
    bundle: Bundle, variant: Variant, threads: int = 0, options: OpenOptions = DEFAULT_OPTIONS
) -> VariantCheck:
    """Run a variant on the check frame, whole, in slices and in tiles; the caller has checked that it fits here."""
    frame, labels = read_check_frame(bundle)
    options = replace(options, variant=variant.id, probe=ProbeRule(when="never"))
    try:
        with Segmenter.open(bundle.root, policy="every-frame", threads=threads, options=options) as segmenter:
            agreement = float(np.mean(segmenter(frame).labels == labels))
            detail = segmenter.provider
            used = segmenter.session_options
        slices, tiles = check_parts(bundle, variant, frame, used)
    except SessionError as exc:
        # The runtime works here, but it cannot load or run this graph.
        return VariantCheck(id=variant.id, status="wrong", detail=str(exc))
    except (BackendError, OptionError) as exc:
        return VariantCheck(id=variant.id, status="skipped", detail=str(exc))
    expected = _expected_agreement(variant.parity)
    wrong = list(_wrong_parts(variant, slices, tiles))
    status: Literal["ok", "wrong"] = "ok" if agreement >= expected and not wrong else "wrong"
    return VariantCheck(
        id=variant.id,
        status=status,
        agreement=agreement,
        expected=expected,
        slices=slices,
        tiles=tiles,
        detail="; ".join(wrong) or detail,
    )


def _expected_agreement(parity: Parity | None) -> float:
    if parity is None:
        return UNCOMPARED_AGREEMENT
    return max(0.0, min(parity.worst_agreement, parity.pixel_agreement) - AGREEMENT_TOLERANCE)


def check_parts(
    bundle: Bundle, variant: Variant, frame: Image, options: SessionOptions
) -> tuple[float | None, float | None]:
    """Shares of the cells in which a variant's slices, and its graph for tiles, agree with the whole graph.

    Args:
        bundle: The bundle.
        variant: The variant.
        frame: ``(h, w, 3)`` uint8 BGR.
        options: How its graphs are opened.

    Returns:
        Both shares; ``None`` for parts that it does not have.

    Raises:
        BackendError: If a part cannot be opened or run.
    """

    def opener(entry: str, spec: GraphSpec) -> Session:
        return get_runtime(variant.runtime).open(bundle.root / entry, spec, options)

    if not variant.slices and variant.tile is None:
        return None, None
    slices = tiles = None
    spec, output = bundle.manifest.frame, variant.output
    expected = _classifier(opener, variant.entry, spec, variant.input, output)
    if variant.slices:
        inputs = {variant.input.name: Preprocessor(spec, variant.input)(frame)}
        chained = run_slices(variant.slices, opener, inputs)[output.name]
        slices = float(np.mean(_winners(chained, output) == expected(frame)))
    if variant.tile is not None:
        tile = variant.tile
        small = msgspec.structs.replace(spec, size_hw=tile.input.hwc[:2])
        part = _classifier(opener, tile.entry, small, tile.input, tile.output)
        places = divide(spec.size_hw, small.size_hw, output.hwc[:2], tile.halo)
        tiles = tile_agreement(expected, part, [frame], places)
    return slices, tiles


def _classifier(
    opener: Callable[[str, GraphSpec], Session], entry: str, frame: FrameSpec, source: TensorSpec, output: TensorSpec
) -> Callable[[Image], NDArray[np.intp]]:
    prepare = Preprocessor(frame, source)

    def classify(image: Image) -> NDArray[np.intp]:
        session = opener(entry, GraphSpec.of(input=source, output=output))
        try:
            return _winners(run_checked(session, {source.name: prepare(image)}, (output,))[output.name], output)
        finally:
            session.close()

    return classify


def _winners(values: Tensor, output: TensorSpec) -> NDArray[np.intp]:
    match output.layout:
        case "NCHW":
            winners: NDArray[np.intp] = values[0].argmax(0)
        case "NHWC":
            winners = values[0].argmax(-1)
        case _:
            winners = values[0].astype(np.intp)
    return winners


def _wrong_parts(variant: Variant, slices: float | None, tiles: float | None) -> Iterator[str]:
    if slices is not None and slices < SLICE_AGREEMENT:
        yield f"its slices agree with its whole graph in {slices:.1%} of the cells; at least {SLICE_AGREEMENT:.0%} must"
    if variant.tile is not None and tiles is not None and tiles < (least := variant.tile.agreement - TILE_TOLERANCE):
        yield f"its graph for tiles agrees with its whole graph in {tiles:.1%} of the cells; at least {least:.0%} must"
