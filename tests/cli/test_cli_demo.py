"""``edge-vseg demo``: everything from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_vseg import open_bundle, open_source
from edge_vseg.analysis.percentiles import LatencySummary
from edge_vseg.calibration import sample_frames
from edge_vseg.export.reference.demo import DemoResult, LiveComparison
from edge_vseg.export.reference.demo.live_score import LiveScore
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import shipped
from edge_vseg.video import VideoWriter

pytestmark = pytest.mark.usefixtures("warm_converter")

Cli = Callable[..., Any]


@pytest.fixture
def small_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the live street small and exported once, the calibration street short, and what is taken of it few."""
    demo = "edge_vseg.export.reference.demo"
    monkeypatch.setattr(f"{demo}.input_size.MAX_PIXELS", 70_000)
    monkeypatch.setattr(f"{demo}.slow_network.MAX_EXPORTS", 1)
    monkeypatch.setattr(f"{demo}.demo_pipeline.CALIBRATION_FRAMES", 40)
    monkeypatch.setattr(
        f"{demo}.demo_pipeline.sample_frames",
        lambda videos, **_: sample_frames(videos, calibration=8, validation=6, seed=0),
    )


@pytest.mark.slow
@pytest.mark.usefixtures("small_inputs")
def test_rendered_street(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "demo"
    shown = cli("demo", folder, "--network", "small", "--runtimes", "onnxruntime", "--frames", 12, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert tree["frames"] == 12
    scores = {row["precision"]: row for row in tree["scores"]}
    assert set(scores) == {"int8", "float"}
    assert scores["int8"]["agreement"] > 0.97
    assert scores["int8"]["miou"] == pytest.approx(scores["float"]["miou"], abs=0.03)
    assert scores["float"]["miou"] > 0.4, "the shipped network knows the rendered streets"
    assert [label.name for label in open_bundle(tree["bundle"]).manifest.labels][:2] == ["sky", "building"]
    assert "deadline engine" in Path(tree["report"]).read_text(encoding="utf-8")
    assert cv2.imread(tree["picture"]).shape[1] == 1200
    live = tree["live"]
    assert [run["name"] for run in live["runs"]] == ["every other frame dropped", "deadline engine"]
    assert live["every_frame_miou"] > 0.3
    assert all(0 < run["streaming_miou"] < 1 and 0 <= run["misses"] <= 1 for run in live["runs"])
    assert live["frames"] == 12
    manifest = open_bundle(live["bundle"]).manifest
    assert [variant.id for variant in manifest.variants] == [live["variant"]]
    assert list(manifest.frame.size_hw) == live["size_hw"]
    with open_source(tree["overlay"], strict=True) as source:
        pictures = [frame.image for frame in source]
    height, width = live["size_hw"]
    assert [picture.shape for picture in pictures] == [(height, 2 * width, 3)] * 12
    again = cli("demo", folder, "--network", "small")
    assert again.code == 1
    assert "--force" in again.err


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.usefixtures("small_inputs")
def test_own_video_has_no_ground_truth(cli: Cli, tmp_path: Path) -> None:
    video = tmp_path / "mine.mp4"
    with VideoWriter(video, 10.0, (120, 160)) as writer:
        for frame in render_street(StreetOptions(size_hw=(120, 160), rate=10.0, seed=5), 30):
            writer.write(frame.image)
    arguments = ("--video", video, "--network", "small", "--runtimes", "onnxruntime", "--frames", 6)
    shown = cli("demo", tmp_path / "demo", *arguments)
    assert shown.code == 0, shown.err
    assert "no truth" in shown.out
    assert "live at 10 frames per second:" in shown.out
    assert shown.out.count("streaming mIoU against every frame") == 2
    with open_source(tmp_path / "demo/overlay.mp4") as source:
        assert [frame.image.shape for frame in source] == [(120, 320, 3)] * 6


def live_score(name: str, miou: float, p99: float, misses: float) -> LiveScore:
    latency = LatencySummary(mean=1.0, p50=1.0, p95=1.0, p99=p99, max=p99)
    return LiveScore(name=name, streaming_miou=miou, latency=latency, misses=misses, dropped=0.0, age_ms=90.0)


def test_both_live_runs_have_a_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveComparison(
        bundle=tmp_path / "live.evseg",
        variant="onnxruntime/int8",
        threads=1,
        size_hw=(640, 864),
        rate=60.0,
        wanted_rate=30.0,
        frames=100,
        network_ms=33.4,
        periods=2.004,
        deadline_ms=7.5,
        labelled=True,
        every_frame_miou=0.63,
        runs=(
            live_score("every other frame dropped", 0.511, 71.26, 1.0),
            live_score("deadline engine", 0.6, 6.0, 0.02),
        ),
    )
    result = DemoResult(
        bundle=tmp_path / "street.evseg",
        overlay=tmp_path / "overlay.mp4",
        picture=tmp_path / "picture.png",
        report=tmp_path / "report.html",
        frames=100,
        scores=(),
        live=live,
    )
    monkeypatch.setattr("edge_vseg.export.reference.demo.run_demo", lambda *arguments: result)
    shown = cli("demo", tmp_path / "demo")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert "every other frame dropped  streaming mIoU 51.10%, p99 71.3 ms, misses 100.0%" in lines
    assert "deadline engine            streaming mIoU 60.00%, p99 6.0 ms, misses 2.0%" in lines
    assert any("60 frames per second, because no size is right for 30" in line for line in lines)
    tree = cli("demo", tmp_path / "demo", "--json").json()
    assert tree["live"]["bundle"] == str(tmp_path / "live.evseg")
    assert tree["live"]["runs"][1]["latency"]["p99"] == 6.0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--network", "huge"), "small"),
        (("--video", "missing.mp4"), "missing.mp4"),
        (("--runtimes", "caffe"), "onnxruntime"),
    ],
    ids=["network", "video", "runtime"],
)
def test_invalid_options_write_nothing(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    shown = cli("demo", tmp_path / "demo", *arguments)
    assert shown.code == 1
    assert word in shown.err
    assert not (tmp_path / "demo").exists()


def test_json_has_the_error_kind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    shown = cli("demo", tmp_path, "--json")
    assert shown.code == 1
    assert shown.json()["error"]["kind"] == "OptionError"


def test_both_demo_networks_are_shipped() -> None:
    assert {"small", "middle"} <= set(shipped())
