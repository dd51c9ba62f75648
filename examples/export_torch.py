"""Export a torch network from Python: factory, weights, sample frames, bundle.

    python examples/export_torch.py colors.evseg drive.mp4

The toy network finds the strongest of red, green and blue. Replace it by yours: a function without arguments that
returns a ``torch.nn.Module``, and a weights file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from edge_vseg.bundle.labels import spread_color
from edge_vseg.bundle.manifest import Label
from edge_vseg.calibration import sample_frames
from edge_vseg.export import ExportOptions, Normalization, export_bundle


def make() -> torch.nn.Module:
    """The factory: the network without trained weights."""
    layers = [torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 1)]
    return torch.nn.Sequential(*layers, torch.nn.Upsample(scale_factor=2, mode="bilinear"))


def train(weights: Path) -> None:
    """Train the network on random colours, and save the weights as safetensors."""
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(200):
        colors = torch.rand(64, 3, 1, 1)
        scores = network((colors.expand(-1, -1, 4, 4) - 0.5) / 0.25)
        loss = torch.nn.functional.cross_entropy(scores.mean((2, 3)), colors[..., 0, 0].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), weights)


def main() -> None:
    """Train, sample frames, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle to write, NAME.evseg")
    parser.add_argument("frames", nargs="+", help="sample videos or image folders")
    parser.add_argument("--input-size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino", "tflite"])
    parser.add_argument("--count", type=int, default=24, help="number of calibration frames, and of validation frames")
    arguments = parser.parse_args()
    frames = sample_frames(arguments.frames, calibration=arguments.count, validation=arguments.count)
    labels = tuple(Label(id=i, name=n, color=spread_color(i, 3)) for i, n in enumerate(("red", "green", "blue")))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "net.safetensors"
        train(weights)
        normalization = Normalization(mean=(127.5, 127.5, 127.5), scale=(63.75, 63.75, 63.75), color="rgb")
        options = ExportOptions(
            weights=weights, labels=labels, size_hw=tuple(arguments.input_size), normalization=normalization,
            runtimes=tuple(arguments.runtimes),
        )  # fmt: skip
        exported = export_bundle(f"{__file__}:make", arguments.bundle, frames, options, progress=print)
    for variant in exported.manifest.variants:
        print(f"{variant.id}: {variant.status} {variant.reason}")


if __name__ == "__main__":
    main()
