"""Do things come back in carried maps after something was in front of them? On rendered streets, and on CamVid.

    python benchmarks/reappearing.py --json benchmarks/results/reappearing.json
    python benchmarks/reappearing.py --overlays overlays/    # pictures of a clip, before and after

On rendered streets something passes behind a car that stands (``StreetOptions(passing=...)``). The true label map of a
keyframe is carried along the estimated motion; a pixel of a thing is *back* if its point was seen in the keyframe,
was hidden in a frame since, and is seen again: exactly known. On CamVid the network's map is carried, and shown at once
or, as with a network in the background, only when as many frames have passed as lie between two keyframes (*late*).

Ways: *segments* are the engine's (``OpenOptions(follow=...)``); *colours* gives cells that the motion does not explain
to the class of things whose colours in the keyframe are the most like theirs: prototypes of classes, instead of
segments; *flow* is a second optical flow, straight to the keyframe, used where it explains the picture better.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from harness import provenance, write_json
from numpy.typing import NDArray

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.export.reference.scenes import SceneFrame, StreetOptions, render_motion, render_street
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.motion import motion_estimator, sampling_map
from edge_vseg.motion.composition import compose_fields
from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.motion.segment_memory import SegmentMemory, write_found
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.thing_follower import CATCH_UP
from edge_vseg.types import Image, LabelMap, Mask, MotionField, Size

SIZE: Size = (360, 480)
CELLS: Size = (90, 120)
ESTIMATOR = "dis-fine"
THINGS = {8: "car", 9: "pedestrian", 10: "bicyclist"}
CLASSES, FRAMES = 11, 46
PERIODS = (6, 10, 15)
UNEXPLAINED, LIKELIER, CLEARER = 20, 2.0, 4
"""Of *colours*: grey levels, and a difference of logarithms; of *flow*: grey levels."""


class Segments:
    """What the engine does with ``follow``."""

    def __init__(self) -> None:
        self._memory = SegmentMemory(THINGS)

    def keyframe(self, picture: Image, labels: LabelMap, motion: MotionField | None) -> None:
        self._memory.remember(picture, resize_labels(labels, CELLS), motion)

    def skip(self, picture: Image, frames: int) -> None:
        self._memory.look(picture, frames)

    def mend(self, picture: Image, carried: LabelMap, motion: MotionField, frames: int) -> LabelMap:
        mended = carried.copy()
        write_found(mended, self._memory.find(picture, motion, frames), CELLS)
        return mended


class Colours:
    """Histograms of the colours of each class in the keyframe."""

    def keyframe(self, picture: Image, labels: LabelMap, motion: MotionField | None) -> None:
        self._picture, small, bins = picture, resize_labels(labels, CELLS), _bins(picture)
        counts = np.stack([np.bincount(bins[small == label], minlength=512) for label in range(CLASSES)]) + 0.02
        self._logs = np.log(counts / counts.sum(axis=1, keepdims=True))

    def skip(self, picture: Image, frames: int) -> None:
        pass

    def mend(self, picture: Image, carried: LabelMap, motion: MotionField, frames: int) -> LabelMap:
        unsure = _misfit(picture, self._picture, motion) > UNEXPLAINED
        small = resize_labels(carried, CELLS)
        logs = self._logs[:, _bins(picture)[unsure]]
        best = logs.argmax(axis=0)
        own = logs[np.minimum(small[unsure], CLASSES - 1), np.arange(logs.shape[1])]
        wanted = np.isin(best, list(THINGS)) & (logs.max(axis=0) - own > LIKELIER)
        mended = carried.copy()
        for label in THINGS:
            mask = np.zeros(CELLS, np.float32)
            mask[unsure] = wanted & (best == label)
            around = cv2.blur(mask, (3, 3)) > 0.5
            mended[_enlarged(around)] = label
        return mended


class DirectFlow:
    """Another flow, straight to the keyframe."""

    def __init__(self) -> None:
        self._flow, self._warper = motion_estimator(ESTIMATOR), LabelWarper(SIZE)

    def keyframe(self, picture: Image, labels: LabelMap, motion: MotionField | None) -> None:
        self._picture, self._labels = picture, labels

    def skip(self, picture: Image, frames: int) -> None:
        pass

    def mend(self, picture: Image, carried: LabelMap, motion: MotionField, frames: int) -> LabelMap:
        direct = self._flow(*(cv2.cvtColor(each, cv2.COLOR_BGR2GRAY) for each in (picture, self._picture)))
        misfits = [_misfit(picture, self._picture, each).astype(np.int16) for each in (direct, motion)]
        better = cv2.medianBlur((misfits[0] + CLEARER < misfits[1]).astype(np.uint8), 3) > 0
        return np.where(_enlarged(better), self._warper(self._labels, direct), carried)


WAYS: dict[str, Callable[[], Segments | Colours | DirectFlow]] = {
    "segments": Segments,
    "colours": Colours,
    "flow": DirectFlow,
}


@dataclass(kw_only=True, eq=False)
class Tally:
    """Sums over frames: confusion, pixels that are back and how many of them are right, changes, and time."""

    confusion: Confusion = field(default_factory=lambda: Confusion(CLASSES))
    back: int = 0
    right: int = 0
    mended: int = 0
    spoilt: int = 0
    spent_ms: list[float] = field(default_factory=list)

    def add(self, truth: LabelMap, carried: LabelMap, labels: LabelMap, back: Mask) -> None:
        self.confusion.add(truth, labels)
        self.back += int(np.count_nonzero(back))
        self.right += int(np.count_nonzero(back & (labels == truth)))
        changed = (labels != carried) & (truth < CLASSES)
        self.mended += int(np.count_nonzero(changed & (labels == truth)))
        self.spoilt += int(np.count_nonzero(changed & (carried == truth)))

    def row(self) -> dict[str, float]:
        scores = self.confusion.iou
        return (
            {"mean_iou": 100 * self.confusion.mean_iou}
            | {name: 100 * float(scores[label]) for label, name in THINGS.items()}
            | {"back": 100 * self.right / max(1, self.back), "back_pixels": self.back}
            | {"mended": self.mended, "spoilt": self.spoilt}
            | {"median_ms": float(np.median(self.spent_ms)) if self.spent_ms else 0.0}
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames, their small pictures and motions, true labels, and the maps that are carried."""

    images: Sequence[Image]
    truth: Sequence[LabelMap]
    maps: Callable[[int], LabelMap]
    pictures: Sequence[Image]
    motions: Sequence[MotionField | None]

    @classmethod
    def of(cls, images: Sequence[Image], truth: Sequence[LabelMap], maps: Callable[[int], LabelMap]) -> Clip:
        observer = MotionObserver(SIZE, CELLS)
        seen = [observer(image, ESTIMATOR) for image in images]
        return cls(
            images=images,
            truth=truth,
            maps=maps,
            pictures=[cv2.resize(image, CELLS[::-1], interpolation=cv2.INTER_AREA) for image in images],
            motions=[None if each is None else each.motion for each in seen],
        )


