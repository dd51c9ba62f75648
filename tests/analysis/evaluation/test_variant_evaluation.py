"""All graphs of a bundle on the same frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from edge_vseg import Segmenter
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import compare_variants
from edge_vseg.errors import NoFramesError


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(3)]


def test_iou_is_that_of_scikit_learn(reference_bundle: Path, images) -> None:
    rng = np.random.default_rng(1)
    frames, truths, found = [], [], []
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        names = [label.name for label in segmenter.bundle.manifest.labels]
        for image in images:
            labels = segmenter(image).labels
            truth = np.where(rng.random(labels.shape) < 0.3, (labels + 1) % len(names), labels).astype(np.uint8)
            truth[:4] = 255
            frames.append(LabelledFrame(image=image, labels=truth))
            truths.append(truth[4:])
            found.append(labels[4:])
    told = []
    (score,) = compare_variants(reference_bundle, frames, progress=lambda *step: told.append(step))
    expected = jaccard_score(np.ravel(truths), np.ravel(found), average=None, labels=range(len(names)))
    assert score.iou == pytest.approx(dict(zip(names, expected, strict=True)))
    assert score.miou == pytest.approx(np.mean(expected))
    assert (score.variant, score.precision, score.speed_up, score.agreement) == ("reference/float", "float", None, None)
    assert 0 < score.infer_ms <= score.total_ms
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_without_truth_there_is_no_miou(reference_bundle: Path, images) -> None:
    frames = [LabelledFrame(image=image, labels=np.full((48, 64), 255, np.uint8)) for image in images]
    (score,) = compare_variants(reference_bundle, frames)
    assert (score.miou, score.iou) == (None, {})


def test_without_frames_there_is_an_error(reference_bundle: Path) -> None:
    with pytest.raises(NoFramesError, match="no frames"):
        compare_variants(reference_bundle, [])
