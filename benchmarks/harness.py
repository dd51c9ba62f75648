"""Shared by the benchmarks: a network to time, timing in turns, provenance, command-line arguments."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import ExportOptions, ExportThresholds, SampleFrames, export_bundle
from edge_vseg.runtimes.cpu import cpu_features

CLASSES, SIZE_HW = 11, (360, 480)
WARM_UP_ROUNDS = 3
ALL_INT8 = ExportThresholds(int8_agreement=0.0)
"""No mixed precision: random weights make close calls, which it would answer, and only speed counts here."""


class TwoBranch(nn.Module):
    """A plain two-branch network of 3x3 convolutions with 11 classes and random weights, for timing only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(_conv(3, 32, 2), _conv(32, w, 2), _conv(w, w, 2))
        self.detail = nn.Sequential(_conv(w, w), _conv(w, w), _conv(w, w))
        self.context = nn.Sequential(
            _conv(w, 2 * w, 2), _conv(2 * w, 2 * w), _conv(2 * w, 2 * w), _conv(2 * w, 4 * w, 2), _conv(4 * w, 4 * w)
        )
        self.reduce = nn.Conv2d(4 * w, w, 1)
        self.head = nn.Sequential(_conv(w, 96), nn.Conv2d(96, CLASSES, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shared = self.stem(image)
        context = functional.interpolate(self.reduce(self.context(shared)), shared.shape[-2:], mode="bilinear")
        scores = self.head(torch.relu(self.detail(shared) + context))
        return functional.interpolate(scores, image.shape[-2:], mode="bilinear")


def make_small() -> nn.Module:
    """1.2 GMAC, with fixed random weights."""
    torch.manual_seed(0)
    return TwoBranch(64)


def make_middle() -> nn.Module:
    """2.4 GMAC, with fixed random weights."""
    torch.manual_seed(0)
    return TwoBranch(96)


def make_bundle(folder: Path, network: str, runtimes: tuple[str, ...]) -> Path:
    """Export a network, calibrated on smooth random images."""
    rng = np.random.default_rng(0)
    frames = [_smooth_image(rng) for _ in range(12)]
    sample = SampleFrames(calibration=frames[:8], validation=frames[8:], spec=CalibrationSpec())
    options = ExportOptions(size_hw=SIZE_HW, runtimes=runtimes, max_drop=1.0, thresholds=ALL_INT8)
    return export_bundle(f"{__file__}:make_{network}", folder / "bench.evseg", sample, options).path


def in_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate; in each round they run one after another, after some warm-up rounds."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-WARM_UP_ROUNDS, rounds):
        for name, call in candidates.items():
            start_ns = time.perf_counter_ns()
            call()
            if number >= 0:
                samples[name].append((time.perf_counter_ns() - start_ns) / 1e6)
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    quartiles = statistics.quantiles(samples, n=4)
    return {"median_ms": statistics.median(samples), "iqr_ms": quartiles[2] - quartiles[0]}


def provenance(threads: int) -> dict[str, Any]:
    """Commit, hardware and versions of the measurement."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    names = ("edge-vseg", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "ai-edge-litert")
    versions = {name: importlib.metadata.version(name) for name in names}
    cpu = cpu_features()
    return {
        "commit": commit,
        "cpu": cpu.model,
        "features": list(cpu.features),
        "system": platform.system(),
        "threads": threads,
        "versions": versions,
    }


def parse_arguments(description: str) -> argparse.Namespace:
    """Parse ``--json``, ``--threads``, ``--rounds``, ``--network`` and ``--bundle``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--network", choices=("small", "middle"), default="middle", help="1.2 or 2.4 GMAC")
    parser.add_argument("--bundle", type=Path, help="time this bundle instead of the built-in network")
    return parser.parse_args()


def write_json(path: Path | None, tree: dict[str, Any]) -> None:
    """Write results as JSON if there is a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def _conv(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _smooth_image(rng: np.random.Generator) -> np.ndarray:
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 12, 16)).astype(np.float32))
    smooth = functional.interpolate(coarse, SIZE_HW, mode="bilinear")[0].permute(1, 2, 0).numpy()
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
