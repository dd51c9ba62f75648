"""SYNTHIA: ``RGB`` and ``GT/LABELS``, single images (22 classes) or video (13 classes).

Ros et al., The SYNTHIA Dataset: A Large Collection of Synthetic Images for Semantic Segmentation of Urban Scenes, CVPR
2016. ``RAND_CITYSCAPES`` has single images; ``SYNTHIA-SEQS-04-DAWN`` and its like have a clip for each camera, in
``RGB/Stereo_Left/Omni_F`` and so on, at 5 frames per second. A folder of several sequences has each as a split; one
alone is the split ``all``. Label maps have 16 bits for each channel: the first is the class, the second the instance.
"""

from __future__ import annotations

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
from edge_vseg.analysis.datasets.label_sources import IdFile, IdTable, consecutive
from edge_vseg.bundle.labels import colored_labels

WHOLE = "all"
VIDEO_RATE = 5.0
"""Frames per second of the sequences."""
IMAGE_CLASSES = colored_labels(
    "sky:70,130,180 building:70,70,70 road:128,64,128 sidewalk:244,35,232 fence:64,64,128 vegetation:107,142,35 "
    "pole:153,153,153 car:0,0,142 traffic_sign:220,220,0 pedestrian:220,20,60 bicycle:119,11,32 motorcycle:0,0,230 "
    "parking_slot:250,170,160 road_work:128,64,64 traffic_light:250,170,30 terrain:152,251,152 rider:255,0,0 "
    "truck:0,0,70 bus:0,60,100 train:0,80,100 wall:102,102,156 lanemarking:102,102,156"
)
"""Of the single images; walls and lane markings have one colour, as published."""
VIDEO_CLASSES = colored_labels(
    "sky:128,128,128 building:128,0,0 road:128,64,128 sidewalk:0,0,192 fence:64,64,128 vegetation:128,128,0 "
    "pole:192,192,128 car:64,0,128 traffic_sign:192,128,128 pedestrian:64,64,0 bicycle:0,128,192 "
    "lanemarking:0,172,0 traffic_light:0,128,128"
)
"""Of the sequences."""
_IMAGE_TABLE = consecutive(22, first=1, ignored=(0,))
# The ids are those of the classes in their order from 1, and 15 for traffic lights; 13 and 14 are reserved.
_VIDEO_TABLE = IdTable({**{number: number - 1 for number in range(1, 13)}, 15: 12}, (0, 13, 14))


def _splits(folder: Path) -> tuple[str, ...]:
    """``all``, or the folders that are sequences."""
    if _is_sequence(folder):
        return (WHOLE,)
    return tuple(name for name in folders_in(folder) if _is_sequence(folder / name))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; each camera is a clip."""
    root = folder if _is_sequence(folder) else folder / split
    images, maps = root / "RGB", root / "GT" / "LABELS"
    cameras = [(side, camera) for side in folders_in(images) for camera in folders_in(images / side)]
    if cameras:
        labels = VIDEO_CLASSES
        entries = [entry for side, camera in cameras for entry in _clip(images, maps, side, camera)]
    else:
        labels = IMAGE_CLASSES
        entries = [
            FrameEntry(image=path, truth=_truth(maps, path, _IMAGE_TABLE), name=path.stem, clip=path.stem)
            for path in images_in(images)
        ]
    require_labels(entries, images=images, expected=f"one of the same name in {maps}")
    return IndexedFrames(entries, labels, split=split, where=images)


def _is_sequence(folder: Path) -> bool:
    return (folder / "RGB").is_dir() and (folder / "GT" / "LABELS").is_dir()


def _clip(images: Path, maps: Path, side: str, camera: str) -> list[FrameEntry]:
    return [
        FrameEntry(
            image=path,
            truth=_truth(maps / side / camera, path, _VIDEO_TABLE),
            name=path.stem,
            clip=f"{side}_{camera}",
            time_s=number / VIDEO_RATE,
        )
        for number, path in enumerate(images_in(images / side / camera))
    ]


def _truth(maps: Path, image: Path, table: IdTable) -> IdFile | None:
    path = same_stem(maps, image.stem)
    return None if path is None else IdFile(path=path, table=table, channel="red")


LAYOUT = Layout(name="synthia", about="SYNTHIA", splits=_splits, read=_read)
