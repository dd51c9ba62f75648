"""Several cameras on one machine: each has its own results and its own troubles."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from live_feed import PATIENCE_S, Feed

from edge_vseg import Fleet, OpenOptions, PipelineOptions, Segmenter
from edge_vseg.errors import OptionError, SessionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.pipeline import FleetCamera
from edge_vseg.scheduling import assembly
from edge_vseg.scheduling.policies import Async, Deadline
from edge_vseg.scheduling.shared_background import SharedBackground

PICTURES = {
    name: np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    for seed, name in enumerate(("front", "rear"))
}


@pytest.fixture
def feeds() -> dict[str, Feed]:
    return {name: Feed() for name in PICTURES}


def open_fleet(bundle: Path, cameras: dict, **more: object) -> Fleet:
    return Fleet.open(bundle, cameras, runtime="reference", policy=Async(motion=""), **more)  # type: ignore[arg-type]


def test_every_camera_gets_results_of_its_own_frames(bundle: Path, feeds: dict[str, Feed]) -> None:
    with Segmenter.open(bundle, runtime="reference") as plain:
        expected = {name: plain(picture).labels for name, picture in PICTURES.items()}
    with open_fleet(bundle, feeds) as fleet:
        for _ in range(6):
            for name, feed in feeds.items():
                seq = feed.put(image=PICTURES[name])
                result = fleet[name].wait(seq - 1, timeout_ms=PATIENCE_S * 1e3, max_age_ms=1e9)
                assert np.array_equal(result.labels, expected[name])
        assert list(fleet) == ["front", "rear"]
        assert len(fleet) == 2
        assert all(pipeline.counts.delivered == 6 for pipeline in fleet.pipelines.values())


def test_a_camera_that_fails_leaves_the_other_alone(bundle: Path, feeds: dict[str, Feed]) -> None:
    with open_fleet(bundle, feeds) as fleet:
        for name, feed in feeds.items():
            feed.put(image=PICTURES[name])
            fleet[name].wait(-1, timeout_ms=PATIENCE_S * 1e3, max_age_ms=1e9)
        feeds["rear"].end(VideoDecodeError("the cable came off"))
        while fleet["rear"].active:
            threading.Event().wait(0.01)
        seq = feeds["front"].put(image=PICTURES["front"])
        assert fleet["front"].wait(seq - 1, timeout_ms=PATIENCE_S * 1e3, max_age_ms=1e9).seq == seq
        assert fleet.health.state == "failed"
        assert fleet.health.reason.startswith("rear: ")
        assert "the cable came off" in fleet.health.reason


def test_a_camera_that_cannot_be_opened_closes_the_others(bundle: Path, feeds: dict[str, Feed]) -> None:
    before = threading.active_count()
    with pytest.raises(VideoNotFoundError):
        open_fleet(bundle, {"front": feeds["front"], "rear": "missing.mp4"})
    assert list(feeds["front"]) == []
    deadline = threading.Event()
    for _ in range(200):
        if threading.active_count() <= before:
            break
        deadline.wait(0.05)
    assert threading.active_count() <= before


def test_cameras_have_weights_and_bundles_of_their_own(bundle: Path, feeds: dict[str, Feed]) -> None:
    cameras = {"front": FleetCamera(source=feeds["front"], weight=3.0), "rear": FleetCamera(source=feeds["rear"])}
    with open_fleet("missing.evseg", {n: FleetCamera(source=c.source, bundle=bundle) for n, c in cameras.items()}) as f:  # type: ignore[arg-type]
        assert "front" in repr(f)
        with pytest.raises(OptionError, match="no camera 'side'; there are front, rear"):
            f["side"]


def test_a_segmenter_that_cannot_be_opened_leaves_the_one_before_its_place(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise SessionError("no memory for a slice")

    shared = SharedBackground()
    options = OpenOptions(background=shared.join())
    with Segmenter.open(bundle, runtime="reference", policy=Async(motion=""), options=options):
        holders = shared.cameras
        monkeypatch.setattr(assembly, "_warm_up", fails)
        with pytest.raises(SessionError, match="no memory"):
            Segmenter.open(bundle, runtime="reference", policy=Deadline(milliseconds=10.0), options=options)
        assert shared.cameras == holders
    assert shared.cameras == []


def test_what_makes_no_fleet_is_refused(bundle: Path, feeds: dict[str, Feed]) -> None:
    with pytest.raises(OptionError, match="a camera or more, by name"):
        open_fleet(bundle, [Feed(), Feed()])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="a camera or more"):
        open_fleet(bundle, {})
    own = PipelineOptions(segmenter=OpenOptions(background=SharedBackground().join()))
    with pytest.raises(OptionError, match=r"give PipelineOptions\(segmenter=OpenOptions"):
        open_fleet(bundle, feeds, options=OpenOptions())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="makes the background lane"):
        open_fleet(bundle, feeds, options=own)
    with pytest.raises(OptionError, match="must be positive"):
        open_fleet(bundle, {"front": FleetCamera(source=feeds["front"], weight=0)})
