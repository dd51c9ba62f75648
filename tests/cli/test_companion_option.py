"""``--companion`` reaches the segmenter from the commands that take a policy; ros2 is not run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize("command", ["run", "record", "serve", "profile", "evaluate"])
def test_a_policy_without_a_use_for_one(
    command: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    where = ("--video", clip) if command == "evaluate" else (clip,)
    more = (tmp_path / "drive.mcap",) if command == "record" else ()
    words = (command, reference_bundle, *where, *more, "--runtime", "reference", "--policy", "fixed")
    shown = cli(*words, "--companion", reference_bundle)
    assert shown.code == 1
    assert "policy 'fixed' has no use for a companion; choose async or deadline" in " ".join(shown.err.split())


def test_it_runs_on_frames_and_not_in_the_baseline(cli: Cli, reference_bundle: Path, clip: Path) -> None:
    words = ("--runtime", "reference", "--policy", "async", "--set", "lag_frames=2", "--companion", reference_bundle)
    shown = cli("run", reference_bundle, clip, *words)
    assert shown.code == 0, shown.err
    assert "companion" in shown.out
    shown = cli("evaluate", reference_bundle, "--video", clip, *words)
    assert shown.code == 0, shown.err


def test_calibrate_refuses_one_that_is_not_there_first(cli: Cli, reference_bundle: Path, clip: Path) -> None:
    words = ("calibrate", reference_bundle, clip, "--runtime", "reference", "--companion", clip.with_name("no.evseg"))
    shown = cli(*words)
    assert shown.code == 1
    assert "no.evseg" in shown.err
