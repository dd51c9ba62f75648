"""IDD, the India Driving Dataset: ``leftImg8bit/SPLIT/DRIVE`` and ``gtFine/SPLIT/DRIVE``, 26 classes of level 3.

Varma et al., IDD: A Dataset for Exploring Problems of Autonomous Navigation in Unconstrained Environments, WACV 2019.
The download has polygons; its authors' ``createLabels.py --id-type level3Id`` makes the label maps that are read here.
Where there are none but those of ``--id-type csTrainId``, the classes are the 19 of Cityscapes. Images of a drive are
far apart, so each is a clip of its own.
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
)
from edge_vseg.analysis.datasets.label_sources import IdFile, IdTable, consecutive
from edge_vseg.bundle.labels import colored_labels, named_labels

CLASSES = colored_labels(
    "road:128,64,128 parking_or_drivable_fallback:250,170,160 sidewalk:244,35,232 "
    "rail_track_or_non_drivable_fallback:230,150,140 person_or_animal:220,20,60 rider:255,0,0 motorcycle:0,0,230 "
    "bicycle:119,11,32 autorickshaw:255,204,54 car:0,0,142 truck:0,0,70 bus:0,60,100 "
    "vehicle_fallback:136,143,153 curb:220,190,40 wall:102,102,156 fence:190,153,153 guard_rail:180,165,180 "
    "billboard:174,64,67 traffic_sign:220,220,0 traffic_light:250,170,30 pole:153,153,153 "
    "obs_str_bar_fallback:169,187,214 building:70,70,70 bridge_or_tunnel:150,100,100 vegetation:107,142,35 "
    "sky_or_fallback_background:70,130,180"
)
"""The classes of level 3. Where several are one, the colour is that of the first."""
_LEVEL3, _TRAIN_IDS = consecutive(26), consecutive(19)
_KINDS = (
    ("labellevel3Ids", CLASSES, _LEVEL3),
    ("labelLevel3Ids", CLASSES, _LEVEL3),
    ("labelcsTrainIds", named_labels("cityscapes"), _TRAIN_IDS),
)


def _splits(folder: Path) -> tuple[str, ...]:
    """Splits with images."""
    return folders_in(folder / "leftImg8bit")


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split."""
    root, truths = folder / "leftImg8bit" / split, folder / "gtFine" / split
    images = images_in(root, suffix="_leftImg8bit", recursive=True)
    for kind, labels, table in _KINDS:
        entries = [_entry(path, truths, kind, table) for path in images]
        if any(entry.truth is not None for entry in entries):
            return IndexedFrames(entries, labels, split=split, where=root)
    entries = [_entry(path, truths, _KINDS[0][0], _LEVEL3) for path in images]
    if split != "test":
        made = "make it from the polygons with createLabels.py --id-type level3Id of IDD's authors"
        require_labels(entries, images=root, expected=f"{truths}/DRIVE/IMAGE_gtFine_labellevel3Ids.png; {made}")
    return IndexedFrames(entries, CLASSES, split=split, where=root)


def _entry(image: Path, truths: Path, kind: str, table: IdTable) -> FrameEntry:
    name, drive = image.stem.removesuffix("_leftImg8bit"), image.parent.name
    path = truths / drive / f"{name}_gtFine_{kind}.png"
    truth = IdFile(path=path, table=table) if path.is_file() else None
    return FrameEntry(image=image, truth=truth, name=name, clip=f"{drive}_{name}")


LAYOUT = Layout(name="idd", about="IDD", splits=_splits, read=_read)
