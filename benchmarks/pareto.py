"""All policies on CamVid's val clip: mIoU against mean and worst-case cost, with the alternatives to scheduling.

    python benchmarks/pareto.py --json benchmarks/results/pareto.json --plot docs/images/pareto.png

Exports the middle and the small network, and the middle one at smaller input sizes (or uses the bundles of an earlier
run in ``--bundles``); calibrates the middle one on another drive; runs every setting on the whole clip, in turns of a
dozen frames with every-frame inference of the middle network, whose cost is 1. Keep the machine idle meanwhile.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import provenance, write_json

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.evaluation import EvaluationOptions, PolicyScore, evaluate_policy
from edge_vseg.bundle.labels import named_labels
from edge_vseg.calibration import DeviceCalibrationOptions, calibrate_device, sample_frames
from edge_vseg.export import ExportOptions, export_bundle
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.scheduling.device_profile import device_profile_path, write_device_profile
from edge_vseg.scheduling.policies import make_policy
from edge_vseg.types import Size
from edge_vseg.video import open_source

FULL: Size = (360, 480)
TILES: Size = (192, 256)
SMALLER: tuple[Size, ...] = ((288, 384), (224, 288), (160, 224))
FRAME_RATE = 15.0
"""Frame rate of the clip, for the policy async, whose worker runs between frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A policy with its parameters, or an alternative to scheduling.

    Attributes:
        family: Settings of a family are joined by a line in the plot.
        policy: Name of the policy.
        options: Parameters of the policy.
        bundle: Name of the bundle to run.
        deadline: Deadline as a share of the whole network's median time.
        rate: Frames per second that arrive; ``None`` for as fast as possible.
    """

    family: str
    policy: str
    options: dict[str, Any] = field(default_factory=dict)
    bundle: str = "middle"
    deadline: float | None = None
    rate: float | None = None

    def __str__(self) -> str:
        """Such as ``fixed period_frames=4``."""
        if self.deadline is not None:
            return f"deadline {self.deadline:.0%}"
        if self.bundle != "middle":
            return f"every frame, {self.bundle}"
        name = "hold" if self.family == "hold" else self.policy
        shown = {key: value for key, value in self.options.items() if key != "motion"}
        return " ".join((name, *(f"{key}={value}" for key, value in shown.items())))


def settings() -> list[Setting]:
    """All settings to run."""
    all_settings = [Setting(family="every-frame", policy="every-frame")]
    all_settings += [Setting(family="fused, every frame", policy="every-frame", options={"motion": "dis"})]
    periods = (2, 3, 4, 5, 6, 8, 10, 12)
    all_settings += [Setting(family="fixed", policy="fixed", options={"period_frames": n}) for n in periods]
    all_settings += [
        Setting(family="hold", policy="fixed", options={"period_frames": n, "motion": "still"}) for n in periods
    ]
    all_settings += [
        Setting(family="adaptive", policy="adaptive", options={"max_drift": n}) for n in (0.05, 0.1, 0.15, 0.2, 0.3)
    ]
    all_settings += [
        Setting(family="feature", policy="feature", options={"period_frames": n}) for n in (2, 3, 5, 10, 20)
    ]
    all_settings += [Setting(family="clockwork", policy="clockwork", options={"period_frames": n}) for n in (2, 3, 4)]
    all_settings += [Setting(family="sliced", policy="sliced", options={"period_frames": n}) for n in (2, 3, 4, 6)]
    all_settings += [Setting(family="regional", policy="regional", options={"max_drift": n}) for n in (0.1, 0.2, 0.3)]
    all_settings += [Setting(family="async", policy="async", rate=FRAME_RATE)]
    all_settings += [
        Setting(family="deadline", policy="deadline", deadline=share) for share in (0.33, 0.4, 0.5, 0.6, 0.75, 0.9)
    ]
    all_settings += [Setting(family="smaller input", policy="every-frame", bundle=_sized(size)) for size in SMALLER]
    return [*all_settings, Setting(family="small network", policy="every-frame", bundle="small")]


def main() -> None:
    """Export, run, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data / "camvid", help="CamVid's folder")
    parser.add_argument("--drive", type=Path, default=data / "videos" / "dashcam.mp4", help="to calibrate on")
    parser.add_argument(
        "--bundles", type=Path, default=Path("build/pareto"), help="folder of the bundles; missing ones are exported"
    )
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export-only", action="store_true", help="export the bundles and stop")
    parser.add_argument("--only", nargs="+", help="families to run")
    parser.add_argument("--frames", type=int, help="number of frames; all by default")
    parser.add_argument(
        "--repeat", type=int, default=1, help="passes over the clip; the pass with the median cost counts"
    )
    parser.add_argument("--replay", type=Path, help="device profile to replay the costs of; measured if missing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    bundles = make_bundles(arguments.bundles, arguments.data, arguments.runtime)
    clip = list(open_dataset(f"camvid:{arguments.data}:val")[: arguments.frames])
    if arguments.export_only:
        return
    profile = calibrate(bundles["middle"], arguments)
    selected = [each for each in settings() if not arguments.only or each.family in arguments.only]
    session: dict[str, Any] = {"runtime": arguments.runtime, "threads": arguments.threads}
    if arguments.replay:  # the profile has no costs of the other bundles
        session["replay"] = profile
        selected = [each for each in selected if each.bundle == "middle" and each.rate is None]
    whole_ms = evaluate_policy(
        bundles["middle"], clip[:40], make_policy("every-frame"), EvaluationOptions(**session)
    ).every_frame.p50
    print(f"the whole network: {whole_ms:.1f} ms per frame, {arguments.runtime}, {arguments.threads} threads")
    print(f"{'':28}{'mean ms':>9}{'p99 ms':>8}{'cost':>7}{'worst':>7}{'mIoU':>8}{'drop':>7}{'= every':>9}{'misses':>8}")
    rows = []
    for each in selected:
        passes = [_evaluate(each, bundles, clip, whole_ms, session) for _ in range(arguments.repeat)]
        score = sorted(passes, key=lambda score: score.cost)[len(passes) // 2]
        rows.append(_row(each, score))
        print(_line(each, score), flush=True)
    tree = provenance(arguments.threads) | {"runtime": arguments.runtime, "whole_ms": whole_ms, "frames": len(clip)}
    tree["replayed"] = bool(arguments.replay)
    write_json(arguments.json, tree | {"rows": rows})
    if arguments.plot is not None:
        plot(rows, arguments.plot)


def _evaluate(
    each: Setting, bundles: dict[str, Path], clip: Sequence[Any], whole_ms: float, session: dict[str, Any]
) -> PolicyScore:
    deadline_ms = None if each.deadline is None else each.deadline * whole_ms
    options = each.options if deadline_ms is None else {"milliseconds": deadline_ms}
    policy = make_policy(each.policy, **options)
    if "replay" not in session:
        session = session | {"against": bundles["middle"], "rate": each.rate}
    return evaluate_policy(bundles[each.bundle], clip, policy, EvaluationOptions(deadline_ms=deadline_ms, **session))


def calibrate(bundle: Path, arguments: argparse.Namespace) -> Path:
    """Measure the device profile for the policies, unless there is one to replay."""
    if arguments.replay is not None and arguments.replay.is_file():
        return Path(arguments.replay)
    with open_source(str(arguments.drive), max_frames=300) as drive:
        # At the size of the clip, because costs depend on it.
        frames = (replace(frame, image=resize_image(frame.image, FULL)) for frame in drive)
        options = DeviceCalibrationOptions(runtime=arguments.runtime, threads=arguments.threads)
        profile = calibrate_device(bundle, frames, video=arguments.drive.name, options=options)
    path = arguments.replay or device_profile_path(bundle, profile.variant, arguments.threads)
    write_device_profile(path, profile)
    if profile.fit is not None:
        print(f"drift on {profile.video}: correlation {profile.fit.correlation:.2f} on frames not used for the fit")
    return path


def make_bundles(folder: Path, data: Path, runtime: str) -> dict[str, Path]:
    """The middle and small network, and the middle one at smaller sizes; existing bundles are kept."""
    networks: dict[str, tuple[str, Size]] = {"middle": ("middle", FULL), "small": ("small", FULL)}
    networks |= {_sized(size): ("middle", size) for size in SMALLER}
    paths = {name: folder / runtime / f"{name.replace(' ', '-')}.evseg" for name in networks}
    missing = [name for name in networks if not paths[name].exists()]
    if not missing:
        return paths
    frames = sample_frames([str(data / "train")], calibration=32, validation=24, seed=0)
    for name in missing:
        network, size = networks[name]
        print(f"exporting {name}", flush=True)
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        options = ExportOptions(
            labels=named_labels("camvid"),
            size_hw=size,
            normalization=NORMALIZATION,
            runtimes=(runtime,),
            precisions=("int8",),
            slices=name == "middle",
            tiles=TILES if name == "middle" else None,
        )
        export_bundle(f"edge_vseg.export.reference.zoo:{network}", paths[name], frames, options)
    return paths


def _sized(size: Size) -> str:
    return f"middle {size[1]}x{size[0]}"


def _row(each: Setting, score: PolicyScore) -> dict[str, Any]:
    assert score.miou is not None
    assert score.every_frame_miou is not None
    return {
        "family": each.family,
        "setting": str(each),
        "mean_ms": score.timing.mean,
        "p50_ms": score.timing.p50,
        "p99_ms": score.timing.p99,
        "max_ms": score.timing.max,
        "every_frame_p50_ms": score.every_frame.p50,
        "cost": score.cost,
        "worst_cost": score.worst_cost,
        "miou": 100 * score.miou,
        "drop": 100 * (score.every_frame_miou - score.miou),
        "agreement": score.agreement,
        "deadline_ms": score.deadline_ms,
        "misses": score.misses,
        "oldest_frames": score.oldest_frames,
        "sources": score.sources,
    }


def _line(each: Setting, score: PolicyScore) -> str:
    row = _row(each, score)
    misses = "" if score.misses is None else f"{score.misses:.1%}"
    return (
        f"{each!s:28}{row['mean_ms']:>9.2f}{row['p99_ms']:>8.2f}{row['cost']:>7.2f}{row['worst_cost']:>7.2f}"
        f"{row['miou']:>8.2f}{row['drop']:>7.2f}{row['agreement']:>9.2%}{misses:>8}"
    )


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot mIoU against mean cost, and against worst-case cost."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    families = list(dict.fromkeys(row["family"] for row in rows))
    colours = pyplot.get_cmap("tab20")
    alternatives = {"hold", "smaller input", "small network", "every-frame"}
    for axis, key, about in zip(axes, ("cost", "worst_cost"), ("mean cost", "99th percentile of cost"), strict=True):
        for number, family in enumerate(families):
            points = sorted((row[key], row["miou"]) for row in rows if row["family"] == family)
            style = "x--" if family in alternatives else "o-"
            axis.plot(*zip(*points, strict=True), style, color=colours(number), label=family, markersize=5, linewidth=1)
        axis.set_xlabel(f"{about}, every frame inferred = 1")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mIoU on CamVid val, percent")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
