"""Named class sets, and class lists from JSON files."""

from __future__ import annotations

import colorsys
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.input_files import read_regular, strict_json

_CAMVID = (
    "sky:128,128,128 building:128,0,0 pole:192,192,128 road:128,64,128 pavement:0,0,192 tree:128,128,0 "
    "sign:192,128,128 fence:64,64,128 car:64,0,128 pedestrian:64,64,0 bicyclist:0,128,192"
)
_CITYSCAPES = (
    "road:128,64,128 sidewalk:244,35,232 building:70,70,70 wall:102,102,156 fence:190,153,153 pole:153,153,153 "
    "traffic_light:250,170,30 traffic_sign:220,220,0 vegetation:107,142,35 terrain:152,251,152 sky:70,130,180 "
    "person:220,20,60 rider:255,0,0 car:0,0,142 truck:0,0,70 bus:0,60,100 train:0,80,100 motorcycle:0,0,230 "
    "bicycle:119,11,32"
)
_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)


class MergedLabel(Label, frozen=True, kw_only=True):
    """A class that is made of several classes of a dataset. Networks and bundles know it as a plain :class:`Label`.

    Attributes:
        of: The names of those classes.
    """

    of: tuple[str, ...]


def named_labels(name: str) -> tuple[Label, ...]:
    """The classes of ``camvid`` (11), ``cityscapes`` (19) or ``voc`` (21), in their usual order and colours.

    Raises:
        OptionError: If the name is unknown.
    """
    match name:
        case "camvid":
            return colored_labels(_CAMVID)
        case "cityscapes":
            return colored_labels(_CITYSCAPES)
        case "voc":
            return tuple(Label(id=i, name=n, color=voc_color(i)) for i, n in enumerate(_VOC.split()))
    raise OptionError(f"unknown class set {name!r}; known: camvid, cityscapes, voc; or give a .json file")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read classes from JSON: a list of names, or of objects with ``name`` and, optionally, ``color`` and ``of``.

    ``color`` is ``[r, g, b]``. ``of`` names the classes of a dataset that are this one, a :class:`MergedLabel`.

    Raises:
        OptionError: If the file is missing or is not such a list, or two classes take one of a dataset.
    """
    try:
        rows = strict_json(read_regular(path))
    except OSError as exc:
        raise OptionError(
            f"classes file {path} cannot be read: {exc.strerror}; give a .json file or a known set"
        ) from exc
    except ValueError as exc:
        raise OptionError(f"classes file {path} is not JSON: {exc}; give a JSON list of class names") from exc
    labels = _parse(rows, f"classes file {path}")
    _check_taken_once(labels, f"classes file {path}")
    return labels


def parse_labels(rows: object, where: str) -> tuple[Label, ...]:
    """Classes from a list as in such a file, without ``of``; ``where`` begins the message of an error.

    Raises:
        OptionError: If it is not such a list, or two classes have one name.
    """
    labels = _parse(rows, where)
    for label in labels:
        if isinstance(label, MergedLabel):
            raise OptionError(
                f"{where}: class {label.name!r} has `of`, which a file for --classes may have; leave it out here (in"
                " the classes.json of a plain folder, `ids` has a list of ids for such a class)"
            )
    return labels


def plain_labels(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The classes as a network has them: which classes of a dataset they are made of is left out."""
    return tuple(Label(id=each.id, name=each.name, color=each.color) for each in labels)


def taken_names(label: Label) -> tuple[str, ...]:
    """The names of a dataset's classes that are a class: its own, or those that it is made of."""
    return label.of if isinstance(label, MergedLabel) else (label.name,)


def comparable_name(name: str) -> str:
    """A name as names are compared with a dataset's: ``Traffic-Sign`` is ``traffic_sign``."""
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def _parse(rows: object, where: str) -> tuple[Label, ...]:
    if not isinstance(rows, list) or not 2 <= len(rows) <= 255:
        raise OptionError(f"{where}: expected a list of 2 to 255 classes; give a JSON list of class names")
    labels = tuple(_label(i, row, where, len(rows)) for i, row in enumerate(rows))
    check_distinct(labels, where)
    return labels


