"""Example frames of a report: overlay, uncertainty, age and ground truth side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_vseg.analysis.report.page_blocks import PICTURE_WIDTH, Picture, Pictures
from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.heat_map import draw_heat_map
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Result

AGE_SCALE_FRAMES = 10.0
"""Upper end of the colour scale of ages, unless a map is older."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleFrame:
    """A frame to show in a report.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        result: The segmenter's result for it.
        when: Its place in the run, such as ``frame 12`` or ``1.5 s``; captions begin with it.
        truth: ``(H, W)`` uint8 ground truth; ``None`` without one.
    """

    image: Image
    result: Result
    when: str
    truth: LabelMap | None = None

    @classmethod
    def downscaled(cls, image: Image, result: Result, when: str) -> ExampleFrame:
        """A copy as small as it is shown, so that the example frames of a long run take little memory."""
        height, width = image.shape[:2]
        size_hw = (max(1, round(height * min(1.0, PICTURE_WIDTH / width))), min(width, PICTURE_WIDTH))
        small = replace(result, labels=resize_labels(result.labels, size_hw))
        return cls(image=resize_image(image, size_hw).copy(), result=small, when=when)


def example_pictures(example: ExampleFrame, labels: Sequence[Label]) -> Pictures:
    """Draw the overlay of an example frame and, as far as they are known, its uncertainty, its age and its truth.

    Args:
        example: The frame.
        labels: The bundle's classes.
    """
    image, result, when = example.image, example.result, example.when
    overlay = draw_overlay(image, result.labels, labels, source=result.source)
    items = [Picture.of(overlay, f"overlay at {when}", f"{when}: {result.source}. {result.decision}".rstrip())]
    if (uncertainty := result.uncertainty) is not None:
        picture = draw_heat_map(image, uncertainty, "uncertainty")
        caption = f"uncertainty, mean {float(uncertainty.mean()):.2f}"
        items.append(Picture.of(picture, f"uncertainty at {when}", caption))
    if result.age_map is not None:
        oldest = float(result.age_map.max())
        picture = draw_heat_map(image, result.age_map, "age", highest=max(AGE_SCALE_FRAMES, oldest), unit=" frames")
        items.append(Picture.of(picture, f"age at {when}", f"age, oldest {oldest:.0f} frames"))
    if example.truth is not None and (example.truth != IGNORE_ID).any():
        items.append(Picture.of(draw_overlay(image, example.truth, labels, legend=False), "truth"))
    return Pictures(items=tuple(items))
