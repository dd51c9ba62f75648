"""``report.html``: what an export made and how well it agrees with float, for a person to read."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np

from edge_vseg.manifest import Manifest
from edge_vseg.overlay import colorize, draw_overlay
from edge_vseg.preprocess import resize_image
from edge_vseg.types import Image, LabelMap

if TYPE_CHECKING:
    from edge_vseg.export.parity import Judged

_WIDTH = 420
_SAME = 0.9999


def write_report(
    path: Path,
    manifest: Manifest,
    frames: Sequence[Image],
    reference: Sequence[LabelMap],
    judged: Sequence[Judged],
    warning: str,
) -> None:
    """Write the report as one self-contained HTML file.

    Args:
        path: Where to.
        manifest: The bundle's manifest.
        frames: Parity frames ``(H, W, 3)`` uint8 BGR.
        reference: Label maps of the float graph on them.
        judged: The variants and their worst label maps.
        warning: Shown at the top if not empty.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge_vseg.export"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    different = [
        j
        for j in judged
        if j.worst is not None
        and j.variant in manifest.variants
        and j.variant.parity is not None
        and j.variant.parity.worst_agreement < _SAME
    ]
    worst = [_worst(j, manifest, frames, reference) for j in different]
    html = environment.get_template("report.html.j2").render(m=manifest, worst=worst, warning=warning)
    path.write_text(html, encoding="utf-8")


def _worst(
    judged: Judged, manifest: Manifest, frames: Sequence[Image], reference: Sequence[LabelMap]
) -> dict[str, str]:
    """Pictures of a variant's worst frame: float, variant, and where they differ."""
    parity, labels = judged.variant.parity, judged.worst
    assert parity is not None
    assert labels is not None
    frame, truth = frames[parity.worst_frame], reference[parity.worst_frame]
    different = np.where((truth != labels)[..., None], np.array([40, 40, 230], np.uint8), frame // 3)
    return {
        "id": judged.variant.id,
        "agreement": f"{parity.worst_agreement:.2%}",
        "float": _picture(draw_overlay(frame, truth, manifest.labels)),
        "variant": _picture(draw_overlay(frame, labels, manifest.labels)),
        "map": _picture(colorize(labels, manifest.labels)),
        "different": _picture(different.astype(np.uint8)),
    }


def _picture(image: Image) -> str:
    height, width = image.shape[:2]
    small: Image = image
    if width > _WIDTH:
        small = resize_image(image, (round(height * _WIDTH / width), _WIDTH))
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
