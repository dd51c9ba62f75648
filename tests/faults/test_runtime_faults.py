"""The real runtimes behind a fault, and two of them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faulty_runtime import FaultPlan
from tiny_fault_bundle import SIZE_HW, faulty, installed_runtimes, write_tiny_bundle

from edge_vseg import Pipeline, PipelineOptions, Segmenter
from edge_vseg.errors import SessionError
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.video.cameras.own import IterableSource

RUNTIMES = installed_runtimes()
IMAGES = [np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3), np.uint8) for seed in range(12)]


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny.evseg", RUNTIMES)


def labels_of(bundle: Path, runtime: str, plan: FaultPlan) -> list[np.ndarray | None]:
    """The label map of each image; ``None`` where it was refused."""
    made: list[np.ndarray | None] = []
    with faulty(runtime, plan) as name, Segmenter.open(bundle, runtime=name, threads=1) as segmenter:
        plan.armed = True
        for image in IMAGES:
            try:
                made.append(segmenter(image).labels)
            except SessionError:
                made.append(None)
    return made


@pytest.mark.parametrize("fault", ["NaN", "-inf", "wrong shape", "runtime error", "output missing"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_fault_spoils_one_frame_and_no_other(runtime: str, fault: str, tiny_bundle: Path) -> None:
    right = labels_of(tiny_bundle, runtime, FaultPlan())
    seen = labels_of(tiny_bundle, runtime, FaultPlan(fault=fault, graph="tiny", run=3))
    assert [number for number, labels in enumerate(seen) if labels is None] == [2]
    for number, labels in enumerate(seen):
        if labels is not None:
            np.testing.assert_array_equal(labels, right[number])


@pytest.mark.skipif(len(RUNTIMES) < 2, reason="needs two runtimes")
def test_two_pipelines_on_two_runtimes_at_once(tiny_bundle: Path) -> None:
    def play(runtime: str) -> None:
        right = labels_of(tiny_bundle, runtime, FaultPlan())
        with faulty(runtime, FaultPlan()) as name:
            images = IMAGES * 20
            options = PipelineOptions(playback="flat-out")
            source = IterableSource(images, name=name)
            with Pipeline.open(
                tiny_bundle, source, runtime=name, policy=Fixed(period_frames=1, motion=""), threads=1, options=options
            ) as pipeline:
                seen = 0
                for result in pipeline:
                    np.testing.assert_array_equal(result.labels, right[result.seq % len(IMAGES)])
                    seen += 1
                assert seen > 0
                assert pipeline.counts.delivered == len(images)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(play, runtime) for runtime in RUNTIMES[:2]]:
            done.result(60)