def judge(
    clip: Clip, period: int, tallies: dict[str, Tally], back: Sequence[Mask] | None = None, *, late: bool = False
) -> Iterator[tuple[int, dict[str, LabelMap]]]:
    """Tally each way on a clip with a keyframe every so many frames; gives the label maps of each frame by way."""
    nothing, warper = np.zeros(SIZE, np.bool_), LabelWarper(SIZE)
    for key in range(0, len(clip.images) - 1, period):
        shown = range(key + period, key + 2 * period) if late else range(key + 1, key + period)
        own, motion, last = clip.maps(key), None, key
        ways = {name: way() for name, way in WAYS.items()}
        for way in ways.values():
            way.keyframe(clip.pictures[key], own, clip.motions[key])
        for now in range(key + 1, min(shown.stop, len(clip.images))):
            step = clip.motions[now]
            assert step is not None
            motion = step if motion is None else compose_fields(step, motion)
            if now not in shown:
                continue
            if now == shown.start:  # the engine looks at a few of the frames in between
                for mark in sorted({key + (now - key) * look // CATCH_UP for look in range(1, CATCH_UP)} - {key}):
                    for way in ways.values():
                        way.skip(clip.pictures[mark], mark - last)
                    last = mark
            maps = {"carried": warper(own, motion)}
            for name, way in ways.items():
                begin = time.perf_counter()
                maps[name] = way.mend(clip.pictures[now], maps["carried"], motion, now - last)
                tallies.setdefault(name, Tally()).spent_ms.append(1e3 * (time.perf_counter() - begin))
            last = now
            for name, labels in maps.items():
                seen_again = nothing if back is None else back[now]
                tallies.setdefault(name, Tally()).add(clip.truth[now], maps["carried"], labels, seen_again)
            yield now, maps


def main() -> None:
    """Measure, print a table for each kind of clip, write JSON and overlays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passing", nargs="+", default=["car", "walker", "rider"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33])
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each street")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--overlays", type=Path, help="new folder for pictures of the first street")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for passing in arguments.passing:
        tables |= rendered(passing, arguments.seeds, arguments.frames, arguments.overlays)
    if arguments.data.is_dir():
        tables |= camvid(arguments.data)
    for title, rows in tables.items():
        print(title)
        for name, row in rows.items():
            print(f"  {name:10}" + "".join(f"{key:>12}{value:>9.2f}" for key, value in row.items()))
    write_json(arguments.json, {"tables": tables, **provenance(1)})


def rendered(
    passing: str, seeds: Sequence[int], frames: int, overlays: Path | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Rows by way of each period, over the streets in which something of a kind passes behind a car."""
    tallies: dict[int, dict[str, Tally]] = {period: {} for period in PERIODS}
    for seed in seeds:
        options = StreetOptions(size_hw=SIZE, seed=seed, passing=passing)  # type: ignore[arg-type]
        street = list(render_street(options, frames))
        truth = [frame.labels for frame in street]
        clip = Clip.of([frame.image for frame in street], truth, truth.__getitem__)
        for period in PERIODS:
            back = back_again(options, street, period)
            for now, maps in judge(clip, period, tallies[period], back):
                if overlays is not None and seed == seeds[0] and now % period in (period // 2, period - 1):
                    _draw(overlays / f"{passing}-{period}-{now:03}.png", street[now].image, truth[now], maps, back[now])
        print(f"{passing} {seed}", flush=True)
    return {f"{passing}, every {period}": _rows(tallies[period]) for period in PERIODS}


def back_again(options: StreetOptions, street: Sequence[SceneFrame], period: int) -> list[Mask]:
    """Pixels of things that the keyframe saw, that were hidden in a frame since, and are seen again, by frame."""
    pairs = [(now, now - now % period) for now in range(len(street)) if now % period]
    lost = {now: unseen for (now, _), (_, unseen) in zip(pairs, render_motion(options, pairs), strict=True)}
    hidden, masks = np.zeros(SIZE, np.uint8), []
    for now, frame in enumerate(street):
        if now % period == 0:
            hidden = np.zeros(SIZE, np.uint8)
            masks.append(np.zeros(SIZE, np.bool_))
            continue
        x, y = sampling_map(frame.motion)
        hidden = cv2.remap(hidden, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) | frame.occluded
        masks.append((hidden > 0) & ~lost[now] & np.isin(frame.labels, list(THINGS)))
    return masks


def camvid(data: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Rows by way of each period, with the middle network's maps of CamVid's clip."""
    from companion import probabilities

    from edge_vseg.imaging.label_maps import LabelMapper

    frames = list(open_dataset(f"camvid:{data}:val"))
    mapper = LabelMapper(SIZE)
    maps = [mapper(each).copy() for each in probabilities("middle", frames)]
    clip = Clip.of([frame.image for frame in frames], [frame.labels for frame in frames], maps.__getitem__)
    tables = {}
    for period, late in ((6, False), (11, False), (3, True), (5, True), (7, True)):
        tallies: dict[str, Tally] = {}
        for _ in judge(clip, period, tallies, late=late):
            pass
        tables[f"CamVid, every {period}{', late' if late else ''}"] = _rows(tallies)
    return tables


def _rows(tallies: dict[str, Tally]) -> dict[str, dict[str, float]]:
    return {name: tallies[name].row() for name in ("carried", *WAYS)}


def _bins(picture: Image) -> NDArray[np.intp]:
    blue, green, red = (cv2.blur(picture, (3, 3)) >> 5).astype(np.intp).transpose(2, 0, 1)
    return np.asarray(64 * blue + 8 * green + red)


def _misfit(picture: Image, older: Image, motion: MotionField) -> NDArray[np.uint8]:
    carried = cv2.remap(older, *sampling_map(motion), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.blur(cv2.absdiff(picture, carried).mean(axis=-1).astype(np.uint8), (3, 3))


def _enlarged(mask: NDArray[np.bool_]) -> Mask:
    return np.asarray(cv2.resize(mask.astype(np.float32), SIZE[::-1]) > 0.5)


def _draw(path: Path, image: Image, truth: LabelMap, maps: dict[str, LabelMap], back: Mask) -> None:
    """Truth, carried and segments side by side: things in colour, what is back and wrong outlined in white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colors = np.full((256, 3), 90, np.uint8)
    colors[list(THINGS)] = (0, 0, 255), (0, 255, 255), (255, 0, 255)
    parts = []
    for labels in (truth, maps["carried"], maps["segments"]):
        part = np.where(np.isin(labels, list(THINGS))[..., None], image // 2 + colors[labels] // 2, image)
        wrong = (back & (labels != truth)).astype(np.uint8)
        cv2.drawContours(part, cv2.findContours(wrong, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0], -1, (255,) * 3, 1)
        parts.append(part)
    cv2.imwrite(str(path), np.hstack(parts))


if __name__ == "__main__":
    main()
