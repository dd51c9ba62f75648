"""A run does not go on with labels that were drawn anew in a labelling tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.training import own_data
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.own_data import read_training_data
from edge_vseg.export.reference.training.run_sources import data_fingerprints

SIDE = 64
LABELS = tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(["sky", "car"]))


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 7, np.uint8))


def document(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def labelme(folder: Path, right: int) -> str:
    image(folder / "a.jpg")
    (folder / "labels.txt").write_text("__ignore__\nsky\ncar\n")
    shape = {"label": "car", "points": [[1, 1], [right, 1], [right, 9]], "shape_type": "polygon"}
    document(folder / "a.json", {"imageHeight": SIDE, "imageWidth": SIDE, "shapes": [shape]})
    return f"labelme:{folder}"


def supervisely(folder: Path, right: int) -> str:
    image(folder / "drive/img/a.jpg")
    document(folder / "meta.json", {"classes": [{"title": name} for name in ("sky", "car")]})
    points = {"exterior": [[1, 1], [right, 1], [right, 9]], "interior": []}
    drawn = {"classTitle": "car", "geometryType": "polygon", "points": points}
    document(folder / "drive/ann/a.jpg.json", {"size": {"height": SIDE, "width": SIDE}, "objects": [drawn]})
    return f"supervisely:{folder}:drive"


def cvat(folder: Path, right: int) -> str:
    image(folder / "images/a.png")
    (folder / "annotations.xml").write_text(
        "<annotations><meta><task><labels>"
        "<label><name>sky</name></label><label><name>car</name></label></labels></task></meta>"
        f'<image id="0" name="a.png" width="{SIDE}" height="{SIDE}">'
        f'<polygon label="car" points="1,1;{right},1;{right},9"/></image></annotations>'
    )
    return f"cvat:{folder}"


def coco(folder: Path, right: int) -> str:
    image(folder / "x/a.jpg")
    drawn = {"image_id": 1, "category_id": 2, "segmentation": [[1, 1, right, 1, right, 9]]}
    categories = [{"id": 1, "name": "sky"}, {"id": 2, "name": "car"}]
    images = [{"id": 1, "file_name": "a.jpg", "height": SIDE, "width": SIDE}]
    tree = {"images": images, "categories": categories, "annotations": [drawn]}
    document(folder / "annotations/instances_x.json", tree)
    return f"coco:{folder}:x"


@pytest.mark.parametrize("wanted", [None, LABELS], ids=["own ids", "other ids"])
@pytest.mark.parametrize("write", [labelme, supervisely, cvat, coco])
def test_other_shapes_are_other_labels(
    write: Callable[[Path, int], str], wanted: tuple[Label, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_data, "MAX_HELD_BYTES", 1)
    first, alike, other = (
        data_fingerprints(
            read_training_data(write(tmp_path / str(number), right), TrainConfig(), labels=wanted, val="none")
        )
        for number, right in enumerate((20, 20, 21))
    )
    assert first == alike
    assert [name for name in first if first[name] != other[name]] == ["the shapes of the training labels"]
