"""What do nodes in float and fine-tuning add to the static int8 recipe? Every combination, on every runtime.

A network is exported four times: all in int8, with nodes in float by the clock, fine-tuned, and both. Printed is
agreement with float on frames that took no part in calibration, the speed against the same runtime's float graph, and
the number of nodes in float. A training that did not help is dropped by the export, and its rows say so: they are those
without it.

    python benchmarks/int8_ablation.py drive.mp4 --network lraspp --weights lraspp=lraspp.pt --finetune 5min
    python benchmarks/int8_ablation.py drive.mp4 --source edge_vseg.export.reference.zoo:middle --finetune 500steps
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from foreign_networks import NETWORKS
from harness import provenance, write_json

from edge_vseg.bundle.manifest import Variant
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration import sample_frames
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, TrainingLength, export_bundle

SOURCE = Path(__file__).with_name("foreign_networks.py")
NORMALIZATION = Normalization(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))
"""Of the networks in it."""
STATIC = ExportThresholds(float_layer_counts=(0,))


def main() -> None:
    """Export all, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="frames to calibrate and validate on")
    parser.add_argument("--network", action="append", default=[], choices=[*NETWORKS], help="may be given again")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="state dict of a network")
    parser.add_argument("--source", action="append", default=[], help="other networks, as edge-vseg export takes them")
    parser.add_argument("--finetune", default="5min", help="as edge-vseg export")
    parser.add_argument("--runtimes", default="onnxruntime,openvino,tflite")
    parser.add_argument("--size", default="192x256")
    parser.add_argument("--frames", type=int, default=64, help="to calibrate on")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    options = ExportOptions(size_hw=(height, width), runtimes=tuple(arguments.runtimes.split(",")), slices=False)
    sample = sample_frames([arguments.video], calibration=arguments.frames, validation=24)
    weights = dict(pair.split("=", 1) for pair in arguments.weights)
    sources = [(name, f"{SOURCE}:{name}", replace(options, normalization=NORMALIZATION)) for name in arguments.network]
    sources += [(name, name, options) for name in arguments.source]
    rows: list[dict[str, Any]] = []
    for name, source, each in sources:
        os.environ.pop("WEIGHTS", None)
        if name in weights:
            os.environ["WEIGHTS"] = weights[name]
        rows += ablate(name, source, each, sample, TrainingLength.parse(arguments.finetune))
    write_json(
        arguments.json, {"rows": rows, "video": arguments.video, "provenance": provenance(torch.get_num_threads())}
    )


def ablate(
    name: str, source: str, options: ExportOptions, sample: SampleFrames, length: TrainingLength
) -> list[dict[str, Any]]:
    """The figures of each combination and runtime."""
    ways = {
        "static": replace(options, thresholds=STATIC),
        "nodes in float": options,
        "fine-tuned": replace(options, thresholds=STATIC, finetune=length),
        "fine-tuned, nodes in float": replace(options, finetune=length),
    }
    rows = []
    with TemporaryDirectory() as folder:
        for way, chosen in ways.items():
            # One work folder: what ways share, such as a training of so many steps, is made once.
            exported = export_bundle(
                source, Path(folder) / "net.evseg", sample, chosen, work_dir=Path(folder) / "work"
            )  # fmt: skip
            for note in exported.notes:
                print(f"{name:12} {way}: {note}", flush=True)
            for variant in exported.manifest.variants:
                if variant.precision == "int8":
                    rows.append({"network": name, "way": way, **figures(variant)})
                    print(line(rows[-1]), flush=True)
    return rows


def figures(variant: Variant) -> dict[str, Any]:
    """What the validation measured."""
    assert variant.parity is not None
    return {
        "runtime": variant.runtime,
        "agreement": variant.parity.pixel_agreement,
        "worst": variant.parity.worst_agreement,
        "speedup": variant.parity.speedup,
        "float_nodes": len(variant.float_nodes),
        "fine_tuned": "fine-tuned" in variant.recipe,
        "recipe": variant.recipe,
    }


def line(row: dict[str, Any]) -> str:
    """One combination on one runtime."""
    speed = "" if row["speedup"] is None else f"{row['speedup']:.2f}x"
    dropped = ", training dropped" if "fine-tuned" in row["way"] and not row["fine_tuned"] else ""
    return (
        f"{row['network']:12} {row['way']:26} {row['runtime']:12} {row['agreement']:.2%}, worst {row['worst']:.2%},"
        f" {speed}, {row['float_nodes']} nodes in float{dropped}"
    )


if __name__ == "__main__":
    main()
