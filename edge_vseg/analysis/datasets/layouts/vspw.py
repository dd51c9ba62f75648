"""VSPW and VSPW_480p: ``data/VIDEO/origin`` and ``data/VIDEO/mask``, lists ``train.txt`` and so on; 124 classes.

Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild, CVPR 2021. Names and ids of the classes
are those of its ``label_num_dic_final.json``; 0, "others", and 255 have no class, as in the authors' evaluation. Files
are numbered at 15 frames per second.
"""

from __future__ import annotations

from pathlib import Path

from edge_vseg.analysis.datasets.indexed import (
    FrameEntry,
    IndexedFrames,
    Layout,
    images_in,
    listed,
    require_labels,
    same_stem,
)
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import parse_labels
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number

VIDEO_RATE = 15.0
"""Frames per second."""
_NAMES = (
    "wall ceiling door stair ladder escalator Playground_slide handrail_or_fence window rail goal pillar pole floor "
    "ground grass sand athletic_field road path crosswalk building house bridge tower windmill well_or_well_lid "
    "other_construction sky mountain stone wood ice snowfield grandstand sea river lake waterfall water "
    "billboard_or_Bulletin_Board sculpture pipeline flag parasol_or_umbrella cushion_or_carpet tent roadblock car bus "
    "truck bicycle motorcycle wheeled_machine ship_or_boat raft airplane tyre traffic_light lamp person cat dog horse "
    "cattle other_animal tree flower other_plant toy ball_net backboard skateboard bat ball "
    "cupboard_or_showcase_or_storage_rack box traveling_case_or_trolley_case basket bag_or_package trash_can cage "
    "plate tub_or_bowl_or_pot bottle_or_cup barrel fishbowl bed pillow table_or_desk chair_or_seat bench sofa shelf "
    "bathtub gun commode roaster other_machine refrigerator washing_machine Microwave_oven fan curtain textiles "
    "clothes painting_or_poster mirror flower_pot_or_vase clock book tool blackboard tissue screen_or_television "
    "computer printer Mobile_phone keyboard other_electronic_product fruit food instrument train"
)
CLASSES = parse_labels(_NAMES.split(), "VSPW")
"""The classes; their colours are not published, and made here."""
_TABLE = consecutive(124, first=1, ignored=(0, 255))
_SPLITS = ("train", "val", "test")


def _splits(folder: Path) -> tuple[str, ...]:
    """Lists of videos that are there."""
    if not (folder / "data").is_dir():
        return ()
    return tuple(split for split in _SPLITS if (folder / f"{split}.txt").is_file())


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; each video is a clip.

    Raises:
        DatasetError: If a video of the list is not there.
    """
    names = folder / f"{split}.txt"
    videos = [Path(line).name for line in listed(names)]
    data = folder / "data"
    if missing := [video for video in videos if not (data / video / "origin").is_dir()]:
        raise DatasetError(
            f"{len(missing)} videos of {names} are not in {data}, for example {missing[0]}; unpack the dataset again,"
            " or take them off the list"
        )
    entries = [_entry(path, data / video, video) for video in videos for path in images_in(data / video / "origin")]
    if split != "test":
        require_labels(entries, images=data, expected="one of the same name in VIDEO/mask")
    return IndexedFrames(entries, CLASSES, split=split, where=data)


def _entry(image: Path, folder: Path, video: str) -> FrameEntry:
    number = whole_number(image.stem)
    if number is None:
        raise DatasetError(f"{image} has no name of VSPW; expected the number of the frame, as in 00000012.jpg")
    path = same_stem(folder / "mask", image.stem)
    truth = None if path is None else IdFile(path=path, table=_TABLE)
    return FrameEntry(image=image, truth=truth, name=image.stem, clip=video, time_s=number / VIDEO_RATE)


LAYOUT = Layout(name="vspw", about="VSPW", splits=_splits, read=_read)
