"""The classes that an export of a labelling tool lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edge_vseg.bundle.labels import parse_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.types import IGNORE_ID

BACKGROUND = ("background", "_background_")
"""A class of such a name is that of the pixels under no shape; without it they have no class."""
_MOST = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportClasses:
    """Classes by name.

    Attributes:
        labels: The classes.
        ids: Class id by name.
        background: Class of the pixels under no shape; 255 for none.
    """

    labels: tuple[Label, ...]
    ids: dict[str, int]
    background: int


def export_classes(named: Iterable[tuple[str, object]], where: str) -> ExportClasses:
    """The classes of an export.

    Args:
        named: Names in their order, with ``[r, g, b]``, ``"#rrggbb"`` or ``None``. A name that comes again is the same
            class.
        where: The file, for messages.

    Raises:
        DatasetError: If there are fewer than 2 or more than 255, or one has no name or a wrong colour.
    """
    colors: dict[str, object] = {}
    for name, color in named:
        colors.setdefault(name, color)
    if not 2 <= len(colors) <= _MOST:
        raise DatasetError(
            f"{where} has {len(colors)} classes, {', '.join(list(colors)[:3])}; expected 2 to {_MOST}. A class named"
            " `background` is that of the pixels under no shape: add it if there is only one other"
        )
    rows = [{"name": name} | ({} if color is None else {"color": _rgb(color)}) for name, color in colors.items()]
    try:
        labels = parse_labels(rows, where)
    except OptionError as exc:
        raise DatasetError(str(exc)) from exc
    background = [label.id for label in labels if label.name.lower() in BACKGROUND]
    return ExportClasses(
        labels=labels,
        ids={label.name: label.id for label in labels},
        background=background[0] if background else IGNORE_ID,
    )


def _rgb(color: object) -> object:
    """From ``#rrggbb`` to ``[r, g, b]``; what is no such text is left for the check of all."""
    if isinstance(color, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        return [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    return color
