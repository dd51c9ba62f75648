"""A plain folder: ``images/``, ``labels/`` and ``classes.json``.

Label maps are PNGs of class ids, grey or with a palette, named as their images; images without one are frames without
labels. Grey PNGs in ``confidence/``, named as the label maps, say how sure each pixel's label is. Folders in
``images/`` are clips, whose frames follow each other in the order of their names. Several splits are folders ``train``,
``val`` and so on, each with ``images/`` and ``labels/``; without them everything is the split ``all``.
``classes.json`` is a list as for ``--classes``; ``{"classes": [...], "ids": [...], "ignore": [...], "rate":
30}`` adds the ids in the label maps of the classes in their order, an id or a list of ids for each, ids that have no
class, and the frames per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import (
    FrameEntry,
    IndexedFrames,
    Layout,
    folders_in,
    images_in,
    require_labels,
    same_stem,
)
from edge_vseg.analysis.datasets.label_sources import IdFile, IdTable
from edge_vseg.bundle.labels import parse_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import read_regular, strict_json

WHOLE = "all"
_LOSSY = (".jpg", ".jpeg", ".webp")
_KEYS = {"classes", "ids", "ignore", "rate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderClasses:
    """What ``classes.json`` says.

    Attributes:
        labels: The classes.
        table: Turns the ids of label maps into class ids.
        rate: Frames per second of the clips; ``None`` if it does not say.
    """

    labels: tuple[Label, ...]
    table: IdTable
    rate: float | None


def read_classes(path: Path) -> FolderClasses:
    """Read ``classes.json``.

    Raises:
        DatasetError: If it is missing or looks otherwise.
    """
    try:
        tree = strict_json(read_regular(path))
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc.strerror}; it names the classes of the label maps") from exc
    except ValueError as exc:
        raise DatasetError(f"{path} is not JSON: {exc}") from exc
    given = tree if isinstance(tree, dict) else {"classes": tree}
    if strange := set(given) - _KEYS:
        raise DatasetError(f"{path}: unknown key {sorted(strange)[0]!r}; known: {', '.join(sorted(_KEYS))}")
    labels = parse_labels(given.get("classes"), str(path))
    ids, ignored, rate = given.get("ids"), given.get("ignore", [255]), given.get("rate")
    classes = dict(enumerate(range(len(labels)))) if ids is None else _class_by_id(ids)
    if not _are_ids(ignored) or classes is None or set(classes.values()) != set(range(len(labels))):
        raise DatasetError(
            f"{path}: `ids` has one id from 0 to 65535 for each class, or a list of them, each of one class only, and"
            " `ignore` is a list of ids"
        )
    if "ignore" in given and (both := sorted(set(ignored) & set(classes))):
        name = labels[classes[both[0]]].name
        raise DatasetError(
            f"{path}: id {both[0]} is in `ignore` and is that of class {name!r}; take it out of `ignore`, or give"
            " each class an id in `ids` that is not in it"
        )
    if rate is not None and not (isinstance(rate, int | float) and rate > 0):
        raise DatasetError(f"{path}: `rate` is in frames per second, got {rate!r}")
    return FolderClasses(labels=labels, table=IdTable(classes, ignored), rate=rate)


def _splits(folder: Path) -> tuple[str, ...]:
    """Folders with images, or ``all``."""
    if (folder / "images").is_dir():
        return (WHOLE,)
    return tuple(name for name in folders_in(folder) if (folder / name / "images").is_dir())


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split.

    Raises:
        DatasetError: If ``classes.json`` is wrong, no image has a label map, or one is a JPEG or WebP.
    """
    classes = read_classes(folder / "classes.json")
    root = folder if split == WHOLE and (folder / "images").is_dir() else folder / split
    images, labels = root / "images", root / "labels"
    entries = [entry for clip in ("", *folders_in(images)) for entry in _clip(root, clip, classes)]
    require_labels(entries, images=images, expected=f"one of the same name in {labels}")
    return IndexedFrames(entries, classes.labels, split=split, where=images)


def _clip(root: Path, clip: str, classes: FolderClasses) -> list[FrameEntry]:
    entries = []
    for number, image in enumerate(images_in(root / "images" / clip)):
        path = _exact(root / "labels" / clip, image.stem)
        confidence = _exact(root / "confidence" / clip, image.stem)
        truth = None if path is None else IdFile(path=path, table=classes.table)
        time_s = number / classes.rate if clip and classes.rate else None
        # Images that are no clip do not follow each other.
        entries.append(
            FrameEntry(
                image=image,
                truth=truth,
                name=image.stem,
                clip=clip or image.stem,
                time_s=time_s,
                confidence=confidence,
            )
        )
    return entries


def _exact(folder: Path, stem: str) -> Path | None:
    """The picture of that name, which has to keep its numbers."""
    path = same_stem(folder, stem)
    if path is not None and path.suffix.lower() in _LOSSY:
        raise DatasetError(
            f"{path} may have other numbers than were saved, as such files do; save label maps and"
            " their confidence as PNG"
        )
    return path


def _class_by_id(ids: object) -> dict[int, int] | None:
    """The number of the class of each id; ``None`` if they are no ids, or one comes twice."""
    if not isinstance(ids, list):
        return None
    groups = [each if isinstance(each, list) else [each] for each in ids]
    every = [number for group in groups for number in group]
    if not _are_ids(every) or len(set(every)) != len(every):
        return None
    return {number: index for index, group in enumerate(groups) for number in group}


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 16 for each in value)


LAYOUT = Layout(name="folder", about="a folder with images/, labels/ and classes.json", splits=_splits, read=_read)
