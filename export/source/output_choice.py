"""Choose one output of a network that gives several: the scores, not what was pooled or is only for training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_vseg.errors import OptionError
from edge_vseg.export.source.other_tasks import refuse_other_tasks
from edge_vseg.types import Size

_MAIN = ("out", "logits")
"""Names of the scores in torchvision, transformers and most networks that give a mapping."""
_MOST_CLASSES = 255
_ASPECTS_ALIKE = math.log(1.5)
"""Aspects that strides may round into each other: (12, 15, 19) of 360x480 is 12x15 or 15x19. Beyond, a number of
classes that happens to be a width is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output of a network.

    Attributes:
        name: Its ONNX name; for a torch module the keys and indices that lead to it, joined by dots, and empty if it
            is all that the module gives.
        shape: Its shape; 0 where it is unknown.
        whole: Whether it holds whole numbers, as a finished label map does.
    """

    name: str
    shape: tuple[int, ...]
    whole: bool = False

    def __str__(self) -> str:
        """Name and shape, for messages."""
        return f"{self.name!r} {self.shape}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenOutput:
    """The output that is exported.

    Attributes:
        name: Its name.
        note: A warning if the choice was ours and there was one; else empty.
    """

    name: str
    note: str


def choose_output(outputs: Sequence[Output], wanted: str, classes: int | None, size_hw: Size) -> ChosenOutput:
    """The output to export.

    Of several, the one that looks most like scores: as many channels as there are classes, then a name that says so,
    then one with rows and columns (a list of tokens or queries has none), then the largest in height and width, then
    one with more than one channel, then one of whole numbers (what ``max`` gives are the largest scores and their
    classes), then the first; the note says so if the others are no less alike.

    Args:
        outputs: All that the network gives, in its order; at least one.
        wanted: The name asked for, or its beginning up to a dot; empty for none.
        classes: Number of classes, if it is known.
        size_hw: Size of the image that gives these shapes.

    Raises:
        OptionError: If there is no such output.
        HeadError: If none was asked for, and all together say that none holds scores.
    """
    if wanted:
        return ChosenOutput(name=_named(outputs, wanted).name, note="")
    maps = [output for output in outputs if math.prod(_hwc(output, size_hw)[:2]) > 1]
    chosen = max(maps, key=lambda output: _rank(output, classes, size_hw), default=outputs[0])
    fits, named, *_ = _rank(chosen, classes, size_hw)
    if len(chosen.shape) != 4 or not (fits or named):
        refuse_other_tasks(outputs, size_hw)
    others = ", ".join(str(output) for output in outputs if output.name != chosen.name)
    if not others:
        return ChosenOutput(name=chosen.name, note="")
    note = (
        f"the network has {len(outputs)} outputs: {chosen} is exported, not {others}; choose another with --output-name"
    )
    alike = [output.name for output in maps if _rank(output, classes, size_hw) == _rank(chosen, classes, size_hw)]
    if len(alike) > 1:
        note += (
            f". Nothing tells {' and '.join(map(repr, alike))} apart, so the first was taken, which may be one that is"
            f" only for training; say which with --output-name {' or --output-name '.join(alike)}"
        )
    return ChosenOutput(name=chosen.name, note=note)


def layout_of(shape: Sequence[int], size_hw: Size, classes: int | None = None) -> Literal["NCHW", "NHWC"]:
    """The layout of a network's output of one image: the one whose height and width have the image's aspect.

    Where both nearly have, it is the one with as many channels as there are classes.

    Args:
        shape: Its four dimensions, none of them 0.
        size_hw: Size of the image.
        classes: Number of classes, if it is known.
    """
    _, first, middle, last = shape
    aspect = size_hw[0] / size_hw[1]
    off_first, off_last = (abs(math.log(h / w / aspect)) for h, w in ((middle, last), (first, middle)))
    alike = abs(off_first - off_last) < _ASPECTS_ALIKE
    if alike and classes is not None and fits_classes(first, classes) != fits_classes(last, classes):
        return "NCHW" if fits_classes(first, classes) else "NHWC"
    return "NCHW" if off_first <= off_last else "NHWC"


def flatten_outputs(output: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors in what a torch module gives, with the keys and indices that lead to them."""
    parts: list[tuple[object, Any]]
    if hasattr(output, "shape"):
        yield name, output
        return
    if isinstance(output, Mapping):
        parts = list(output.items())
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        parts = [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        parts = list(zip(output._fields, output, strict=True))
    elif isinstance(output, Sequence) and not isinstance(output, str):
        parts = list(enumerate(output))
    else:
        return  # None where a loss would be, and the like
    for key, value in parts:
        yield from flatten_outputs(value, f"{name}.{key}" if name else str(key))


def _named(outputs: Sequence[Output], wanted: str) -> Output:
    exact = [output for output in outputs if output.name == wanted]
    inside = [output for output in outputs if output.name.startswith(f"{wanted}.")]
    if found := exact or inside[: len(inside) == 1]:
        return found[0]
    known = ", ".join(str(output) for output in outputs)
    raise OptionError(f"the network has no output {wanted!r}; it has: {known}")


def _rank(output: Output, classes: int | None, size_hw: Size) -> tuple[bool, bool, bool, int, bool, bool]:
    height, width, channels = _hwc(output, size_hw)
    planar = len(output.shape) == 4 or output.whole or _as_image(height, width, size_hw)
    fits = classes is not None and fits_classes(channels, classes)
    named = output.name.rpartition(".")[2] in _MAIN
    map_of_ids = output.whole and len(output.shape) == 3  # as what torch.max gives has, beside the best scores
    return fits, named, planar, height * width if channels <= _MOST_CLASSES else 1, channels > 1, map_of_ids


def _as_image(height: int, width: int, size_hw: Size) -> bool:
    """Whether a map has about the image's aspect."""
    if min(height, width) == 0:
        return False
    return abs(math.log(height / width * size_hw[1] / size_hw[0])) < _ASPECTS_ALIKE


def fits_classes(channels: int, classes: int) -> bool:
    """Whether so many channels are scores of so many classes: one is the foreground of two."""
    return channels == classes or (classes == 2 and channels == 1)


def _hwc(output: Output, size_hw: Size) -> tuple[int, int, int]:
    """Height, width and channels; zeros for what has none. The layout is the one that fits the image's aspect."""
    match output.shape:
        case (_, a, b, c) if min(a, b, c) > 0:
            return (b, c, a) if layout_of(output.shape, size_hw) == "NCHW" else (a, b, c)
        case (channels, height, width):
            return height, width, channels
        case _:
            return 0, 0, 0
