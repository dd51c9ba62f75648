"""Occlusion checks against the renderer's truth and hand-made cases."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.export.reference.scenes import NO_EFFECTS, StreetOptions, render_street
from edge_vseg.motion import motion_estimator
from edge_vseg.motion.occlusion import inconsistent, unexplained


def test_forward_backward_consistency() -> None:
    motion = np.full((20, 30, 2), (3.0, -2.0), np.float32)
    assert not inconsistent(motion, -motion).any()
    wrong = -motion
    wrong[5:9, 10:16] = 0
    failed = inconsistent(motion, wrong)
    # Cells whose way leads into the wrong ones: there is (x + 3, y - 2).
    assert failed[7:11, 7:13].all()
    assert failed.sum() == 24


def test_photometric_check() -> None:
    rng = np.random.default_rng(0)
    before = cv2.GaussianBlur(rng.integers(0, 255, (64, 96), np.uint8), (0, 0), 2)
    present = np.roll(before, 2, axis=1)
    motion = np.full((64, 96, 2), (-2.0, 0.0), np.float32)
    assert unexplained(present, before, motion)[:, 4:].mean() < 0.01
    present[20:40, 30:50] = 255 - present[20:40, 30:50]
    assert unexplained(present, before, motion)[20:40, 30:50].mean() > 0.5


def test_both_find_rendered_occlusions_more_often_than_chance() -> None:
    estimator = motion_estimator("dis-fine")
    failed = {"back": [], "grey": []}
    hidden, before = [], None
    for frame in render_street(StreetOptions(size_hw=(240, 320), seed=4, camera="walking", effects=NO_EFFECTS), 8):
        grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        if before is not None:
            motion, back = estimator(grey, before), estimator(before, grey)
            failed["back"].append(inconsistent(motion, back))
            failed["grey"].append(unexplained(grey, before, motion))
            hidden.append(frame.occluded)
        before = grey
    truth = np.stack(hidden)
    for masks in failed.values():
        mask = np.stack(masks)
        assert mask[truth].mean() > 1.5 * mask[~truth].mean()