def check_distinct(labels: Sequence[Label], where: str) -> None:
    """Raise OptionError, beginning with ``where``, if two classes have one name: what asks by name would miss one."""
    for name, ids in ids_by_name(labels).items():
        if len(ids) > 1:
            raise OptionError(
                f"{where}: classes {' and '.join(map(str, ids))} are both called {name!r}; give each a name of its own"
            )


def _check_taken_once(labels: Sequence[Label], where: str) -> None:
    """Raise OptionError if a class of a dataset would be two; names alone may differ in what is not compared."""
    if not any(isinstance(each, MergedLabel) for each in labels):
        return
    takers: dict[str, str] = {}
    for label in labels:
        for name in taken_names(label):
            taker = takers.setdefault(comparable_name(name), label.name)
            if taker != label.name:
                raise OptionError(
                    f"{where}: {taker!r} and {label.name!r} both take a dataset's class {name!r}; leave it to one of"
                    " them"
                )


def ids_by_name(labels: Sequence[Label]) -> dict[str, tuple[int, ...]]:
    """Ids of the classes of each name: in bundles made before names had to be distinct, several."""
    found: dict[str, tuple[int, ...]] = {}
    for label in labels:
        found[label.name] = (*found.get(label.name, ()), label.id)
    return found


def distinct_names(labels: Sequence[Label]) -> tuple[str, ...]:
    """A key for each class: its name, with its id where another has the same."""
    ids = ids_by_name(labels)
    return tuple(each.name if len(ids[each.name]) == 1 else f"{each.name} ({each.id})" for each in labels)


def same_classes(first: Sequence[Label], second: Sequence[Label]) -> bool:
    """Whether two lists have the same names under the same ids, in whatever colours."""
    return [(each.id, each.name) for each in first] == [(each.id, each.name) for each in second]


def numbered_labels(count: int) -> tuple[Label, ...]:
    """Labels ``class_0``, ``class_1`` and so on, for a network without class names."""
    return tuple(Label(id=i, name=f"class_{i}", color=spread_color(i, count)) for i in range(count))


def colored_labels(table: str) -> tuple[Label, ...]:
    """Labels from a text such as ``road:128,64,128 car:0,0,142``: names and RGB colours, in the order of the ids."""
    rows = [row.split(":") for row in table.split()]
    colors = [tuple(int(v) for v in rgb.split(",")) for _, rgb in rows]
    return tuple(
        Label(id=i, name=row[0], color=(c[0], c[1], c[2])) for i, (row, c) in enumerate(zip(rows, colors, strict=True))
    )


def spread_color(index: int, count: int) -> tuple[int, int, int]:
    """The ``index``-th of ``count`` distinct RGB colours; class 0, usually the background, is dark."""
    if index == 0:
        return (32, 32, 32)
    r, g, b = colorsys.hsv_to_rgb((index - 1) / max(count - 1, 1), 0.75, 0.95 - 0.25 * (index % 2))
    return round(r * 255), round(g * 255), round(b * 255)


def voc_color(index: int) -> tuple[int, int, int]:
    """RGB colour of a class in PASCAL VOC's palette: bit 3k + c of the id is bit 7 - k of channel c."""
    channels = [0, 0, 0]
    for k in range(8):
        for c in range(3):
            channels[c] |= ((index >> (3 * k + c)) & 1) << (7 - k)
    return channels[0], channels[1], channels[2]


def _label(index: int, row: object, where: str, count: int) -> Label:
    given: dict[str, Any] = row if isinstance(row, dict) else {"name": row}
    name, color = given.get("name"), given.get("color", spread_color(index, count))
    of = given.get("of", ["any"])
    valid_color = (
        isinstance(color, list | tuple) and len(color) == 3 and all(type(v) is int and 0 <= v <= 255 for v in color)
    )
    valid_of = isinstance(of, list | tuple) and of and all(isinstance(each, str) and each for each in of)
    if not isinstance(name, str) or not name or not valid_color or not valid_of:
        raise OptionError(
            f"{where}, entry {index}: expected a name or {{'name': ..., 'color': [r, g, b], 'of': [names]}}, got"
            f" {reprlib.repr(row)}; correct that entry"
        )
    rgb = (color[0], color[1], color[2])
    if "of" in given:
        return MergedLabel(id=index, name=name, color=rgb, of=tuple(of))
    return Label(id=index, name=name, color=rgb)
