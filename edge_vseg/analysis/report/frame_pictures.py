"""Frames of a video as reports show them: overlay, uncertainty and age side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_vseg.analysis.report.blocks import Picture, Pictures
from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.heat_map import draw_heat_map
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Result

MAX_AGE_FRAMES = 10.0


def show_frame(image: Image, result: Result, labels: Sequence[Label], when: str) -> Pictures:
    """A frame's overlay and, as far as the result has them, its uncertainty and its age.

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
        result: What the segmenter said of it.
        labels: The classes.
        when: What comes before the rest of the caption.
    """
    drawn = draw_overlay(image, result.labels, labels, source=result.source)
    items = [Picture.of(drawn, f"overlay at {when}", f"{when}: {result.source}. {result.decision}".rstrip())]
    if (unsure := result.uncertainty) is not None:
        picture = draw_heat_map(image, unsure, "uncertainty")
        items.append(Picture.of(picture, f"uncertainty at {when}", f"uncertainty, mean {float(unsure.mean()):.2f}"))
    if result.age_map is not None:
        highest = max(MAX_AGE_FRAMES, float(result.age_map.max()))
        picture = draw_heat_map(image, result.age_map, "age", highest=highest, unit=" frames")
        items.append(Picture.of(picture, f"age at {when}", f"age, oldest {float(result.age_map.max()):.0f} frames"))
    return Pictures(items=tuple(items))


def show_truth(shown: Pictures, image: Image, truth: LabelMap, labels: Sequence[Label]) -> Pictures:
    """The same pictures with the truth behind them, if anything of it is known."""
    if (truth == IGNORE_ID).all():
        return shown
    picture = Picture.of(draw_overlay(image, truth, labels, legend=False), "truth")
    return replace(shown, items=(*shown.items, picture))
