"""Which building block pays as int8: stacks of about the same MACs, timed in turns on each runtime.

    python benchmarks/blocks.py --json benchmarks/results/blocks.json

A stack works on a tensor as large as strides 8, 16 and 32 of a 480x360 frame have it. Every kind gets as many
blocks, and as much width, as bring it near the MACs of four plain 3x3 convolutions; what is compared is the time
for a MAC, as a ratio to the plain stack in the same run. Weights are random: speed counts alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from harness import arguments, provenance, summary, write
from torch import nn

from edge_vseg import open_bundle
from edge_vseg.bundle import Bundle
from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
from edge_vseg.export.quantize import prepare
from edge_vseg.export.zoo.blocks import Activation, BlockKind, block
from edge_vseg.manifest import CalibrationSpec
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.runtimes.timing import Runner, noise, race

RUNTIMES = ("onnxruntime", "openvino", "tflite")
PLACES = {8: (64, (45, 60)), 16: (128, (23, 30)), 32: (256, (12, 15))}
"""Stride: channels, and size of the tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Blocks of one kind, one after another.

    Attributes:
        kind: Kind of the blocks.
        activation: Their activation.
        blocks: How many.
        widen: Factor on the channels.
    """

    kind: BlockKind
    activation: Activation = "relu"
    blocks: int = 4
    widen: int = 1

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.kind if self.activation == "relu" else f"{self.kind}_{self.activation}"


STACKS = (
    Stack(kind="plain"),
    Stack(kind="residual", blocks=2),
    Stack(kind="factorised", blocks=3),
    Stack(kind="inverted", blocks=4),
    Stack(kind="shuffle", blocks=4, widen=4),
    Stack(kind="plain", activation="relu6"),
    Stack(kind="plain", activation="hardswish"),
)


def build(stack: Stack, stride: int) -> nn.Module:
    """The stack between a cheap entry and a cheap exit."""
    torch.manual_seed(0)
    channels = PLACES[stride][0] * stack.widen
    blocks = [block(stack.kind, channels, channels, 1, stack.activation) for _ in range(stack.blocks)]
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.ReLU(), *blocks, nn.Conv2d(channels, 11, 1)).eval()


# The exporter opens this file and calls a factory without arguments.
globals().update(
    {f"make_{stack.name}_{stride}": partial(build, stack, stride) for stack in STACKS for stride in PLACES}
)


def main() -> None:
    """Export, time, print, write JSON."""
    given = arguments(__doc__ or "")
    prepare.ENOUGH_AGREEMENT = 0.0  # random weights make close calls, which sparing layers would answer
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        for stride in PLACES:
            bundles = {stack.name: export(Path(folder), stack.name, stride) for stack in STACKS}
            for runtime in RUNTIMES:
                rows += measure(bundles, runtime, stride, given.threads, given.rounds)
    print(f"{'stride':>6} {'runtime':12} {'block':16} {'MMAC':>6} {'ms':>7} {'GMAC/s':>7} {'time a MAC':>11}")
    for row in rows:
        place = f"{row['stride']:>6} {row['runtime']:12} {row['block']:16}"
        cost = f"{row['macs'] / 1e6:>6.0f} {row['median_ms']:>7.2f} {row['gmacs_per_s']:>7.0f}"
        print(f"{place} {cost} {row['against_plain']:>10.2f}x")
    write(given.json, {"rows": rows, "provenance": provenance(given.threads)})


def export(folder: Path, name: str, stride: int) -> Bundle:
    """An int8 bundle of one stack, calibrated on noise."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*PLACES[stride][1], 3), np.uint8) for _ in range(6)]
    sample = SampleFrames(calibration=frames[:4], parity=frames[4:], spec=CalibrationSpec())
    options = ExportOptions(size_hw=PLACES[stride][1], precisions=("int8",), max_drop=1.0)
    return open_bundle(
        export_bundle(f"{__file__}:make_{name}_{stride}", folder / f"{name}_{stride}.evseg", sample, options).path
    )


def measure(bundles: dict[str, Bundle], runtime: str, stride: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """All stacks of a stride on one runtime, in turns."""
    runners = []
    for name, bundle in bundles.items():
        variant = next((v for v in bundle.manifest.variants if v.runtime == runtime and v.usable), None)
        if variant is None or variant.input is None or variant.output is None:
            print(f"stride {stride}, {runtime}, {name}: not exported")
            continue
        spec = GraphSpec(input=variant.input, output=variant.output)
        session = get_runtime(runtime).open(bundle.entry(variant), spec, SessionOptions(threads=threads))
        feed = {spec.input.name: noise(spec.input, np.random.default_rng(0))}
        runners.append(Runner(key=name, session=session, feed=feed))
    race(runners, rounds=rounds, clock=time.perf_counter_ns, hopeless=math.inf)
    rows = []
    for runner in runners:
        macs = bundles[runner.key].manifest.source.macs or 0
        taken = summary([ns / 1e6 for ns in runner.samples_ns])
        speed = macs / taken["median_ms"] / 1e6
        rows.append(
            {"stride": stride, "runtime": runtime, "block": runner.key, "macs": macs, "gmacs_per_s": speed} | taken
        )
        runner.session.close()
    for row in rows:
        row["against_plain"] = rows[0]["gmacs_per_s"] / row["gmacs_per_s"]
    return rows


if __name__ == "__main__":
    main()
