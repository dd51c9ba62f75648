"""What does a deadline cost in accuracy where the network is slower than the camera, and what do the alternatives cost?

Replays a device profile on a virtual clock with the network so many frame periods long, on CamVid's val clip at 15
frames per second: the policy deadline, and what other SDKs do. *newest frame* infers the newest frame whenever the
network is free, drops the others, and shows the last finished map; *async* is the policy of that name.

    edge-vseg calibrate street.evseg drive.mp4 --threads 2 --runtime onnxruntime -o device.json
    python benchmarks/deadline.py street.evseg --replay device.json --plot deadline.png
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from harness import provenance, write_json

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.analysis.datasets import CamVid, LabelledFrame
from edge_vseg.analysis.evaluation import EvaluationOptions, PolicyScore, evaluate_policy
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import DeviceProfile, read_device_profile
from edge_vseg.scheduling.policies import Async, Deadline, Policy
from edge_vseg.types import LabelMap

RATE = 15.0
PERIODS = (0.7, 1.4, 2.8, 4.2)
"""Frame periods that the network takes."""
CLASSES = 11


def main() -> None:
    """Replay, print, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--replay", type=Path, required=True, help="device profile of the bundle")
    parser.add_argument("--data", type=Path, help="CamVid; by default in EDGE_VSEG_DATA")
    parser.add_argument("--deadline-ms", type=float, default=10.0)
    parser.add_argument("--frames", type=int, help="only so many frames of the clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    arguments = parser.parse_args()
    data = arguments.data or Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    clip = CamVid(data, "val")[: arguments.frames]
    profile = read_device_profile(arguments.replay)
    rows = []
    maps = every_frame_maps(arguments.bundle, profile, clip, arguments.threads)
    every_frame = miou(maps, clip)
    print(f"every frame: {100 * every_frame:.2f} mIoU; deadline {arguments.deadline_ms:g} ms, {RATE:g} frames a second")
    print(f"{'network / period':>17}{'':4}{'':14}{'mIoU lost':>10}{'p99 ms':>8}{'late':>7}{'age, frames':>13}")
    for periods in PERIODS:
        network_ms = periods / RATE * 1e3
        scale = network_ms / profile.costs[steps.INFER].p50
        rivals: dict[str, Policy] = {"deadline": Deadline(milliseconds=arguments.deadline_ms), "async": Async()}
        for name, policy in rivals.items():
            options = EvaluationOptions(
                variant=profile.variant,
                threads=arguments.threads,
                deadline_ms=arguments.deadline_ms,
                rate=RATE,
                replay=arguments.replay,
                network_scale=scale,
            )
            score = evaluate_policy(arguments.bundle, clip, policy, options)
            rows.append(row(name, periods, every_frame - (score.miou or 0.0), score))
        dropped = newest_frame(len(clip), network_ms)
        shown = [maps[max(0, index)] for index in dropped]
        lost = every_frame - miou(shown, clip)
        age = float(np.mean([number - index for number, index in enumerate(dropped)]))
        rows.append({"name": "newest frame", "periods": periods, "lost": lost, "age_frames": age})
        for each in rows[-3:]:
            timing = each.get("timing")
            figures = f"{timing['p99']:>8.1f}{each['misses']:>7.1%}" if timing else f"{'':15}"
            print(
                f"{periods:>17}{'':4}{each['name']:14}{100 * each['lost']:>10.2f}{figures}{each['age_frames']:>13.1f}"
            )
    tree = {"every_frame_miou": every_frame, "rows": rows, "replayed": profile.machine}
    write_json(arguments.json, tree | {"provenance": provenance(arguments.threads)})
    if arguments.plot:
        draw(arguments.plot, rows, arguments.deadline_ms)


def row(name: str, periods: float, lost: float, score: PolicyScore) -> dict:
    """The figures of a policy."""
    about = {"timing": asdict(score.timing), "misses": score.misses, "age_frames": score.age_frames}
    return {"name": name, "periods": periods, "lost": lost} | about


def every_frame_maps(bundle: Path, profile: DeviceProfile, clip: list[LabelledFrame], threads: int) -> list[LabelMap]:
    """The label map of every frame, whatever it takes."""
    options = OpenOptions(variant=profile.variant)
    with Segmenter.open(bundle, threads=threads, options=options) as segmenter:
        return [segmenter(frame.image).labels for frame in clip]


def newest_frame(frames: int, network_ms: float) -> list[int]:
    """Which frame's map is shown for each: the network takes the newest frame whenever it is free.

    A map counts for a frame if it is done when the frame arrives; before the first is done, the first is shown.
    """
    shown, running, free_ms, last = [], None, 0.0, 0
    for number in range(frames):
        now_ms = number / RATE * 1e3
        if running is not None and free_ms <= now_ms:
            last, running = running, None
        if running is None:
            running, free_ms = number, now_ms + network_ms
        shown.append(last)
    return shown


def miou(maps: list[LabelMap], clip: list[LabelledFrame]) -> float:
    """MIoU of label maps on the clip."""
    confusion = Confusion(CLASSES)
    for labels, frame in zip(maps, clip, strict=True):
        confusion.add(frame.labels, labels)
    return confusion.mean_iou


def draw(path: Path, rows: list[dict], deadline_ms: float) -> None:
    """The loss of each rival by the network's duration."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in dict.fromkeys(each["name"] for each in rows):
        own = [each for each in rows if each["name"] == name]
        axes.plot([each["periods"] for each in own], [100 * each["lost"] for each in own], "o-", label=name)
    axes.set_xlabel("network, in frame periods")
    axes.set_ylabel("mIoU lost against every frame")
    axes.set_title(f"an answer within {deadline_ms:g} ms, CamVid val at {RATE:g} frames a second", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
