"""Which building block is fastest in int8: graphs of about equal MACs, timed in turns on each runtime.

    python benchmarks/blocks.py --json benchmarks/results/blocks.json

Stacks of blocks run on tensors of the size that strides 8, 16 and 32 of a 480x360 frame have. Number and width of the
blocks are chosen to match the MACs of four plain 3x3 convolutions. Two more groups compare how the head ends and how
the pyramid pools; their MACs differ, so compare their times. Weights are random.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from harness import ALL_INT8, parse_arguments, provenance, summary, write_json
from torch import nn

from edge_vseg import open_bundle
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
from edge_vseg.export.reference.zoo.blocks import Activation, BlockKind, Plain, block
from edge_vseg.export.reference.zoo.stage_macs import parameter_count
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.runtimes.timing import Runner, noise, race
from edge_vseg.types import Size

RUNTIMES = ("onnxruntime", "openvino", "tflite")
CLASSES = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Graphs to compare; the first one is the baseline.

    Attributes:
        name: Name in tables.
        size_hw: Size of their input tensor.
        channels: Channels of the baseline.
        makers: By name, a function that makes the graph from the number of channels.
    """

    name: str
    size_hw: Size
    channels: int
    makers: dict[str, Callable[[int], nn.Module]]


class Stack(nn.Sequential):
    """Blocks of one kind, with a width in steps of 8 that matches the MACs of four plain 3x3 convolutions."""

    def __init__(self, kind: BlockKind, activation: Activation, blocks: int, channels: int) -> None:
        def blocks_of(width: int) -> list[nn.Module]:
            return [block(kind, width, width, 1, activation) for _ in range(blocks)]

        widths = range(channels, 5 * channels, 8)
        wide = min(widths, key=lambda width: abs(_weights(blocks_of(width)) - 4 * 9 * channels**2))
        super().__init__(nn.Conv2d(3, wide, 1), nn.ReLU(), *blocks_of(wide), nn.Conv2d(wide, CLASSES, 1))


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "plain": partial(Stack, "plain", "relu", 4),
    "residual": partial(Stack, "residual", "relu", 2),
    "factorised": partial(Stack, "factorised", "relu", 3),
    "inverted": partial(Stack, "inverted", "relu", 4),
    "shuffle, 4 wide": partial(Stack, "shuffle", "relu", 4),
    "shuffle, 17 thin": partial(Stack, "shuffle", "relu", 17),
    "plain, relu6": partial(Stack, "plain", "relu6", 4),
    "plain, hardswish": partial(Stack, "plain", "hardswish", 4),
}


def head(channels: int, factor: int) -> nn.Module:
    """A head that ends at stride 8, or ``factor`` times finer with depth-to-space."""
    scores = nn.Conv2d(channels, CLASSES * factor * factor, 1)
    return nn.Sequential(
        nn.Conv2d(3, channels, 1), nn.ReLU(), Plain(channels, channels), scores, nn.PixelShuffle(factor)
    )


def pools(channels: int, pool: Callable[[int], nn.Module]) -> nn.Module:
    """Six 3x3 pools at stride 1; a 1x1 convolution before each keeps runtimes from merging them."""
    parts = [part for _ in range(6) for part in (nn.Conv2d(channels, channels, 1), nn.ReLU(), pool(channels))]
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.ReLU(), *parts, nn.Conv2d(channels, CLASSES, 1))


GROUPS = (
    Group(name="stride 8", size_hw=(45, 60), channels=64, makers=BLOCKS),
    Group(name="stride 16", size_hw=(23, 30), channels=128, makers=BLOCKS),
    Group(name="stride 32", size_hw=(12, 15), channels=256, makers=BLOCKS),
    Group(
        name="head",
        size_hw=(45, 60),
        channels=96,
        makers={"ends at stride 8": partial(head, factor=1), "depth-to-space": partial(head, factor=2)},
    ),
    Group(
        name="pyramid",
        size_hw=(23, 30),
        channels=128,
        makers={
            "depthwise": partial(pools, pool=lambda c: nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False)),
            "average pool": partial(pools, pool=lambda c: nn.AvgPool2d(3, 1, 1)),
        },
    ),
)


def build(group: Group, name: str) -> nn.Module:
    """A graph with fixed random weights."""
    torch.manual_seed(0)
    return group.makers[name](group.channels).eval()


