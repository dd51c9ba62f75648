"""Does a network learn more from carried labels and pseudo-labels? Every tenth label of a clip, with and without.

    python benchmarks/few_labels.py ../shared/data/camvid runs/few --json benchmarks/results/few_labels.json

The clip is CamVid's val, 101 frames of one drive; 11 of them keep their labels. The small network first learns rendered
streets alone, then each set of labels for the same number of steps. All are judged by every second CamVid train frame
of the same recording, none of which they have seen. With ``--scenes 9`` the clips are as many rendered streets of 30
frames, each with other houses, cars and light, judged by frames of further ones, and the network starts from random
weights. Runs are kept in the folder: the same command goes on after a stop.

    python benchmarks/few_labels.py ../shared/data/camvid runs/scenes --scenes 9 --seeds 0 1
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from harness import provenance, write_json

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.bundle.labels import named_labels
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.types import IGNORE_ID, Image, LabelMap

RECORDING = "0016E5"
BATCH = 8
SCENE_FRAMES = 30
JUDGED_SCENES = 6
JUDGED_EVERY = 5
"""In clips of further rendered streets, each so many-th frame."""
COMMON = ("batch=8", "crop_hw=[192,256]", "ema=0.98", "jaccard=0.5", "aged=0", "evaluate_every=1000")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A set of labels to learn from.

    Attributes:
        name: What the table calls it.
        data: The dataset's folder.
        more: Further training options.
    """

    name: str
    data: Path
    more: tuple[str, ...] = ()


