"""Train networks of other libraries for some minutes on CamVid: int8 is to be judged on networks that decide something.

    python benchmarks/train_foreign.py ../shared/data/camvid weights/ --network ddrnet --minutes 6
    python benchmarks/foreign.py drive.mp4 --network ddrnet --weights ddrnet=weights/ddrnet.pt

A few minutes give no good network, but one with clear decisions, which random weights do not have. The score that is
printed is the share of pixels of frames that were not trained on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from foreign_networks import CLASSES, NETWORKS, Scores, random_weights
from torch import Tensor, nn

MEAN, SCALE = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
BATCH = 4
RATE = 2e-3
VOID = 255
SET_ASIDE = 8
"""One in so many frames is scored, not trained on."""


def main() -> None:
    """Train each network and write its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path, help="folder with train/ and trainannot/")
    parser.add_argument("output", type=Path, help="folder for the state dicts")
    parser.add_argument("--network", action="append", choices=[*NETWORKS], required=True)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--size", default="192x256", help="of the frames; --size of foreign.py should be the same")
    parser.add_argument("--half", type=float, default=0.0, metavar="SHARE", help="of the time, at half that size first")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = map(int, arguments.size.split("x"))
    images, labels = load(arguments.camvid, (height, width))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.network:
        torch.manual_seed(0)
        network = random_weights(NETWORKS[name])
        scored = torch.arange(len(images)) % SET_ASIDE == 0
        steps = train(network, images[~scored], labels[~scored], arguments.minutes * 60, arguments.half)
        right = accuracy(network, images[scored], labels[scored])
        torch.save(network.network.state_dict(), arguments.output / f"{name}.pt")
        print(f"{name}: {steps} steps, {right:.1%} of the pixels of {int(scored.sum())} frames right", flush=True)


def load(camvid: Path, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Frames ``(N, 3, H, W)`` uint8 RGB and labels ``(N, H, W)``, ``VOID`` where there is none."""
    height, width = size_hw
    images, labels = [], []
    for path in sorted((camvid / "train").iterdir()):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        truth = cv2.imread(str(camvid / "trainannot" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        images.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        labels.append(cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST))
    found = torch.from_numpy(np.stack(labels)).long()
    found[found >= CLASSES] = VOID
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), found


def normalized(images: Tensor) -> Tensor:
    """Images as the network takes them."""
    mean, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SCALE))
    return (images.float() - mean) / scale


def train(network: Scores, images: Tensor, labels: Tensor, seconds: float, half: float) -> int:
    """Train for a time, a share of it with frames of half the size; the number of steps."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    start, steps = time.monotonic(), 0
    while (share := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * max(0.02, 1 - share)
        chosen = torch.randint(0, len(images), (BATCH,))
        image, truth = normalized(images[chosen]), labels[chosen]
        if torch.rand(()) < 0.5:
            image, truth = image.flip(3), truth.flip(2)
        if share < half:
            image, truth = F.avg_pool2d(image, 2), truth[:, ::2, ::2]
        scores = F.interpolate(network(image), truth.shape[1:], mode="bilinear")
        loss = F.cross_entropy(scores, truth, ignore_index=VOID)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if steps % 50 == 0:
            print(f"  {share:.0%}, step {steps}, loss {float(loss.detach()):.3f}", flush=True)
    settle(network, images)
    return steps


def settle(network: Scores, images: Tensor) -> None:
    """Measure batch normalization anew with the final weights."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    with torch.no_grad():
        for start in range(0, len(images) - BATCH + 1, 2 * BATCH):
            network(normalized(images[start : start + BATCH]))
    network.eval()


def accuracy(network: Scores, images: Tensor, labels: Tensor) -> float:
    """Share of labelled pixels whose class is right."""
    right = total = 0
    with torch.no_grad():
        for image, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            found = F.interpolate(network(normalized(image)), truth.shape[1:], mode="bilinear").argmax(1)
            known = truth != VOID
            right += int((found == truth)[known].sum())
            total += int(known.sum())
    return right / total


if __name__ == "__main__":
    main()
