"""What it is worth that an int8 graph meets ONNX Runtime's fast kernels: the frame's pixels merged, depthwise widened.

Networks of ``foreign_networks.py`` with random weights, all in int8 for the CPU's recipe; graphs of one network run in
turns, and their results are compared bit by bit.

    python benchmarks/fast_kernels.py --network fast_scnn --network lraspp
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from foreign_networks import NETWORKS
from harness import in_turns, provenance, summary, write_json

from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.quantization.whole_input import with_whole_mean
from edge_vseg.export.shrinking.whole_network import open_whole

SOURCE = Path(__file__).with_name("foreign_networks.py")
SIZE_HW = (256, 512)
NORMALIZATION = Normalization(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))
DEFAULT = ("fast_scnn", "ddrnet", "bisenet", "sinet")
"""Those that need no other library."""


def main() -> None:
    """Measure, print a row for each network, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these; may be given again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = {}
    for name in arguments.network or DEFAULT:
        rows[name] = measure(name, arguments.threads, arguments.rounds)
        base = rows[name]["neither"]["median_ms"]
        times = (f"{how} {row['median_ms']:.2f} ms ({base / row['median_ms']:.2f}x)" for how, row in rows[name].items())
        print(f"{name:14}", "  ".join(times), flush=True)
    write_json(arguments.json, {"networks": rows, "provenance": provenance(arguments.threads)})


def measure(name: str, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the graph without, with one, and with both.

    Raises:
        SystemExit: If the results differ.
    """
    options = ExportOptions(size_hw=SIZE_HW, normalization=NORMALIZATION)
    model = with_whole_mean(open_whole(f"{SOURCE}:{name}", options).graph.model)
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    ranges = measure_ranges(model, [frame])
    recipe = recipe_for("x86_64")
    plain = replace(recipe, depthwise_multiple=1, merges_columns=False)
    recipes = {
        "neither": plain,
        "merged": replace(plain, merges_columns=True),
        "widened": replace(plain, depthwise_multiple=recipe.depthwise_multiple),
        "both": recipe,
    }
    sessions = {how: session(quantize_onnxruntime(model, ranges, each), threads) for how, each in recipes.items()}
    calls = {how: lambda each=each: run(each, frame) for how, each in sessions.items()}
    first = calls["neither"]()
    if not all(np.array_equal(first, call()) for call in calls.values()):
        raise SystemExit(f"{name}: the results differ")
    return {how: summary(samples) for how, samples in in_turns(calls, rounds).items()}


def session(model: onnx.ModelProto, threads: int) -> Any:
    """A graph, opened."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(opened: Any, frame: np.ndarray) -> np.ndarray:
    """Its scores."""
    return np.asarray(opened.run(None, {opened.get_inputs()[0].name: frame[None]})[0])


if __name__ == "__main__":
    main()
