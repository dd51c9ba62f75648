"""A study over a Ray cluster of two nodes, one of which is killed: the same study."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest
from board_profile import write_board_profile

from edge_vseg import open_bundle
from edge_vseg.tuning import TuneOptions, Wish, open_networks, reference_clip, tune

sys.path.append(str(Path(__file__).resolve().parents[1] / "cluster"))
from two_nodes import TOKEN, cluster

pytestmark = [
    pytest.mark.serial,
    pytest.mark.release,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]
WISH = Wish(rate=10.0, deadline_ms=30.0)
TRIALS = 16


def test_a_lost_node_changes_nothing(
    sliced_bundle: Path, drive_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = open_networks([sliced_bundle])
    clip = reference_clip(drive_video, 20, open_bundle(sliced_bundle), tmp_path / "reference", threads=1)
    board = tmp_path / "board.json"
    write_board_profile(board, sliced_bundle, 60.0)
    here = tune(networks, clip, tmp_path / "one", TuneOptions(wish=WISH, trials=TRIALS, profiles=(board,)))
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)
    with cluster() as nodes:
        nodes.start("first")
        nodes.start("second")
        done: list[int] = []

        def kill() -> None:
            while len(done) < 6:
                time.sleep(0.05)
            nodes.kill_raylet("second")

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        spread = TuneOptions(wish=WISH, trials=TRIALS, profiles=(board,), cluster=nodes.address)
        there = tune(networks, clip, tmp_path / "cluster", spread, done.append)
        killer.join()
    assert there.trials == here.trials
    assert [each.trial.number for each in there.recommended] == [each.trial.number for each in here.recommended]
