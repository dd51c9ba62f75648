"""Two or four shallow contexts in turns, one on each frame: do they beat a carried map at the same cost?

    python benchmarks/alternating_contexts.py --epochs 4

On every frame one of the contexts runs; the detail stage sees the average of its output and of the others', which are
one frame old and more, and warped along the flow. All begin as the shipped network's context and are trained together,
each now as the fresh one and now as an old one. Beside them: the same network with one context, trained for as long,
and a larger network whose label map of some frames ago is carried, with a keyframe as often as its multiplications
allow. With ``--work DIR`` a run that was stopped goes on where it was.

Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020; they fuse by attention, and
distil from a deep network.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from context_age import compose, flows, in_cells
from harness import write_json
from numpy.typing import NDArray
from torch import nn

from edge_vseg.analysis.datasets import LabelledFrame, open_dataset
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.export.reference.training.batches import Batch, batches
from edge_vseg.export.reference.training.checkpoint import Average
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.inputs import to_input
from edge_vseg.export.reference.training.loop import CHECKPOINT_PERIOD_S, MAX_GRADIENT_NORM
from edge_vseg.export.reference.training.losses import jaccard_loss, label_loss
from edge_vseg.export.reference.training.older_view import warp
from edge_vseg.export.reference.training.schedule import learning_rate
from edge_vseg.export.reference.training.training_data import TrainingData, class_statistics
from edge_vseg.export.reference.zoo import TwoBranch, pretrained
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE, STEM_STRIDE
from edge_vseg.export.reference.zoo.stage_macs import stage_macs
from edge_vseg.files import make_folder, write_whole
from edge_vseg.imaging.label_maps import LabelMapper

REPORTS = 8
SIZE_HW = (360, 480)
CONTEXTS = (2, 4)


class Turns(nn.Module):
    """A reference network with one context, or with several that run in turns."""

    def __init__(self, network: TwoBranch, contexts: int) -> None:
        super().__init__()
        self.stem, self.detail = network.stem, network.detail
        self.contexts = nn.ModuleList(copy.deepcopy(network.context) for _ in range(contexts))

    def forward(
        self, shared: torch.Tensor, older: Sequence[torch.Tensor], motion: Sequence[torch.Tensor], turn: int
    ) -> torch.Tensor:
        """Logits of a frame whose context ``turn`` runs, with the others of the frames before, the latest first."""
        contexts = [self.contexts[(turn - age) % len(self.contexts)] for age in range(len(self.contexts))]
        fresh, *carried = contexts
        features = fresh(shared)
        for context, then, way in zip(carried, older, motion, strict=False):
            features = features + warp(context(then), way)
        return self.detail(shared, features / len(contexts))


def train(network: Turns, data: TrainingData, config: TrainConfig, checkpoint: Path | None = None) -> Turns:
    """The moving average of the trained weights; goes on from the checkpoint if there is one."""
    steps = config.epochs * -(-len(data.train) // config.batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    average = Average(network.train(), config.ema)
    statistics = class_statistics(data.train, len(data.labels))
    weights = torch.ones(len(data.labels))
    parts = {"network": network, "average": average.network, "optimizer": optimizer}
    begin, saved_s = _resume(checkpoint, parts, config), time.monotonic()
    for step, batch in enumerate(batches(config, data, begin, steps, statistics), begin):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, steps)
        loss = _loss(network, batch, weights, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        average.update(network, step + 1)
        if step % max(1, steps // REPORTS) == 0:
            print(f"  step {step} of {steps}, loss {float(loss.detach()):.3f}", flush=True)
        if checkpoint and (time.monotonic() - saved_s > CHECKPOINT_PERIOD_S or step + 1 == steps):
            held = io.BytesIO()
            tree = {name: part.state_dict() for name, part in parts.items()}
            torch.save(tree | {"step": step + 1, "config": config.tree()}, held)
            write_whole(checkpoint, held.getvalue())
            saved_s = time.monotonic()
    return average.network


def _resume(checkpoint: Path | None, parts: dict[str, nn.Module | torch.optim.Optimizer], config: TrainConfig) -> int:
    """Load what a stopped run had; the steps that are done."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    tree = torch.load(checkpoint, weights_only=True)
    if tree["config"] != config.tree():
        raise SystemExit(f"{checkpoint} is of a run with other options; give another --work")
    for name, part in parts.items():
        part.load_state_dict(tree[name])
    return int(tree["step"])


