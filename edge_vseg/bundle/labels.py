"""Named class sets, and class lists from JSON files."""

from __future__ import annotations

import colorsys
import reprlib
from collections.abc import Sequence
from pathlib import Path

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
    """Read classes from JSON: a list of names, or of objects with ``name`` and, optionally, ``color`` ``[r, g, b]``.

    Raises:
        OptionError: If the file is missing or is not such a list.
    """
    try:
        rows = strict_json(read_regular(path))
    except OSError as exc:
        raise OptionError(
            f"classes file {path} cannot be read: {exc.strerror}; give a .json file or a known set"
        ) from exc
    except ValueError as exc:
        raise OptionError(f"classes file {path} is not JSON: {exc}; give a JSON list of class names") from exc
    return parse_labels(rows, f"classes file {path}")


def parse_labels(rows: object, where: str) -> tuple[Label, ...]:
    """Classes from a list as in such a file; ``where`` begins the message of an error.

    Raises:
        OptionError: If it is not such a list, or two classes have one name.
    """
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
    name = row.get("name") if isinstance(row, dict) else row
    color = row.get("color", spread_color(index, count)) if isinstance(row, dict) else spread_color(index, count)
    valid_color = (
        isinstance(color, list | tuple) and len(color) == 3 and all(type(v) is int and 0 <= v <= 255 for v in color)
    )
    if not isinstance(name, str) or not name or not valid_color:
        raise OptionError(
            f"{where}, entry {index}: expected a name or {{'name': ..., 'color': [r, g, b]}}, got"
            f" {reprlib.repr(row)}; correct that entry"
        )
    return Label(id=index, name=name, color=(color[0], color[1], color[2]))
