"""Train a reference network on CamVid, or a dataset of yours, from Python; on the command line: ``edge-vseg-train``.

    python examples/train_camvid.py CAMVID_DIR runs/small --network small
    python examples/train_camvid.py folder:garden runs/garden --teacher big.py:network --video drive.mp4

A teacher gives its softened classes to learn from, and on a video without labels the network learns to say the same
from frame to frame. You can stop it at any time; the same command continues from the last checkpoint. Then export:

    edge-vseg export runs/small/weights.safetensors --input-size 360x480 --frames CAMVID_DIR/train -o small.evseg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import TrainingProgress, train
from edge_vseg.export.reference.training.own_data import read_training_data, training_address
from edge_vseg.export.reference.training.teachers import open_teacher
from edge_vseg.export.reference.training.validation import evaluate_network
from edge_vseg.export.reference.zoo import SPECS, read_network


def main() -> None:
    """Read the data, render streets, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="LAYOUT:DIR, or CamVid's folder")
    parser.add_argument("output", type=Path, help="output folder")
    parser.add_argument("--network", choices=tuple(SPECS), default="small")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--streets", type=int, default=400, help="number of rendered frames to mix in")
    parser.add_argument("--crop", type=int, nargs=2, default=(288, 384), metavar=("H", "W"))
    parser.add_argument("--teacher", help="weights of a larger trained network, or any torch module as FILE.py:FACTORY")
    parser.add_argument("--video", action="append", default=[], help="video without labels; may be given again")
    arguments = parser.parse_args()
    config = TrainConfig(
        network=arguments.network,
        epochs=arguments.epochs,
        streets=arguments.streets,
        crop_hw=tuple(arguments.crop),
        response=1.0 if arguments.teacher else 0.0,
        consistency=1.0 if arguments.video else 0.0,
    )
    data = read_training_data(training_address(arguments.data), config, videos=arguments.video)

    def on_step(now: TrainingProgress) -> None:
        if now.step % 50 == 0 or now.step == now.steps:
            print(f"step {now.step} of {now.steps}, loss {now.loss:.3f}, mIoU {now.miou:.2f} %")

    teacher = open_teacher(arguments.teacher, data.labels, config.crop_hw) if arguments.teacher else None
    weights = train(config, data, arguments.output, teacher=teacher, on_step=on_step)
    confusion = evaluate_network(read_network(weights), data.val, len(data.labels))
    print(f"{weights}: mIoU {confusion.mean_iou:.2%} on {len(data.val)} validation frames")


if __name__ == "__main__":
    main()
