"""Servers on a free port of loopback, over real bundles and videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reference_bundle import write_bundle
from running_server import RunningServer

from edge_vseg import OpenOptions, PipelineOptions, open_source
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.shared_background import SharedBackground
from edge_vseg.serve import LivePipeline, ObservedSegmenter, ServeOptions, Workplace, play_repeatedly
from edge_vseg.video import Source


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the numpy runtime; leave it as it is."""
    return write_bundle(tmp_path_factory.mktemp("serve") / "reference.evseg")


@pytest.fixture
def start(plain_bundle: Path, clip: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts a server over a clip that repeats, or over a source that the test opens; closed after the test."""
    running: list[RunningServer] = []

    def begin(
        *,
        open_frames: Callable[[Policy | None], Source] = lambda policy: play_repeatedly(lambda: open_source(clip)),
        policy: Policy | None = None,
        bundle: Path = plain_bundle,
        runtime: str = "reference",
        max_age_ms: float | None = None,
        cameras: dict[str, Callable[[Policy | None], Source]] | None = None,
        **options: object,
    ) -> RunningServer:
        shared = SharedBackground() if cameras else None

        def make(open_frames: Callable[[Policy | None], Source]) -> LivePipeline:
            rare = OpenOptions(background=shared.join()) if shared else OpenOptions()

            def open_segmenter(wanted: Policy | None) -> ObservedSegmenter:
                return ObservedSegmenter.open(bundle, runtime=runtime, policy=wanted, threads=1, options=rare)  # type: ignore[return-value]

            workplace = Workplace(
                open_segmenter=open_segmenter,
                open_source=open_frames,
                options=PipelineOptions(max_age_ms=max_age_ms),
            )
            return LivePipeline(workplace, policy)

        live = {name: make(each) for name, each in cameras.items()} if cameras else make(open_frames)
        running.append(RunningServer(live, ServeOptions(port=0, **options)))  # type: ignore[arg-type]
        return running[-1]

    yield begin
    for server in running:
        server.close()
