"""Verify a bundle on the machine that will run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendError, BundleFileError, OptionError, SessionError
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.selection.compatibility import split_by_fit
from edge_vseg.types import Image, LabelMap

AGREEMENT_TOLERANCE = 0.02
"""Share of pixels by which a variant may agree less with float here than at export."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCheck:
    """Result of one variant.

    Attributes:
        id: The variant.
        status: ``ok``, ``wrong`` (its labels differ from those at export, or it does not run), or ``skipped``.
        agreement: Share of pixels on the check frame with the float labels of the export.
        expected: The minimum agreement, from the parity at export.
        detail: Why it was skipped or is wrong, or else its provider.
    """

    id: str
    status: Literal["ok", "wrong", "skipped"]
    agreement: float | None = None
    expected: float | None = None
    detail: str = ""


def check_files(bundle: Bundle) -> int:
    """Check the hash of every file of the bundle; returns the number of files.

    Raises:
        BundleFileError: If one differs from the manifest.
    """
    for relative in bundle.manifest.files:
        bundle.file(relative)
    return len(bundle.manifest.files)


def check_variants(bundle: Bundle, *, threads: int = 0) -> list[VariantCheck]:
    """Run every variant that this machine can open on the bundle's check frame.

    Intact files can still give wrong labels, for example if a kernel saturates on this CPU. So each variant must agree
    with the float labels stored at export about as well as it did there.
    """
    frame, labels = read_check_frame(bundle)
    fit, unfit = split_by_fit(bundle.manifest.variants, cpu_features(), {})
    unfit |= {failure.id: failure.message for failure in bundle.manifest.failed}
    checks = [VariantCheck(id=name, status="skipped", detail=reason) for name, reason in unfit.items()]
    return [*(_check(bundle, v, frame, labels, threads) for v in fit), *checks]


def read_check_frame(bundle: Bundle) -> tuple[Image, LabelMap]:
    """The check frame ``(h, w, 3)`` uint8 BGR and the float graph's labels on it.

    Raises:
        BundleFileError: If the bundle has none, or their sizes differ.
    """
    frame = cv2.imread(str(bundle.file(CHECK_FRAME)), cv2.IMREAD_COLOR)
    labels = cv2.imread(str(bundle.file(CHECK_LABELS)), cv2.IMREAD_GRAYSCALE)
    if frame is None or labels is None:
        raise BundleFileError(f"{bundle.root}/check holds no readable images; export the bundle again")
    if frame.shape[:2] != labels.shape:
        raise BundleFileError(
            f"{bundle.root}/check: frame {frame.shape[:2]} and labels {labels.shape} differ in size;"
            " export the bundle again"
        )
    return np.asarray(frame, np.uint8), np.asarray(labels, np.uint8)


def _check(bundle: Bundle, variant: Variant, frame: Image, labels: LabelMap, threads: int) -> VariantCheck:
    try:
        with RuntimeOptions(variant=variant.id, threads=threads).open_segmenter(bundle.root) as segmenter:
            agreement = float(np.mean(segmenter(frame).labels == labels))
            detail = segmenter.provider
    except SessionError as exc:
        # The runtime works here, but it cannot load or run this graph.
        return VariantCheck(id=variant.id, status="wrong", detail=str(exc))
    except (BackendError, OptionError) as exc:
        return VariantCheck(id=variant.id, status="skipped", detail=str(exc))
    parity = variant.parity
    expected = max(0.0, min(parity.worst_agreement, parity.pixel_agreement) - AGREEMENT_TOLERANCE) if parity else 0.0
    status: Literal["ok", "wrong"] = "ok" if agreement >= expected else "wrong"
    return VariantCheck(id=variant.id, status=status, agreement=agreement, expected=expected, detail=detail)
