"""Train a reference network on CamVid and rendered streets from Python; on the command line: ``edge-vseg-train``.

    python examples/train_camvid.py CAMVID_DIR runs/small --network small

You can stop it at any time; the same command continues from the last checkpoint. Then export the weights:

    edge-vseg export edge_vseg.export.reference.zoo:small --weights runs/small/weights.safetensors --classes camvid
        --input-size 360x480 --mean 110 --scale 75 --color bgr --frames CAMVID_DIR/train -o small.evseg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import TrainingProgress, train
from edge_vseg.export.reference.training.streets import render_streets
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.validation import evaluate_network
from edge_vseg.export.reference.zoo import SPECS, read_network


def main() -> None:
    """Read the data, render streets, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="CamVid's folder")
    parser.add_argument("output", type=Path, help="output folder")
    parser.add_argument("--network", choices=tuple(SPECS), default="small")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--streets", type=int, default=400, help="number of rendered frames to mix in")
    parser.add_argument("--crop", type=int, nargs=2, default=(288, 384), metavar=("H", "W"))
    parser.add_argument("--teacher", type=Path, help="weights of a larger trained network")
    arguments = parser.parse_args()
    config = TrainConfig(
        network=arguments.network,
        epochs=arguments.epochs,
        streets=arguments.streets,
        crop_hw=tuple(arguments.crop),
        response=1.0 if arguments.teacher else 0.0,
    )
    data = TrainingData(
        train=list(open_dataset(f"camvid:{arguments.camvid}:train")),
        val=list(open_dataset(f"camvid:{arguments.camvid}:val")),
        streets=render_streets(config),
    )

    def on_step(now: TrainingProgress) -> None:
        if now.step % 50 == 0 or now.step == now.steps:
            print(f"step {now.step} of {now.steps}, loss {now.loss:.3f}, mIoU {now.miou:.2f} %")

    teacher = read_network(arguments.teacher) if arguments.teacher else None
    weights = train(config, data, arguments.output, teacher=teacher, on_step=on_step)
    confusion = evaluate_network(read_network(weights), data.val)
    print(f"{weights}: mIoU {confusion.mean_iou:.2%} on {len(data.val)} validation frames")


if __name__ == "__main__":
    main()