def _factory(group: Group, name: str) -> str:
    return "make_" + "".join(c if c.isalnum() else "_" for c in f"{group.name}_{name}")


# The exporter imports this file and calls a factory without arguments.
globals().update({_factory(group, name): partial(build, group, name) for group in GROUPS for name in group.makers})


def main() -> None:
    """Export everything, time everything, print, write JSON."""
    arguments = parse_arguments(__doc__ or "")
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        exported = {group.name: {name: export(Path(folder), group, name) for name in group.makers} for group in GROUPS}
        print(f"{'group':10} {'runtime':12} {'graph':18} {'MMAC':>5} {'k par':>6} {'ms':>7} {'IQR':>5} {'GMAC/s':>6}"
              f" {'time':>6} {'a MAC':>6}")  # fmt: skip
        for group in GROUPS:
            for runtime in RUNTIMES:
                rows += measure(group, exported[group.name], runtime, arguments.threads, arguments.rounds)
    write_json(arguments.json, {"rows": rows, "provenance": provenance(arguments.threads)})


def export(folder: Path, group: Group, name: str) -> Bundle:
    """An int8 bundle of one graph, calibrated on noise."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*group.size_hw, 3), np.uint8) for _ in range(6)]
    sample = SampleFrames(calibration=frames[:4], validation=frames[4:], spec=CalibrationSpec())
    options = ExportOptions(size_hw=group.size_hw, precisions=("int8",), max_drop=1.0, thresholds=ALL_INT8)
    factory = _factory(group, name)
    return open_bundle(export_bundle(f"{__file__}:{factory}", folder / f"{factory}.evseg", sample, options).path)


def measure(group: Group, bundles: dict[str, Bundle], runtime: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Time all graphs of a group on one runtime in turns; prints and returns the rows."""
    runners = []
    for name, bundle in bundles.items():
        variant = next((v for v in bundle.manifest.variants if v.runtime == runtime), None)
        if variant is None:
            print(f"{group.name:10} {runtime:12} {name:18} not exported")
            continue
        spec = GraphSpec.of(input=variant.input, output=variant.output)
        session = get_runtime(runtime).open(bundle.entry(variant), spec, SessionOptions(threads=threads))
        feed = {spec.input.name: noise(spec.input, np.random.default_rng(0))}
        runners.append(Runner(key=name, session=session, feed=feed))
    race(runners, rounds=rounds, clock=time.perf_counter_ns, max_slowdown=math.inf)
    rows: list[dict[str, Any]] = []
    for runner in runners:
        runner.session.close()
        if runner.failure:
            print(f"{group.name:10} {runtime:12} {runner.key:18} failed: {runner.failure}")
            continue
        row = _row(group, runner, bundles[runner.key].manifest.source.macs or 0) | {"runtime": runtime}
        rows.append(row)
        row["time_ratio"] = row["median_ms"] / rows[0]["median_ms"]
        row["time_a_mac_ratio"] = rows[0]["gmacs_per_s"] / row["gmacs_per_s"]
        print(_line(row))
    return rows


def _row(group: Group, runner: Runner, macs: int) -> dict[str, Any]:
    timing = summary([ns / 1e6 for ns in runner.samples_ns])
    parameters = parameter_count(build(group, runner.key))
    speed = macs / timing["median_ms"] / 1e6
    return {
        "group": group.name,
        "graph": runner.key,
        "macs": macs,
        "parameters": parameters,
        "gmacs_per_s": speed,
    } | timing


def _line(row: dict[str, Any]) -> str:
    place = f"{row['group']:10} {row['runtime']:12} {row['graph']:18}"
    cost = f"{row['macs'] / 1e6:5.0f} {row['parameters'] / 1e3:6.0f} {row['median_ms']:7.3f} {row['iqr_ms']:5.3f}"
    return f"{place} {cost} {row['gmacs_per_s']:6.0f} {row['time_ratio']:5.2f}x {row['time_a_mac_ratio']:5.2f}x"


def _weights(modules: list[nn.Module]) -> int:
    """Number of convolution weights: at stride 1, the MACs per cell."""
    return sum(part.weight.numel() for module in modules for part in module.modules() if isinstance(part, nn.Conv2d))


if __name__ == "__main__":
    main()
