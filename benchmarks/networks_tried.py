"""Networks that the exporter was not made for: is the float graph right on every runtime, and how far is int8 from it?

Each network of the folder ``tried_networks`` is exported with random weights from a fixed seed, without slices, and
without a search for nodes to leave in float. Printed is a row of the table in ``docs/export.md``: whether the float
graph gives the network's class in over 99 % of the pixels, and how far scores lie above the noise that int8 brings.
Those of transformers need that library. A network that cannot be exported, or takes too long, has a row that says so.

    python benchmarks/networks_tried.py -o networks_tried.json
    python benchmarks/networks_tried.py --network erfnet --network danet --size 128x256
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from harness import provenance, write_json
from tried_networks import NETWORKS

from edge_vseg.bundle.manifest import CalibrationSpec, Variant
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle

RUNTIMES = ("onnxruntime", "openvino", "tflite")
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
ALL_INT8 = ExportThresholds(int8_agreement=0.0, timing_rounds=1)
RIGHT = 0.99
LIMIT_S = 900


def main() -> None:
    """Export all, print rows, write JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these; may be given again")
    parser.add_argument(
        "--size", type=_size_hw, metavar="HxW", help="input size; 64x128, or what a network needs, by default"
    )
    parser.add_argument("-o", "--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| network | ONNX Runtime: float / int8 | OpenVINO | TFLite |\n|---|---|---|---|")
    for name in arguments.network or NETWORKS:
        rows.append(export(name, arguments.size or NETWORKS[name].size_hw))
        print(line(rows[-1]), flush=True)
        write_json(arguments.json, {"rows": rows, "provenance": provenance(torch.get_num_threads())})


def export(name: str, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Export a network; what its bundle says, or why there is none."""
    frames = [smooth_frame(seed, size_hw) for seed in range(6)]
    sample = SampleFrames(calibration=frames[:4], validation=frames[4:], spec=CalibrationSpec())
    options = ExportOptions(
        size_hw=size_hw, normalization=IMAGENET, runtimes=RUNTIMES, max_drop=1.0, slices=False, thresholds=ALL_INT8
    )
    row: dict[str, Any] = {"network": name, "title": NETWORKS[name].title, "size": "{}x{}".format(*size_hw)}
    start = time.monotonic()
    try:
        with TemporaryDirectory() as folder, time_limit(LIMIT_S):
            made = export_bundle(f"tried_networks:{name}", Path(folder) / "net.evseg", sample, options)
    except Exception as exc:  # whatever one network meets, the others have their rows
        row["error"] = f"{type(exc).__name__}: {exc}"
    else:
        row["variants"] = [figures(variant) for variant in made.manifest.variants]
        row["failed"] = {failed.id: failed.reason for failed in made.manifest.failed}
    return row | {"seconds": time.monotonic() - start}


def smooth_frame(seed: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A smooth picture with grain, ``(H, W, 3)`` uint8 BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the body when its time is over."""

    def over(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def figures(variant: Variant) -> dict[str, Any]:
    """What the validation measured of a variant."""
    assert variant.parity is not None
    return {
        "id": variant.id,
        "runtime": variant.runtime,
        "precision": variant.precision,
        "agreement": variant.parity.pixel_agreement,
        "sqnr_db": variant.parity.sqnr_db,
    }


def line(row: dict[str, Any]) -> str:
    """A network's row of the table."""
    if "error" in row:
        cells = [f"no: {_short(row['error'])}"] * len(RUNTIMES)
    else:
        cells = [cell(row, runtime) for runtime in RUNTIMES]
    return " | ".join([f"| {row['title']}", *cells]) + " |"


def cell(row: dict[str, Any], runtime: str) -> str:
    """Whether a runtime's float graph is right, and the decibels of int8; or why there are none."""
    found = {each["precision"]: each for each in row["variants"] if each["runtime"] == runtime}
    if "float" not in found:
        return f"no: {_why(row, runtime, 'float')}"
    agreement = found["float"]["agreement"]
    right = "yes" if agreement > RIGHT else f"in {agreement:.1%} of the pixels"
    if "int8" not in found:
        return f"{right} / no: {_why(row, runtime, 'int8')}"
    return f"{right} / {round(found['int8']['sqnr_db'])} dB"


def _why(row: dict[str, Any], runtime: str, precision: str) -> str:
    reasons = [reason for name, reason in row["failed"].items() if name.startswith(f"{runtime}/{precision}")]
    return _short(reasons[0]) if reasons else "not made"


def _size_hw(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def _short(reason: str) -> str:
    return " ".join(reason.replace("|", "/").split())[:100]


if __name__ == "__main__":
    main()
