"""A bundle whose context and detail stage share no slice: the engine gives the one an old frame and the other a new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_once import made_once
from sliced_bundle import SIZE_HW, street

from edge_vseg import Segmenter, open_bundle
from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.scheduling.policies import Clockwork, Deadline, Feature
from edge_vseg.types import Frame

SOURCE = """
from edge_vseg.export.reference.zoo import MIDDLE_THIN, pretrained
from edge_vseg.export.reference.zoo.own_stem import with_own_stem

def thin():
    made = with_own_stem(pretrained("middle"), MIDDLE_THIN)
    made.detail.head[-1].weight.data.fill_(5.0)  # so that the details count
    return made
"""


def write_split_bundle(path: Path) -> Path:
    from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
    from edge_vseg.export.reference.zoo import NORMALIZATION

    source = path.with_name("thin.py")
    source.write_text(SOURCE)
    options = ExportOptions(
        size_hw=SIZE_HW, normalization=NORMALIZATION, precisions=("float",), runtimes=("onnxruntime",)
    )
    sample = SampleFrames(calibration=street(1, 2), validation=street(2, 1), spec=CalibrationSpec())
    return export_bundle(f"{source}:thin", path, sample, options).path


@pytest.fixture(scope="session")
def split_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "split.evseg", write_split_bundle)


def frame(number: int, image: np.ndarray) -> Frame:
    return Frame(image=image, seq=number, capture_ns=number * 66_000_000, source_name="here")


def test_details_are_of_this_frame_and_the_context_of_an_older_one(split_bundle: Path, drive) -> None:
    """Against torch. The second frame is so unlike the first that no probabilities are carried into it."""
    from edge_vseg.export.reference.training.inputs import to_input

    first, second = drive[0], drive[0] + np.uint8(128)
    with Segmenter.open(split_bundle, policy=Feature(period_frames=5, motion="still")) as segmenter:
        results = [segmenter(frame(0, first)), segmenter(frame(1, second))]
    assert [result.source for result in results] == ["partial", "partial"]
    made: dict[str, Any] = {}
    exec(SOURCE, made)
    network = made["thin"]()
    now, old = to_input([second]), to_input([first])
    with torch.inference_mode():
        expected, stale, fresh = (
            torch.softmax(network.detail(image, network.context(context))[0], 0).numpy()
            for image, context in ((now, old), (old, old), (now, now))
        )
    given = results[1].probabilities

    def wrong(other: np.ndarray) -> float:
        return float(np.mean(np.abs(given - other).max(0) > 0.01))

    assert wrong(expected) < 0.02
    assert wrong(stale) > 0.2
    assert wrong(fresh) > 0.2


@pytest.mark.parametrize(
    "policy",
    [Feature(period_frames=3), Clockwork(period_frames=2), Deadline(milliseconds=1000.0)],
    ids=lambda p: p.name,
)
def test_on_a_still_picture_every_policy_says_what_the_whole_network_says(split_bundle: Path, drive, policy) -> None:
    with Segmenter.open(split_bundle) as segmenter:
        expected = segmenter(frame(0, drive[0])).labels.copy()
    with Segmenter.open(split_bundle, policy=policy) as segmenter:
        maps = [segmenter(frame(number, drive[0])).labels.copy() for number in range(6)]
    # What is fused enlarges probabilities, plain inference scores: borders move by a pixel.
    assert all(np.mean(labels == expected) > 0.99 for labels in maps)
    assert all(np.mean(labels == maps[1]) > 0.999 for labels in maps[2:])


def test_the_context_begins_with_the_first_slice(split_bundle: Path) -> None:
    (variant,) = open_bundle(split_bundle).manifest.variants
    assert variant.context is not None
    first, end = variant.context
    assert first == 0
    assert [tensor.name for tensor in variant.slices[0].inputs] == [variant.input.name]
    assert variant.input.name in [tensor.name for tensor in variant.slices[end].inputs]
    assert variant.carried[0].hwc == (SIZE_HW[0] // 8, SIZE_HW[1] // 8, 96)