def main() -> None:
    """Prepare, train, print a row for each set of labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="CamVid's folder")
    parser.add_argument("work", type=Path, help="folder for data and runs")
    parser.add_argument("--every", type=int, default=10, help="each so many-th frame of the clip keeps its labels")
    parser.add_argument("--scenes", type=int, default=0, help="rendered streets instead of CamVid's clip")
    parser.add_argument("--steps", type=int, default=390, help="steps with each set of labels")
    parser.add_argument("--street-epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    work: Path = arguments.work
    few, whole, streets = (work / name for name in ("few", "whole", "streets"))
    start = "none"
    for folder, every in ((few, arguments.every), (whole, 1)):
        if arguments.scenes:
            prepare_scenes(arguments.scenes, folder, every)
        else:
            prepare_clip(arguments.camvid, folder, every)
    if not arguments.scenes:
        prepare_streets(streets)
        start = str(train(work / "start", streets, arguments.street_epochs, 0, start) / "weights.safetensors")
    rows = []
    for seed in arguments.seeds:

        def run(labels: Labels, seed: int = seed) -> Path:
            count = sum(1 for _ in (labels.data / "train" / "labels").rglob("*.png"))
            epochs = round(arguments.steps / -(-count // BATCH))
            done = train(work / f"{labels.name}-{seed}", labels.data, epochs, seed, start, labels.more)
            rows.append({"labels": labels.name, "seed": seed, "frames": count} | judged(done))
            print(rows[-1], flush=True)
            return done

        teacher = run(Labels(name="few", data=few))
        for name, options in (("carried", ()), ("joint", ("--joint",))):
            made = work / name
            if not made.exists():
                call("edge-vseg", "dataset", "propagate", f"folder:{few}", "-o", made / "train", *options)
                add_val(few, made)
            run(Labels(name=name, data=made, more=("relaxed=1",)))
            run(Labels(name=f"{name}, all alike", data=made, more=("relaxed=1", "confidence=0")))
        made = work / f"pseudo-{seed}-labels"
        if not made.exists():
            bundle = work / f"teacher-{seed}.evseg"
            call(
                *("edge-vseg", "export", teacher / "weights.safetensors", "-o", bundle, "--force"),
                *(
                    "--frames",
                    next((few / "train" / "images").iterdir()),
                    "--input-size",
                    "360x480",
                    "--precision",
                    "float",
                ),
                *("--runtimes", "onnxruntime", "--no-slices"),
            )
            call("edge-vseg", "dataset", "pseudo-label", bundle, f"folder:{few}", "-o", made / "train")
            add_val(few, made)
        run(Labels(name="pseudo", data=made))
        run(Labels(name="whole", data=whole))
    print(f"{'labels':20}{'seed':>5}{'frames':>8}{'mIoU':>8}{'accuracy':>10}")
    for row in rows:
        print(f"{row['labels']:20}{row['seed']:>5}{row['frames']:>8}{row['miou']:>8.1f}{row['accuracy']:>10.1f}")
    write_json(arguments.json, provenance(0) | {"every": arguments.every, "steps": arguments.steps, "rows": rows})


def prepare_streets(folder: Path) -> None:
    """Rendered streets as a plain folder, the last of them for val."""
    if folder.exists():
        return
    for seed, camera in enumerate(("driving", "walking", "driving")):
        split = "val" if seed == 2 else "train"
        frames = render_street(StreetOptions(camera=camera, seed=seed), 20 if split == "val" else 150)
        for number, frame in enumerate(frames):
            _write(folder / split, f"{camera}{seed}", number, frame.image, frame.labels)
    _write_classes(folder)


def prepare_clip(camvid: Path, folder: Path, every: int) -> None:
    """The clip with each so many-th label to learn from, and frames of the same recording to be judged by."""
    if folder.exists():
        return
    for number, frame in enumerate(open_dataset(f"camvid:{camvid}:val")):
        _write(folder / "train", "clip", number, frame.image, frame.labels if number % every == 0 else None)
    others = [frame for frame in open_dataset(f"camvid:{camvid}:train") if frame.name.startswith(RECORDING)]
    for number, frame in enumerate(others[::2]):
        _write(folder / "val", "others", number, frame.image, frame.labels)
    _write_classes(folder)


def prepare_scenes(scenes: int, folder: Path, every: int) -> None:
    """Rendered streets with each so many-th label to learn from, and frames of further streets to be judged by."""
    if folder.exists():
        return
    for seed in range(scenes + JUDGED_SCENES):
        frames = render_street(StreetOptions(camera="driving", seed=seed), SCENE_FRAMES)
        for number, frame in enumerate(frames):
            if seed < scenes:
                labels = frame.labels if number % every == 0 else None
                _write(folder / "train", f"scene{seed}", number, frame.image, labels)
            elif number % JUDGED_EVERY == 0:
                _write(folder / "val", f"scene{seed}", number, frame.image, frame.labels)
    _write_classes(folder)


def add_val(source: Path, folder: Path) -> None:
    """Judge a folder by the frames of another."""
    shutil.copytree(source / "val", folder / "val")
    shutil.copyfile(source / "classes.json", folder / "classes.json")


def train(run: Path, data: Path, epochs: int, seed: int, start: str, more: tuple[str, ...] = ()) -> Path:
    """Train, or take what a run before has trained; the run's folder."""
    if not (run / "result.json").exists():
        options = [word for option in (*COMMON, f"seed={seed}", *more) for word in ("--set", option)]
        call(
            *("edge-vseg-train", f"folder:{data}", "-o", run, "--network", "small", "--epochs", str(epochs)),
            *("--start", start, *options),
        )
    return run


def judged(run: Path) -> dict[str, float]:
    """The figures of a run in percent."""
    tree = json.loads((run / "result.json").read_text())
    return {"miou": tree["miou"], "accuracy": tree["pixel_accuracy"]}


def call(*command: object) -> None:
    """Run a command of the package; its output is shown where it fails."""
    program = Path(sys.executable).parent / str(command[0])
    done = subprocess.run([program, *map(str, command[1:])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-500:]}{done.stderr[-2000:]}")


def _write(folder: Path, clip: str, number: int, image: Image, labels: LabelMap | None) -> None:
    pictures = [("images", image), ("labels", labels)]
    for kind, picture in pictures:
        if picture is not None:
            path = folder / kind / clip / f"{number:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.asarray(picture))


def _write_classes(folder: Path) -> None:
    classes = [label.name for label in named_labels("camvid")]
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "ignore": [IGNORE_ID], "rate": 15}))


if __name__ == "__main__":
    main()
