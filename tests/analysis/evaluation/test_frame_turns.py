"""How many frames a turn keeps in memory, and that turns do not show in what is replayed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from board_profile import write_board_profile

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import EvaluationOptions, evaluate_policy
from edge_vseg.analysis.evaluation.frame_turns import frame_turns
from edge_vseg.scheduling.policies import Async

MB = 10**6
FRAME = LabelledFrame(image=np.zeros((1000, 1000, 3), np.uint8), labels=np.zeros((1000, 1000), np.uint8))


def lengths(count: int, *, paced: bool = True, scores_nbytes: int = 0) -> list[int]:
    return [len(turn) for turn in frame_turns([FRAME] * count, paced=paced, scores_nbytes=scores_nbytes)]


def free(monkeypatch: pytest.MonkeyPatch, found: int | None) -> None:
    monkeypatch.setattr("edge_vseg.analysis.evaluation.frame_turns.available_memory", lambda: found)


@pytest.mark.parametrize(
    ("nbytes", "scores_nbytes", "found"),
    [
        (10**12, 0, [600, 100]),
        (None, 0, [600, 100]),
        (1000 * MB, 0, [100] * 7),  # 3 MB of image and two maps of 1 MB in half of 1000 MB
        (1000 * MB, 5 * MB, [50] * 14),
        (1 * MB, 0, [12] * 58 + [4]),
    ],
)
def test_a_turn_at_a_rate_fits_into_the_free_memory(
    nbytes: int | None, scores_nbytes: int, found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, nbytes)
    assert lengths(700, scores_nbytes=scores_nbytes) == found


def test_other_turns_are_short() -> None:
    assert lengths(30, paced=False) == [12, 12, 6]
    assert lengths(0, paced=False) == lengths(0) == []


def test_replayed_turns_are_short_and_do_not_show(
    reference_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyframe in the background of 3.1 periods is under way where one turn ends and the next begins."""
    write_board_profile(tmp_path / "p.json", reference_bundle, 310.0)
    rng = np.random.default_rng(3)
    ground = rng.integers(0, 256, (48, 64, 3), np.uint8)
    images = [np.roll(ground, number, axis=1) for number in range(40)]
    frames = [LabelledFrame(image=image, labels=np.zeros((48, 64), np.uint8)) for image in images]
    options = EvaluationOptions(threads=2, rate=10.0, replay=tmp_path / "p.json", deadline_ms=20.0)

    def evaluated() -> tuple[list[int], dict]:
        done: list[int] = []
        score = evaluate_policy(reference_bundle, frames, Async(motion="dis"), options, progress=done.append)
        return done, asdict(score)

    done, short = evaluated()
    assert done == [12, 24, 36, 40]
    assert short["background_keyframes"] > 5
    monkeypatch.setattr("edge_vseg.analysis.evaluation.frame_turns.FRAMES_PER_TURN", 1000)
    done, whole = evaluated()
    assert done == [40]
    assert short == whole
