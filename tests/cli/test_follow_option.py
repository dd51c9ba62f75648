"""``--follow`` reaches the segmenter from the commands that take a policy; ros2 is not run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize("command", ["run", "record", "serve", "profile", "evaluate"])
def test_a_class_that_the_bundle_lacks(
    command: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    where = ("--video", clip) if command == "evaluate" else (clip,)
    more = (tmp_path / "drive.mcap",) if command == "record" else ()
    words = (command, reference_bundle, *where, *more, "--runtime", "reference", "--policy", "fixed")
    shown = cli(*words, "--follow", "red, car")
    assert shown.code == 1
    assert "no class 'car' to follow; the bundle has blue, green, red" in " ".join(shown.err.split())


def test_the_baseline_of_an_evaluation_carries_nothing_and_follows_nothing(
    cli: Cli, reference_bundle: Path, clip: Path
) -> None:
    words = ("--runtime", "reference", "--policy", "fixed", "--follow", "red")
    shown = cli("evaluate", reference_bundle, "--video", clip, *words)
    assert shown.code == 0, shown.err
    shown = cli("run", reference_bundle, clip, "--runtime", "reference", "--follow", "red")
    assert shown.code == 1
    assert "policy 'every-frame' carries no label maps" in " ".join(shown.err.split())
