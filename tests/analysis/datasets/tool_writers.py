"""Small exports of labelling tools, written as their formats are described."""

from __future__ import annotations

import base64
import io
import itertools
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_datasets import SIZE_HW, document, picture

HEIGHT, WIDTH = SIZE_HW
SQUARE = [[1, 1], [5, 1], [5, 4], [1, 4]]
CLASSES = [{"title": "road", "shape": "any", "color": "#804080"}, {"title": "car", "shape": "bitmap"}]


def png(mask: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes())


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def stray(frames: Any, index: int = 0) -> dict[str, int]:
    return dict(frames.entries[index].truth.stray(SIZE_HW))


def runs(mask: np.ndarray) -> str:
    """Row by row, background first."""
    lengths = [(value, len(list(group))) for value, group in itertools.groupby(mask.ravel().tolist())]
    return ", ".join(str(length) for _, length in ([(False, 0)] if lengths[0][0] else []) + lengths)


def cvat(folder: Path, body: str, meta: str = "", labels: str = "") -> Path:
    labels = labels or (
        "<label><name>road</name><color>#804080</color><type>any</type></label>"
        "<label><name>car</name><type>polygon</type></label>"
        "<label><name>blurred</name><type>tag</type></label>"
        "<label><name>wheel</name><type>points</type><parent>bike</parent></label>"
    )
    (folder / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        f"<meta><task><labels>{labels}</labels>{meta}</task></meta>{body}</annotations>",
        encoding="utf-8",
    )
    return folder


def cvat_image(body: str, name: str = "a.png", size: str = f'width="{WIDTH}" height="{HEIGHT}"', more: str = "") -> str:
    return f'<image id="0" name="{name}" {size} {more}>{body}</image>'


def polygon(points: list[list[int]], more: str = 'label="car"') -> str:
    return f'<polygon {more} source="manual" occluded="0" points="{";".join(f"{x:.2f},{y:.2f}" for x, y in points)}"/>'


def write_cvat(folder: Path, mask: np.ndarray) -> str:
    picture(folder / "images/a.png")
    element = f'<mask label="car" rle="{runs(mask)}" left="0" top="0" width="{WIDTH}" height="{HEIGHT}" z_order="0"/>'
    cvat(folder, cvat_image(element))
    return f"cvat:{folder}"


def labelme(path: Path, *shapes: dict[str, Any], **more: Any) -> None:
    document(path, {"version": "5.5.0", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": list(shapes)} | more)


def shape(label: str, points: list[Any], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None} | more


def write_labelme(folder: Path, mask: np.ndarray) -> str:
    picture(folder / "a.jpg")
    labelme(folder / "a.json", shape("car", [[0, 0], [WIDTH - 1, HEIGHT - 1]], "mask", mask=text(png(mask))))
    (folder / "labels.txt").write_text("__ignore__\nroad\ncar\n")
    return f"labelme:{folder}"


def supervisely(folder: Path, *objects: dict[str, Any], classes: object = CLASSES, **more: Any) -> str:
    picture(folder / "drive/img/a.jpg")
    document(folder / "meta.json", {"classes": classes, "tags": [], "projectType": "images"})
    size = {"height": HEIGHT, "width": WIDTH}
    document(folder / "drive/ann/a.jpg.json", {"description": "", "size": size, "objects": list(objects)} | more)
    return f"supervisely:{folder}"


def bitmap(data: str, origin: list[int], title: str = "car") -> dict[str, Any]:
    return {"classTitle": title, "geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}}


def outlined(exterior: list[Any], interior: list[Any], title: str = "road") -> dict[str, Any]:
    points = {"exterior": exterior, "interior": interior}
    return {"classTitle": title, "geometryType": "polygon", "points": points}


def transparent(mask: np.ndarray) -> str:
    """As their documentation has it: a palette of black and white, in which black is transparent."""
    picture = pytest.importorskip("PIL.Image").fromarray(mask.astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    picture.save(file, format="PNG", transparency=0, optimize=0)
    return text(zlib.compress(file.getvalue()))


def write_supervisely(folder: Path, mask: np.ndarray) -> str:
    return supervisely(folder, bitmap(transparent(mask), [0, 0]))


def roboflow(folder: Path, classes: str = "Pixel Value, Class\n0, background\n2, car\n1, road\n") -> str:
    picture(folder / "valid/a_jpg.rf.1.jpg")
    (folder / "valid/_classes.csv").write_text(classes)
    return f"roboflow:{folder}"


def write_roboflow(folder: Path, mask: np.ndarray) -> str:
    assert cv2.imwrite(str(folder / "a_mask.png"), mask.astype(np.uint8))
    picture(folder / "valid/a_jpg.rf.1.jpg")
    (folder / "a_mask.png").rename(folder / "valid/a_jpg.rf.1_mask.png")
    (folder / "valid/_classes.csv").write_text("Pixel Value, Class\n7, road\n1, car\n")
    return f"roboflow:{folder}"


def voc(folder: Path, names: str = "a\n", labelmap: str = "") -> str:
    picture(folder / "JPEGImages/a.jpg")
    (folder / "SegmentationClass").mkdir(exist_ok=True)
    (folder / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets/Segmentation/default.txt").write_text(names)
    if labelmap:
        (folder / "labelmap.txt").write_text(labelmap)
    return f"voc:{folder}"


def write_voc(folder: Path, mask: np.ndarray) -> str:
    address = voc(folder, labelmap="# label:color_rgb:parts:actions\nroad:9,8,7::\ncar:1,2,3:hand,foot:\n")
    rgb = np.where(mask[..., None], (1, 2, 3), (100, 100, 100)).astype(np.uint8)
    assert cv2.imwrite(str(folder / "SegmentationClass/a.png"), np.ascontiguousarray(rgb[..., ::-1]))
    return address


def write_supervisely_polygon(folder: Path, _: np.ndarray) -> str:
    return supervisely(folder, outlined(SQUARE, [SQUARE]))


def write_coco(folder: Path, _: np.ndarray) -> str:
    picture(folder / "x/a.jpg")
    picture(folder / "annotations/panoptic_x/a.png")
    segment = {"id": 1, "category_id": 1}
    runs_of_columns = {"size": [HEIGHT, WIDTH], "counts": [1, HEIGHT * WIDTH - 1]}
    drawn = [
        {"image_id": 1, "category_id": 2, "iscrowd": 0, "segmentation": [[1, 1, 5, 1, 5, 4]]},
        {"image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": runs_of_columns},
    ]
    annotations = {
        "panoptic": [{"image_id": 1, "file_name": "a.png", "segments_info": [segment]}],
        "instances": drawn,
    }
    for kind, found in annotations.items():
        tree = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 1, "name": "road", "color": [1, 2, 3]}, {"id": 2, "name": "car"}],
            "annotations": found,
        }
        document(folder / f"annotations/{kind}_x.json", tree)
    return f"coco:{folder}"