def _loss(network: Turns, batch: Batch, weights: torch.Tensor, turn: int) -> torch.Tensor:
    present, older = network.stem(torch.cat((batch.images, batch.older))).split((len(batch.images), len(batch.older)))
    others = len(network.contexts) - 1  # a crop has one older view; all other contexts see it
    scores = network(present, [older] * others, [batch.motion] * others, turn)
    return label_loss(scores, batch.labels, weights) + jaccard_loss(scores, batch.labels)


def judge(network: Turns, frames: Sequence[LabelledFrame], steps: Sequence[NDArray[np.float32]], first: int) -> float:
    """MIoU in percent on consecutive frames, from the ``first`` on."""
    confusion, mapper = Confusion(11), LabelMapper(frames[0].labels.shape[:2])
    with torch.inference_mode():
        shared = [network.stem(to_input([frame.image])) for frame in frames]
        for now in range(first, len(frames)):
            older, ways, motion = [], [], np.zeros_like(steps[now])
            for age in range(1, len(network.contexts)):
                motion = compose(motion, steps[now - age + 1])
                older.append(shared[now - age])
                ways.append(in_cells(motion, shared[now].shape[-2:], STEM_STRIDE))
            scores = network(shared[now], older, ways, now)
            confusion.add(frames[now].labels, mapper(np.ascontiguousarray(scores[0].numpy())))
    return 100 * confusion.mean_iou


def carried(
    network: TwoBranch, frames: Sequence[LabelledFrame], steps: Sequence[NDArray[np.float32]], first: int, age: int
) -> float:
    """MIoU in percent of scores that are ``age`` frames old and warped, from the frame ``first`` on."""
    confusion, mapper = Confusion(11), LabelMapper(frames[0].labels.shape[:2])
    with torch.inference_mode():
        for now in range(first, len(frames)):
            shared = network.stem(to_input([frames[now - age].image]))
            scores, motion = network.detail(shared, network.context(shared)), np.zeros_like(steps[1])
            for back in range(age):
                motion = compose(motion, steps[now - back])
            scores = warp(scores, in_cells(motion, scores.shape[-2:], SCORES_STRIDE))
            confusion.add(frames[now].labels, mapper(np.ascontiguousarray(scores[0].numpy())))
    return 100 * confusion.mean_iou


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGE_VSEG_DATA", "../shared/data")) / "camvid"
    )
    parser.add_argument("--network", default="small", help="whose context there are several of")
    parser.add_argument("--larger", default="middle", help="whose maps are carried")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.0012)
    parser.add_argument("--work", type=Path, help="folder for checkpoints; the same command goes on from them")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.work:
        make_folder(arguments.work)
    train_frames, val = (list(open_dataset(f"camvid:{arguments.data}:{split}")) for split in ("train", "val"))
    data, steps = TrainingData(train=train_frames, val=val), flows(val)
    config = TrainConfig(
        epochs=arguments.epochs, learning_rate=arguments.learning_rate, aged=1.0, pasted=0.4, ema=0.99, jaccard=1.0
    )
    cost = {name: sum(stage_macs(pretrained(name), SIZE_HW).values()) for name in (arguments.network, arguments.larger)}
    period = cost[arguments.larger] / cost[arguments.network]
    # A keyframe is shown when it is done, and until the next one is.
    ages = range(math.ceil(period), math.ceil(2 * period))
    first = max(ages)  # all are judged on the same frames
    miou: dict[str, float] = {}
    larger = pretrained(arguments.larger)
    for age in ages:
        miou[f"{arguments.larger}, carried {age} frames"] = carried(larger, val, steps, first, age)
    miou[f"{arguments.network}, as shipped"] = judge(_turns(arguments.network, 1), val, steps, first)
    for contexts in (1, *CONTEXTS):
        checkpoint = arguments.work and arguments.work / f"{arguments.network}_{contexts}.pt"
        trained = train(_turns(arguments.network, contexts), data, config, checkpoint)
        what = f"{arguments.network}, trained on" if contexts == 1 else f"{contexts} contexts in turns"
        miou[what] = judge(trained, val, steps, first)
    print(f"a keyframe of {arguments.larger} every {period:.1f} frames costs as much as {arguments.network} on each")
    for what, figure in miou.items():
        print(f"{what:28} {figure:6.2f}")
    write_json(arguments.json, {"miou": miou, "period": period, "config": config.tree()})


def _turns(name: str, contexts: int) -> Turns:
    return Turns(pretrained(name), contexts).eval()


if __name__ == "__main__":
    main()
