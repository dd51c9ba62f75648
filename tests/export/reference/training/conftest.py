"""A tiny dataset in CamVid's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

SIZE_HW = (64, 96)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames to learn and three to judge: blocks whose colour tells the class."""
    folder = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    colors = rng.integers(20, 235, (11, 3))
    for split, count in (("train", 6), ("val", 3)):
        for kind in (split, f"{split}annot"):
            (folder / kind).mkdir()
        for number in range(count):
            coarse = rng.permutation(np.arange(24) % 12).reshape(4, 6).astype(np.uint8)
            labels = cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_NEAREST)
            image = np.append(colors, [[0, 0, 0]], axis=0)[labels] + rng.normal(0, 4, (*SIZE_HW, 3))
            cv2.imwrite(str(folder / split / f"{number}.png"), np.clip(image, 0, 255).astype(np.uint8))
            cv2.imwrite(str(folder / f"{split}annot" / f"{number}.png"), labels)
    return folder
