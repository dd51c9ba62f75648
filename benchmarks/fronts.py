"""Agreement against speed of everything that mixed precision tried, as a picture: what of an int8 graph stays in float.

    python benchmarks/foreign.py drive.mp4 --keep bundles/
    python benchmarks/fronts.py bundles/*.evseg --plot fronts.png

One panel for each runtime, one line for each bundle. Each point is an int8 graph, on calibration frames; the ring is
the one that was taken. The corner that is shaded has what an int8 graph should have.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import PrecisionTrial

RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tflite": "TFLite"}
AGREEMENT, SPEEDUP = 0.985, 1.8
Trials = dict[str, dict[str, tuple[PrecisionTrial, ...]]]


def main() -> None:
    """Print all trials, and plot them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    trials = {path.stem: trials_of(path) for path in arguments.bundles}
    for name, by_runtime in trials.items():
        for runtime, tried in by_runtime.items():
            for trial in tried:
                taken = ", taken" if trial.taken else ""
                print(f"{name:20} {runtime:12} {trial.float_nodes:3} in float {trial.agreement:.2%} "
                      f"{trial.speedup:.2f}x{taken}")  # fmt: skip
    if arguments.plot:
        plot(trials, arguments.plot)


def trials_of(bundle: Path) -> dict[str, tuple[PrecisionTrial, ...]]:
    """The timed trials of the int8 variants of a bundle, by runtime."""
    variants = [each for each in open_bundle(bundle).manifest.variants if each.precision == "int8"]
    return {
        each.runtime: timed
        for each in variants
        if (timed := tuple(trial for trial in each.trials if trial.speedup is not None))
    }


def plot(trials: Trials, path: Path) -> None:
    """Agreement against speed, a panel for each runtime."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(RUNTIMES), figsize=(13, 4.5), sharey=True, layout="constrained")
    colours = pyplot.get_cmap("tab10")
    for axis, (runtime, title) in zip(axes, RUNTIMES.items(), strict=True):
        for number, (name, by_runtime) in enumerate(trials.items()):
            tried: Sequence[PrecisionTrial] = by_runtime.get(runtime, ())
            points = [(trial.speedup or 0, 100 * trial.agreement) for trial in tried]
            colour = colours(number % 10)
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, linewidth=1, label=name)
            for point, trial in zip(points, tried, strict=True):
                if trial.taken:
                    axis.plot(*point, "o", color=colour, markersize=11, fillstyle="none")
        left, right = axis.get_xlim()
        axis.set_xlim(min(left, 0.6), max(right, 2.2))
        axis.fill_between((SPEEDUP, axis.get_xlim()[1]), 100 * AGREEMENT, 100, color="tab:green", alpha=0.08)
        axis.axvline(1, color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(title)
        axis.set_xlabel("times as fast as float")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("cells of float's class, percent")
    axes[0].set_ylim(top=100)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside right center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
