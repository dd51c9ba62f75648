"""What ``edge-vseg tune`` finds, against untuned settings and against as many random trials.

    python benchmarks/tune.py street.evseg --frames street.mp4 --device board.json --rate 30 --deadline-ms 20

Costs are replayed from the device profile, so the result is the same on any machine, however busy. Both studies have
the same trials, seed by seed. The volume is the share of the box between the worst figures that the limits allow and
perfect ones which a front dominates: quality from ``--least-quality`` to 100, latency to the deadline, cores to the
limit.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import write_json

from edge_vseg.analysis.datasets import match_labels, open_dataset
from edge_vseg.bundle import Bundle
from edge_vseg.tuning import Clip, Tuned, TuneOptions, Wish, open_networks, tune
from edge_vseg.tuning.clip import labelled_clip, longest_clip, reference_clip
from edge_vseg.tuning.front import StudyTrial, dominated_volume, front_of


def main() -> None:
    """Run both studies for each seed, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=Path, help="video to tune on")
    parser.add_argument("--dataset", help="labelled frames to tune on, LAYOUT:DIR:SPLIT")
    parser.add_argument("--device", type=Path, required=True, help="device profile of the bundle")
    parser.add_argument("--scale-network", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--deadline-ms", type=float, default=20.0)
    parser.add_argument("--cpu-share", type=float)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-frames", type=int, default=120)
    parser.add_argument("--least-quality", type=float, default=40.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cluster", help="address of a Ray cluster, or local")
    parser.add_argument("--samplers", default="tpe,random")
    parser.add_argument("--study", type=Path, help="keep the studies here; by default they are thrown away")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    networks = open_networks([arguments.bundle])
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.study or Path(scratch)
        clip = make_clip(arguments, next(iter(networks.values())), folder)
        rows = [
            run(networks, clip, folder / f"{sampler}-{seed}", arguments, sampler, seed)
            for seed, sampler in itertools.product(range(arguments.seeds), arguments.samplers.split(","))
        ]
    print(f"{clip.count} frames, judged by {clip.judged_by}")
    print(f"{'':<12}{'volume':>8}{'best':>8}{'p99 ms':>8}{'cores':>7}{'allowed':>9}{'wall s':>8}  setting of the best")
    for row in rows:
        show(f"{row['sampler']} {row['seed']}", row)
    untuned = rows[0]["untuned"]
    figures = untuned["figures"]
    print(
        f"{'untuned':<12}{untuned['volume']:>8.3f}{figures['quality']:>8.2f}{figures['p99_ms']:>8.1f}"
        f"{figures['cpu_share']:>7.0%}{'yes' if untuned['allowed'] else 'no':>9}{'':>8}  {untuned['setting']}"
    )
    for sampler in arguments.samplers.split(","):
        volumes = [row["volume"] for row in rows if row["sampler"] == sampler]
        print(f"{sampler}: volume {statistics.mean(volumes):.3f} on average over {len(volumes)} seeds")
    write_json(arguments.json, {"clip": clip.judged_by, "frames": clip.count, "rows": rows})


def make_clip(arguments: argparse.Namespace, network: Bundle, folder: Path) -> Clip:
    """The clip to tune on."""
    if arguments.dataset is None:
        return reference_clip(arguments.frames, arguments.max_frames, network, folder / "reference", threads=2)
    frames = match_labels(open_dataset(arguments.dataset)[: arguments.max_frames], network.manifest.labels)
    return labelled_clip(longest_clip(frames, arguments.dataset), folder / "clip", arguments.dataset)


def run(
    networks: Mapping[str, Bundle], clip: Clip, folder: Path, arguments: argparse.Namespace, sampler: str, seed: int
) -> dict[str, Any]:
    """One study."""
    wish = Wish(rate=arguments.rate, deadline_ms=arguments.deadline_ms, cpu_share=arguments.cpu_share)
    options = TuneOptions(
        wish=wish,
        trials=arguments.trials,
        profiles=(arguments.device,),
        network_scale=arguments.scale_network,
        processes=arguments.processes,
        cluster=arguments.cluster,
        seed=seed,
        sampler="random" if sampler == "random" else "tpe",
    )
    begin = time.perf_counter()
    tuned = tune(networks, clip, folder, options)
    wall_s = time.perf_counter() - begin
    first = next(trial for trial in tuned.trials if trial.default)
    return {
        "sampler": sampler,
        "seed": seed,
        "wall_s": wall_s,
        "volume": volume(front_of(tuned.trials, wish), wish, arguments.least_quality),
        "allowed": len([trial for trial in tuned.trials if trial.figures and wish.allows(trial.figures)]),
        "best": best_of(tuned),
        "untuned": {
            "figures": asdict(first.figures) if first.figures else None,
            "setting": str(first.setting),
            "allowed": bool(first.figures and wish.allows(first.figures)),
            "volume": volume(front_of([first], wish), wish, arguments.least_quality),
        },
        "front": [asdict(trial.figures) for trial in front_of(tuned.trials, wish) if trial.figures],
    }


def best_of(tuned: Tuned) -> dict[str, Any] | None:
    """The setting that a study recommends first."""
    if not tuned.recommended:
        return None
    trial = tuned.recommended[0].trial
    assert trial.figures is not None
    return {"figures": asdict(trial.figures), "setting": str(trial.setting), "number": trial.number}


def volume(front: list[StudyTrial], wish: Wish, least_quality: float) -> float:
    """The share of the box that a front dominates."""
    worst = (-least_quality, wish.deadline_ms or 1e3 / wish.rate, wish.cpu_share or 1.0)
    points = [
        (-trial.figures.quality, trial.figures.p99_ms, trial.figures.cpu_share) for trial in front if trial.figures
    ]
    return dominated_volume(points, worst, (-100.0, 0.0, 0.0))


def show(name: str, row: dict[str, Any]) -> None:
    """Print a study's row."""
    best = row["best"]
    if best is None:
        print(f"{name:<12}{row['volume']:>8.3f}  nothing keeps the limits")
        return
    figures = best["figures"]
    print(
        f"{name:<12}{row['volume']:>8.3f}{figures['quality']:>8.2f}{figures['p99_ms']:>8.1f}{figures['cpu_share']:>7.0%}"
        f"{row['allowed']:>9}{row['wall_s']:>8.0f}  {best['setting']}"
    )


if __name__ == "__main__":
    main()
