"""COCO: ``annotations/KIND_SPLIT.json``, of the kinds panoptic, stuff and instances.

Roboflow has ``SPLIT/_annotations.coco.json`` instead, beside the images. Panoptic annotations are read if they are
there, from the PNG files in ``annotations/panoptic_SPLIT`` or ``panoptic_SPLIT``. Otherwise stuff, and the instances
over it, each in the order of the file. Crowds are no exception: CVAT's exports mark every mask as one. Images lie in
``SPLIT``, ``images/SPLIT``, ``images`` or the dataset's folder. Pixels under no shape have no class, unless a category
is named ``background``; images without an annotation are frames without labels.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; Kirillov et al., Panoptic Segmentation, CVPR 2019.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vseg.analysis.datasets.annotation_files import named_file, read_json, rows
from edge_vseg.analysis.datasets.coco_sources import drawn_source, panoptic_source
from edge_vseg.analysis.datasets.export_classes import ExportClasses, export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in
from edge_vseg.analysis.datasets.label_sources import LabelSource
from edge_vseg.errors import DatasetError

_BESIDE = "_annotations.coco.json"


def _splits(folder: Path) -> tuple[str, ...]:
    """Splits with a file of annotations."""
    names = (
        re.fullmatch(r"(?:panoptic|stuff|instances)_(.+)", path.stem) for path in folder.glob("annotations/*.json")
    )
    beside = {name for name in folders_in(folder) if (folder / name / _BESIDE).is_file()}
    return tuple(sorted({match[1] for match in names if match} | beside))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split.

    Raises:
        DatasetError: If a file is damaged, or names a file outside of its folder or an image that is not there.
    """
    # Things come before stuff in COCO's list of classes.
    files = [folder / "annotations" / f"{kind}_{split}.json" for kind in ("panoptic", "instances", "stuff")]
    files = [path for path in [*files, folder / split / _BESIDE] if path.is_file()]
    panoptic = files[0].name.startswith("panoptic_")
    trees = {str(path): read_json(path) for path in (files[:1] if panoptic else files)}
    where = " and ".join(trees)
    classes, ids = _categories(trees, where)
    drawn: dict[int, list[dict[str, Any]]] = {}
    for name, tree in reversed(trees.items()):  # stuff below things
        for each in rows(tree, "annotations", name, image_id=int):
            drawn.setdefault(each["image_id"], []).append(each)
    images = {
        each["id"]: each for name, tree in trees.items() for each in rows(tree, "images", name, id=int, file_name=str)
    }
    entries = []
    for number, image in images.items():
        path = _image(folder, split, image["file_name"], where)
        found, place = drawn.get(number, []), f"{where}, image {path.name}"
        truth: LabelSource | None = None
        if found and not panoptic:
            truth = drawn_source(found, image, ids, classes, place)
        elif found:
            truth = panoptic_source(found[0], _pictures(folder, files[0].stem), ids, place)
        entries.append(FrameEntry(image=path, truth=truth, name=path.stem, clip=path.stem))
    return IndexedFrames(entries, classes.labels, split=split, where=folder)


def _categories(trees: Mapping[str, object], where: str) -> tuple[ExportClasses, dict[int, int]]:
    """The classes, and class ids by category id."""
    found = [each for name, tree in trees.items() for each in rows(tree, "categories", name, id=int, name=str)]
    names: dict[int, str] = {}
    for each in found:
        if names.setdefault(each["id"], each["name"]) != each["name"]:
            raise DatasetError(f"{where}: category {each['id']} is {names[each['id']]!r} and {each['name']!r}")
    classes = export_classes([(each["name"], each.get("color")) for each in found], where)
    return classes, {number: classes.ids[name] for number, name in names.items()}


def _image(folder: Path, split: str, name: str, where: str) -> Path:
    bases = (folder / split, folder / "images" / split, folder / "images", folder)
    for base in bases:
        if (path := named_file(base, name, where)).is_file():
            return path
    raise DatasetError(f"{where} names the image {name[:200]!r}, which is in none of {', '.join(map(str, bases))}")


def _pictures(folder: Path, stem: str) -> Path:
    beside = folder / "annotations" / stem
    return beside if beside.is_dir() else folder / stem


LAYOUT = Layout(
    name="coco", about="COCO's panoptic, stuff or instance annotations", splits=_splits, read=_read, default="val2017"
)
