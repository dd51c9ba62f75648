"""Choose one output of a network that gives several: the scores, not what was pooled or is only for training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_vseg.errors import OptionError
from edge_vseg.types import Size

_MAIN = ("out", "logits")
"""Names of the scores in torchvision, transformers and most networks that give a mapping."""
_MOST_CLASSES = 255


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
    then the largest in height and width, then one with more than one channel, then one of whole numbers (what ``max``
    gives are the largest scores and their classes), then the first.

    Args:
        outputs: All that the network gives, in its order; at least one.
        wanted: The name asked for, or its beginning up to a dot; empty for none.
        classes: Number of classes, if it is known.
        size_hw: Size of the image that gives these shapes.

    Raises:
        OptionError: If there is no such output.
    """
    if wanted:
        return ChosenOutput(name=_named(outputs, wanted).name, note="")
    aspect = size_hw[0] / size_hw[1]
    maps = [output for output in outputs if math.prod(_hwc(output, aspect)[:2]) > 1]
    chosen = max(maps, key=lambda output: _rank(output, classes, aspect), default=outputs[0])
    others = ", ".join(str(output) for output in outputs if output.name != chosen.name)
    note = f"the network has {len(outputs)} outputs: {chosen} is exported, not {others};"
    return ChosenOutput(name=chosen.name, note=f"{note} choose another with --output-name" if others else "")


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


def _rank(output: Output, classes: int | None, aspect: float) -> tuple[bool, bool, int, bool, bool]:
    height, width, channels = _hwc(output, aspect)
    fits = classes is not None and (channels == classes or (classes == 2 and channels == 1))
    named = output.name.rpartition(".")[2] in _MAIN
    map_of_ids = output.whole and len(output.shape) == 3  # as what torch.max gives has, beside the best scores
    return fits, named, height * width if channels <= _MOST_CLASSES else 1, channels > 1, map_of_ids


def _hwc(output: Output, aspect: float) -> tuple[int, int, int]:
    """Height, width and channels; zeros for what has none. The layout is the one that fits the image's aspect."""
    match output.shape:
        case (_, a, b, c) if min(a, b, c) > 0:
            first, last = (abs(math.log(height / width / aspect)) for height, width in ((b, c), (a, b)))
            return (b, c, a) if first <= last else (a, b, c)
        case (_, height, width):
            return height, width, 1
        case _:
            return 0, 0, 0
