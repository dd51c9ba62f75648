"""What all metrics share: they are light to import, refuse what cannot be right, and count nothing of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vseg.analysis import metrics
from edge_vseg.analysis.metrics import (
    BoundaryF,
    ByDistance,
    Confusion,
    StreamingMiou,
    TemporalConsistency,
    VideoConsistency,
)
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID

SIZE_HW = (6, 8)
RNG = np.random.default_rng(0)
TRUTH, LABELS = RNG.integers(0, 3, (2, *SIZE_HW), np.uint8)
MOTION = np.full((*SIZE_HW, 2), 0.2, np.float32)
WRONG_ID = LABELS.copy()
WRONG_ID[2, 3] = 3
NO_ID = LABELS.copy()
NO_ID[2, 3] = IGNORE_ID
LARGER = np.zeros((6, 9), np.uint8)
NAN_MOTION = MOTION.copy()
NAN_MOTION[1, 1, 0] = np.nan


def test_exports() -> None:
    assert metrics.__all__ == [
        "BoundaryF",
        "ByDistance",
        "Confusion",
        "StreamingMiou",
        "TemporalConsistency",
        "VideoConsistency",
        "sqnr_db",
    ]
    assert [name for name in metrics.__all__ if not hasattr(metrics, name)] == []


def test_import_is_light() -> None:
    code = "import edge_vseg.analysis.metrics, json, sys; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(shown.stdout)}
    assert "cv2" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino", "sklearn", "scipy", "av", "typer", "rich"}


CASES: list[tuple[str, Callable[[], Any], tuple[Any, ...], tuple[Any, ...], str]] = [
    (name, make, good, bad, match)
    for make, good, refused in [
        (
            lambda: Confusion(3),
            (TRUTH, LABELS),
            {
                "shapes": ((TRUTH, LARGER), r"\(6, 8\) and \(6, 9\); resize"),
                "class": ((TRUTH, WRONG_ID), "below 3, got 3; do the maps"),
                "true class": ((WRONG_ID, LABELS), "below 3, got 3; do the maps"),
                "no class": ((TRUTH, NO_ID), "below 3, got 255, which means no class"),
                "dtype": ((TRUTH, LABELS.astype(np.int64)), r"labels: .* got \(6, 8\) int64; give .* astype"),
                "batch": ((TRUTH[None], LABELS[None]), r"truth: .* got \(1, 6, 8\) uint8; give one frame"),
                "no pixels": ((TRUTH[:0], LABELS[:0]), r"got \(0, 8\) uint8"),
                "list": ((TRUTH.tolist(), LABELS), "got list; use numpy.asarray"),
            },
        ),
        (
            lambda: BoundaryF(3, 0.2),
            (TRUTH, LABELS),
            {
                "shapes": ((TRUTH, LARGER), r"\(6, 8\) and \(6, 9\); resize"),
                "class": ((TRUTH, WRONG_ID), "below 3, got 3; do the maps"),
                "true class": ((WRONG_ID, LABELS), "below 3, got 3; do the maps"),
                "no class": ((TRUTH, NO_ID), "below 3, got 255, which means no class"),
            },
        ),
        (
            lambda: TemporalConsistency(3),
            (LABELS, MOTION, None, TRUTH),
            {
                "class": ((WRONG_ID, MOTION), "labels: expected class ids below 3, got 3"),
                "true class": ((LABELS, MOTION, None, WRONG_ID), "truth: expected class ids below 3, got 3"),
                "shapes": ((LABELS, MOTION, None, LARGER), r"\(6, 9\) and \(6, 8\)"),
                "dtype": ((LABELS.astype(np.int8), MOTION), "labels: .* int8"),
                "size without a cut": (
                    (LARGER, np.zeros((6, 9, 2), np.float32)),
                    r"expected maps of \(6, 8\) .* got \(6, 9\); .* motion=None",
                ),
                "size of the motion": ((LABELS, MOTION[:3, :4]), r"motion: expected \(6, 8, 2\) .*resize_field"),
                "planes of motion": ((LABELS, np.moveaxis(MOTION, -1, 0)), r"got \(2, 6, 8\) float32"),
                "whole pixels": ((LABELS, MOTION.astype(np.int16)), "got .* int16"),
                "unknown motion": ((LABELS, NAN_MOTION), "NaN or infinity; .* visible to false"),
                "mask of bytes": ((LABELS, MOTION, np.ones(SIZE_HW, np.uint8)), r"visible: expected \(6, 8\) bool"),
                "size of the mask": ((LABELS, MOTION, np.ones((6, 9), np.bool_)), r"visible: .* got \(6, 9\) bool"),
            },
        ),
        (
            lambda: VideoConsistency((2, 3)),
            (TRUTH, LABELS),
            {
                "shapes": ((TRUTH, LARGER), r"\(6, 8\) and \(6, 9\); resize"),
                "size without a cut": ((LARGER, LARGER), r"expected maps of \(6, 8\) .* got \(6, 9\); .* cut\(\)"),
                "dtype": ((TRUTH, LABELS.astype(np.float32)), "labels: .* float32"),
            },
        ),
        (
            lambda: StreamingMiou(3, 10.0),
            (TRUTH, LABELS, 130.0),
            {
                "shapes": ((TRUTH, LARGER, 1.0), r"\(6, 8\) and \(6, 9\); resize"),
                "size without a cut": ((LARGER, LARGER, 1.0), r"expected maps of \(6, 8\) .* got \(6, 9\); .* cut\(\)"),
                "class": ((TRUTH, WRONG_ID, 1.0), "labels: expected class ids below 3, got 3"),
                "true class": ((WRONG_ID, LABELS, 1.0), "truth: expected class ids below 3, got 3"),
                "negative latency": ((TRUTH, LABELS, -0.1), r"not negative, got -0\.1; give end minus start"),
                "endless latency": ((TRUTH, LABELS, np.inf), "finite .* got inf"),
                "unknown latency": ((TRUTH, LABELS, np.nan), "finite .* got nan"),
            },
        ),
        (
            lambda: ByDistance(3, 5),
            (TRUTH, LABELS, 2),
            {
                "shapes": ((TRUTH, LARGER, 2), r"\(6, 8\) and \(6, 9\); resize"),
                "class, new distance": ((TRUTH, WRONG_ID, 4), "below 3, got 3"),
                "class, known distance": ((TRUTH, WRONG_ID, 2), "below 3, got 3"),
                "negative distance": ((TRUTH, LABELS, -1), "0 frames or more, got -1; a keyframe has 0"),
                "half a frame": ((TRUTH, LABELS, 1.5), r"int of 0 frames or more, got 1\.5"),
                "truth value": ((TRUTH, LABELS, True), "int of 0 frames or more, got True"),
            },
        ),
    ]
    for name, (bad, match) in refused.items()
]


def seen(metric: Any) -> dict[str, Any]:
    """All that it says."""
    names = [name for name, value in vars(type(metric)).items() if isinstance(value, property)]
    return {name: getattr(metric, name) for name in names}


@pytest.mark.parametrize(
    ("make", "good", "bad", "match"),
    [case[1:] for case in CASES],
    ids=[f"{type(case[1]()).__name__}-{case[0]}" for case in CASES],
)
def test_refused_calls_count_nothing(
    make: Callable[[], Any], good: tuple[Any, ...], bad: tuple[Any, ...], match: str
) -> None:
    """Neither at once nor later: a metric that refused a call goes on as one that never got it."""
    metric, untouched = make(), make()
    for _ in range(3):
        metric.add(*good)
        untouched.add(*good)
        with pytest.raises(OptionError, match=match):
            metric.add(*bad)
        np.testing.assert_equal(seen(metric), seen(untouched))
    assert str(seen(metric)) != str(seen(make()))


@pytest.mark.parametrize("classes", [0, -1, 256, 3.0, True], ids=repr)
@pytest.mark.parametrize(
    "make",
    [Confusion, BoundaryF, TemporalConsistency, ByDistance, lambda classes: StreamingMiou(classes, 15.0)],
    ids=["Confusion", "BoundaryF", "TemporalConsistency", "ByDistance", "StreamingMiou"],
)
def test_impossible_numbers_of_classes(make: Callable[[Any], object], classes: object) -> None:
    with pytest.raises(OptionError, match=f"classes must be an int from 1 to 255, got {classes!r}; give"):
        make(classes)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: BoundaryF(3, 0.0), r"above 0 and below 1, got 0\.0; 0\.0075 is usual"),
        (lambda: BoundaryF(3, 4), "above 0 and below 1, got 4; .* divide pixels by the diagonal"),
        (lambda: BoundaryF(3, float("nan")), "got nan"),
        (lambda: VideoConsistency(()), r"got \(\); \(8, 16\) is usual"),
        (lambda: VideoConsistency((1, 8)), r"ints from 2 to 65535 frames; got \(1, 8\)"),
        (lambda: VideoConsistency((8.0,)), r"got \(8\.0,\)"),
        (lambda: VideoConsistency((70_000,)), "got .70000,"),
        (lambda: StreamingMiou(3, 0), "above 0 frames per second, got 0; 15 or 30 are usual"),
        (lambda: StreamingMiou(3, -5.0), r"got -5\.0"),
        (lambda: StreamingMiou(3, float("inf")), "finite and above 0 .* got inf"),
        (lambda: StreamingMiou(3, float("nan")), "got nan"),
        (lambda: ByDistance(3, 0), "max_distance must be an int of 1 frame or more, got 0; 32"),
        (lambda: ByDistance(3, 2.5), r"got 2\.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_options(make: Callable[[], object], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        make()


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [re.findall(r"import (\w+)", block) for block in blocks] == [
        [name] for name in re.findall(r"^## (\w+)$", page, re.MULTILINE) if name != "Measured"
    ]
    assert {name for block in blocks for name in re.findall(r"import (\w+)", block)} == set(metrics.__all__)
    given = {
        "truth": TRUTH,
        "labels": LABELS,
        "motion": MOTION,
        "visible": np.ones(SIZE_HW, np.bool_),
        "latency_ms": 40.0,
        "distance": 3,
        "float_scores": np.ones((3, 4, 5), np.float32),
        "int8_scores": np.full((3, 4, 5), 1.1, np.float32),
    }
    for block in blocks:
        exec(block, dict(given))
        assert capsys.readouterr().out
