"""``edge-vseg dataset check``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CLASSES = ["road", "car", "<b>unicorn</b>"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split in ("train", "val"):
        for number in range(3):
            image = np.random.default_rng((len(split), number)).integers(0, 256, (12, 16, 3), np.uint8)
            for kind, picture in (("images", image), ("labels", np.eye(12, 16, dtype=np.uint8))):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / split / kind / f"{split}{number}.png"), picture)
    (root / "classes.json").write_text(json.dumps(CLASSES[:2]))
    return root


def test_the_command(cli: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shown = cli("dataset", "check", f"folder:{folder}", "--html", page)
    assert shown.code == 0, shown.err
    assert "nothing to put right" in shown.out
    assert "Contact sheet of train" in page.read_text(encoding="utf-8")
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    shown = cli("dataset", "check", f"folder:{folder}", "--html", page, "--force", "--json", "--max-frames", 2)
    assert shown.code == 3, shown.err
    tree = shown.json()
    assert tree["classes"] == CLASSES
    assert [each["frames"] for each in tree["splits"]] == [2, 2]
    assert len(tree["problems"]) == 2
    text = page.read_text(encoding="utf-8")
    assert "<b>unicorn" not in text
    assert "&lt;b&gt;unicorn" in text
    assert cli("dataset", "check", f"folder:{folder}", "--html", page).code == 1, "the page is there already"


@pytest.mark.parametrize("address", ["folder:missing", "imagenet:x", "folder"])
def test_what_is_no_dataset(cli: Callable[..., Any], address: str) -> None:
    shown = cli("dataset", "check", address)
    assert shown.code == 1
    assert "edge_vseg" not in shown.err
