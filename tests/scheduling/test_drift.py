"""The default drift against labels of a rendered street that were really carried."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import mannwhitneyu

from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.motion.label_warp import LabelWarper
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.observation import MotionObserver
from edge_vseg.scheduling.state import MotionStep, Origin, Track

SIZE = (240, 320)


def test_the_default_ranks_wrong_cells_and_speed_does_not() -> None:
    observer, warper = MotionObserver(SIZE, (60, 80)), LabelWarper(SIZE)
    models = {"default": DriftModel(), "speed": DriftModel(speed=0.2, spread=0.2, unexplained=0.0, changed=0.0)}
    tracks = {name: Track.begin(Origin(frame=0, capture_ns=0), observer.statistics_hw) for name in models}
    drifts, wrong, first = {name: [] for name in models}, [], None
    for frame in render_street(StreetOptions(size_hw=SIZE, seed=12, camera="driving"), 7):
        observation = observer(frame.image, "dis-fine")
        if observation is None:
            first = frame.labels
            continue
        for name, track in tracks.items():
            added = models[name].step(observation.statistics)
            track.extend(MotionStep.of(observation.motion, observation.coarse, added), Origin(frame=1, capture_ns=1))
            drifts[name].append(track.drift.ravel())
        missed = (warper(first, tracks["default"].motion) != frame.labels).astype(np.float32)
        share = cv2.resize(missed, observer.statistics_hw[::-1], interpolation=cv2.INTER_AREA)
        wrong.append(share.ravel() > 0.25)
    at = np.concatenate(wrong)
    assert 50 < at.sum() < 0.2 * at.size
    area = {}
    for name, planes in drifts.items():
        drift = np.concatenate(planes)
        area[name] = mannwhitneyu(drift[at], drift[~at]).statistic / (at.sum() * (~at).sum())
    assert area["default"] > 0.75
    assert area["default"] > area["speed"] + 0.1
