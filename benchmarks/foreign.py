"""Networks of other libraries: does int8 agree with float, and is it faster, on every runtime?

Each network is exported by a process of its own with the defaults, and what its bundle says is printed: agreement on
frames that took no part in calibration, the speed of int8 against float, the time of a float frame on each runtime
against ONNX Runtime's, and the time and memory that the export took. Those of torchvision,
segmentation_models_pytorch and transformers need their library. A model file is exported at its own size.

    python benchmarks/foreign.py drive.mp4 --json foreign.json
    python benchmarks/foreign.py drive.mp4 --network fpn --network ddrnet --finetune 10min
    python benchmarks/foreign.py drive.mp4 --network lraspp --weights lraspp=lraspp.pt
    python benchmarks/foreign.py dog.mp4 --model deeplabv3_257.onnx --mean 127.5 --scale 127.5
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

import torch
from foreign_networks import NETWORKS, SIZE_HW
from harness import provenance, write_json

SOURCE = Path(__file__).with_name("foreign_networks.py")
LIMIT_S = 1800
KIB = 2**20
"""Of a GiB."""


def main() -> None:
    """Export all, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="frames to calibrate and validate on")
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these; may be given again")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="state dict of a network")
    parser.add_argument("--model", action="append", default=[], type=Path, help="a model file instead; may be repeated")
    parser.add_argument("--mean", default="123.7,116.3,103.5", help="as edge-vseg export")
    parser.add_argument("--scale", default="58.4,57.1,57.4", help="as edge-vseg export")
    parser.add_argument("--runtimes", default="onnxruntime,openvino,tflite")
    parser.add_argument("--size", default=f"{SIZE_HW[0]}x{SIZE_HW[1]}")
    parser.add_argument("--finetune", help="as edge-vseg export")
    parser.add_argument("--frames", type=int, help="to calibrate on, as edge-vseg export")
    parser.add_argument("--precision", help="as edge-vseg export; float needs no trained weights")
    parser.add_argument("--slices", choices=["on", "off"], default="on", help="whether to cut graphs for the scheduler")
    parser.add_argument("--keep", type=Path, help="folder for the bundles")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    weights = dict(pair.split("=", 1) for pair in arguments.weights)
    rows = []
    with TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.network or ([] if arguments.model else NETWORKS):
            sized = ["--input-size", arguments.size]
            rows.append(export(name, f"{SOURCE}:{name}", folder, arguments, sized, weights.get(name)))
            print(line(rows[-1]), flush=True)
        for model in arguments.model:
            rows.append(export(model.stem, str(model), folder, arguments))
            print(line(rows[-1]), flush=True)
    write_json(
        arguments.json, {"rows": rows, "video": arguments.video, "provenance": provenance(torch.get_num_threads())}
    )


def export(
    name: str,
    source: str,
    folder: Path,
    arguments: argparse.Namespace,
    sized: Sequence[str] = (),
    weights: str | None = None,
) -> dict[str, Any]:
    """Export a network; what its bundle says, or why there is none."""
    bundle = folder / f"{name}.evseg"
    words = [sys.executable, "-m", "edge_vseg.cli", "export", source, "-o", str(bundle), *sized]
    words += ["--frames", arguments.video, "--runtimes", arguments.runtimes]
    words += ["--mean", arguments.mean, "--scale", arguments.scale, "--force", "--json"]
    words += ["--finetune", arguments.finetune] if arguments.finetune else []
    words += ["--calibration-frames", str(arguments.frames)] if arguments.frames else []
    words += ["--precision", arguments.precision] if arguments.precision else []
    words += ["--no-slices"] if arguments.slices == "off" else []
    environment = os.environ | ({"WEIGHTS": weights} if weights else {})
    start = time.monotonic()
    with TemporaryFile() as out_file, TemporaryFile() as err_file:
        process = subprocess.Popen(words, stdout=out_file, stderr=err_file, env=environment)
        code, kib = wait(process, start + LIMIT_S)
        out, err = (read(file) for file in (out_file, err_file))
    # Of the largest of the export and the processes that it started.
    row: dict[str, Any] = {"network": name, "seconds": time.monotonic() - start, "gib": kib / KIB}
    if code:
        late = f"\nstopped after {LIMIT_S} s" if row["seconds"] > LIMIT_S else ""
        return row | {"error": why(out, err + late, code)}
    manifest = json.loads(out)["manifest"]
    failed = {each["id"]: each["reason"] for each in manifest["failed"]}
    return row | {"variants": [figures(each) for each in manifest["variants"]], "failed": failed}


def wait(process: subprocess.Popen[bytes], until_s: float) -> tuple[int, int]:
    """Exit code, and the largest memory in KiB, of a process; it is killed when its time is over."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss
        if time.monotonic() > until_s:
            os.kill(process.pid, signal.SIGKILL)  # Popen.kill() would take the status that wait4 is to give
        time.sleep(0.2)


def read(file: IO[bytes]) -> str:
    """What a process wrote."""
    file.seek(0)
    return file.read().decode(errors="replace")


def why(out: str, err: str, code: int) -> str:
    """The error that a command printed as JSON, or the last line of what it said otherwise."""
    try:
        return str(json.loads(out)["error"]["message"])
    except (ValueError, KeyError):
        return (err.strip().splitlines() or [f"exit {code}"])[-1]


def figures(variant: dict[str, Any]) -> dict[str, Any]:
    """What the validation measured of a variant."""
    parity = variant["parity"]
    float_ms = parity["float_latency_ms"]
    return {
        "id": variant["id"],
        "runtime": variant["runtime"],
        "precision": variant["precision"],
        "recipe": variant["recipe"],
        "float_nodes": len(variant["float_nodes"]),
        "agreement": parity["pixel_agreement"],
        "ms": parity["latency_ms"],
        "speedup": None if float_ms is None else float_ms / parity["latency_ms"],
    }


def line(row: dict[str, Any]) -> str:
    """One network: agreement and speed-up by runtime, then what the export took."""
    parts = [f"{row['network']:20}"]
    if "error" in row:
        parts.append(f"no bundle: {row['error'][:150]}")
    for variant in row.get("variants", []):
        if variant["precision"] == "int8":
            kept = f", {variant['float_nodes']} float" if variant["float_nodes"] else ""
            speed = "" if variant["speedup"] is None else f" {variant['speedup']:.2f}x"
            parts.append(f"{variant['runtime']} {variant['agreement']:.1%}{speed}{kept};")
    float_ms = {each["runtime"]: each["ms"] for each in row.get("variants", []) if each["precision"] == "float"}
    reference = float_ms.pop("onnxruntime", None)
    if reference is not None:
        parts += [f"float {runtime} {ms / reference:.2f} of ONNX Runtime's time;" for runtime, ms in float_ms.items()]
    parts += [f"{name} failed: {reason[:100]};" for name, reason in row.get("failed", {}).items()]
    return " ".join([*parts, f"{row['seconds']:.0f} s, {row['gib']:.1f} GiB"])


if __name__ == "__main__":
    main()
