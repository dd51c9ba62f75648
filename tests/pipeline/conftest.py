"""A live source that tests feed, and pipelines on the numpy runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_feed import Feed, Watched
from reference_bundle import write_bundle

from edge_vseg import Frame, Pipeline, PipelineOptions, Segmenter
from edge_vseg.pipeline import supervisor
from edge_vseg.scheduling.policies import Policy


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the numpy runtime; leave it as it is."""
    return write_bundle(tmp_path_factory.mktemp("pipeline") / "reference.evseg")


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def start(bundle: Path, feed: Feed) -> Iterator[Callable[..., Pipeline]]:
    """Starts a pipeline over the feed whose segmenters call ``before`` with each frame; closed after the test."""
    started: list[Pipeline] = []

    def begin(
        before: Callable[[Frame], object] = lambda frame: None,
        *,
        policy: Policy | None = None,
        on_open: Callable[[], object] = lambda: None,
        change: Callable[..., object] = lambda result: result,
        **options: object,
    ) -> Pipeline:
        def open_segmenter() -> Watched:
            on_open()
            return Watched(Segmenter.open(bundle, runtime="reference", policy=policy), before, change)

        pipeline = Pipeline(open_segmenter, feed, policy=policy, options=PipelineOptions(**options))  # type: ignore
        started.append(pipeline)
        return pipeline

    yield begin
    for pipeline in started:
        pipeline.close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter is opened again at once."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.001)
