"""Read the files that labelling tools write: JSON, XML and text of strangers, and the names of files in them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from xml.etree import ElementTree

from edge_vseg.errors import DatasetError
from edge_vseg.input_files import read_regular, strict_json

MAX_BYTES = 1 << 30
"""Largest annotation file that is read; the largest of COCO have half of that."""

_T = TypeVar("_T")


def annotation_text(path: Path) -> str:
    """Read a text in UTF-8.

    Raises:
        DatasetError: If it is missing, unreadable, too large, or not in UTF-8.
    """
    try:
        return read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc.strerror}; export the dataset again") from exc
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{path} is not in UTF-8: {exc.reason} at byte {exc.start}; save it in UTF-8") from exc


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DatasetError: As :func:`annotation_text`, or if it is not strict JSON.
    """
    try:
        return strict_json(annotation_text(path).encode())
    except ValueError as exc:
        raise DatasetError(f"{path} is not JSON: {exc}; export the dataset again") from exc


def read_xml(path: Path) -> ElementTree.Element:
    """Read XML without a document type: entities, which it declares, can grow without end or name other files.

    Raises:
        DatasetError: As :func:`annotation_text`, or if it is not XML, or has a document type.
    """
    text = annotation_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DatasetError(f"{path} declares a document type or entities; no labelling tool does: export it again")
    try:
        # The encoding that the file claims does not count: it is a text already. The builder refuses once more.
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, ValueError) as exc:
        raise DatasetError(f"{path} is not XML: {exc}; export the dataset again") from exc


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type")


def field(tree: object, key: str, kind: type[_T], where: str) -> _T:
    """A value of a JSON object, of the kind that it must have.

    Raises:
        DatasetError: If it is missing or of another kind.
    """
    value = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DatasetError(f"{where}: `{key}` is missing or not of type {kind.__name__}; export the dataset again")
    return value


def rows(tree: object, key: str, where: str, **kinds: type) -> list[dict[str, Any]]:
    """The JSON objects of a list, with the values that each of them must have.

    Raises:
        DatasetError: If the list is missing, or a value of an object is missing or of another kind.
    """
    found = field(tree, key, list, where)
    for row in found:
        for name, kind in kinds.items():
            field(row, name, kind, f"{where}, {key}")
    return found


def lists_nothing(path: Path, key: str) -> bool:
    """Whether the list of a JSON file is empty: some tools write a file for an image that nobody annotated, too.

    Args:
        path: The file.
        key: Of the list.

    Returns:
        False also for a damaged file, which is refused where it is read.
    """
    try:
        tree = read_json(path)
    except DatasetError:
        return False
    return isinstance(tree, dict) and tree.get(key) == []


def size_in(tree: object, height: str, width: str, where: str) -> tuple[int, int]:
    """Height and width from a JSON object.

    Raises:
        DatasetError: If one is missing or not above 0.
    """
    size = field(tree, height, int, where), field(tree, width, int, where)
    if min(size) < 1:
        raise DatasetError(f"{where}: the image has height and width {size}; export the dataset again")
    return size


def named_file(folder: Path, name: str, where: str) -> Path:
    """The path of a file that an annotation names; it may be missing, but it is in the folder.

    Args:
        folder: The folder that the name starts in, and may not leave.
        name: The name, perhaps with folders; a backslash counts as a slash.
        where: The annotation, for the message.

    Raises:
        DatasetError: If the name is empty, absolute, has ``..``, or leads out of the folder by a link.
    """
    relative = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    if not relative.parts or relative.is_absolute() or drive or ".." in relative.parts or "\0" in name:
        raise DatasetError(f"{where} names the file {name[:200]!r}; expected a name inside {folder}, without `..`")
    path = folder / relative
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        path.exists()  # fails for a name that is too long
    except (OSError, RuntimeError) as exc:  # or links in a circle
        raise DatasetError(f"{where} names the file {name[:200]!r}, which cannot be looked up: {exc}") from exc
    if not inside:
        raise DatasetError(f"{where} names the file {name[:200]!r}, a link that leaves {folder}; copy the file there")
    return path
