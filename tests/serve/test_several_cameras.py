"""One server over several cameras: each has answers, metrics and a schedule of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest
from browser import open_browser
from prometheus_client.parser import text_string_to_metric_families
from running_server import PageClient, RunningServer
from test_pages import StoppedCamera, eventually

from edge_vseg import Deadline, open_source
from edge_vseg.cli.serve_sources import name_sources
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.serve import play_repeatedly

Start = Callable[..., RunningServer]
RED, BLACK = np.full((48, 64, 3), (0, 0, 255), np.uint8), np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def two(start: Start) -> RunningServer:
    """Two cameras that show something else."""
    return start(
        cameras={"front": lambda policy: StoppedCamera(RED), "rear": lambda policy: StoppedCamera(BLACK)},
        max_age_ms=60_000,
    )


def test_every_answer_is_about_the_camera_that_was_asked_for(two: RunningServer) -> None:
    eventually(lambda: all(live.counts.delivered for live in two.cameras.values()))
    classes = {}
    for name in ("front", "rear"):
        classes[name] = two.ask(f"/api/pixel?x=0.5&y=0.5&camera={name}").json["class"]
        picture = cv2.imdecode(np.frombuffer(two.ask(f"/latest.png?camera={name}&view=camera").body, np.uint8), 1)
        assert (picture[24, 32, 2] > 128) == (name == "front")
    assert classes == {"front": "red", "rear": "green"}


def test_who_does_not_say_which_camera_is_told_which_there_are(two: RunningServer) -> None:
    for path in ("/latest.png", "/api/state", "/api/server", "/api/pixel?x=0.5&y=0.5", "/stream"):
        answer = two.ask(path)
        assert answer.status == 400
        assert "front, rear" in answer.json["error"]
    answer = two.ask("/latest.png?camera=left")
    assert answer.status == 404
    assert "front, rear" in answer.json["error"]
    body = {"policy": "fixed"}
    assert two.ask("/api/schedule", method="POST", body=body).status == 400


def test_health_is_that_of_the_camera_that_is_worst_off(start: Start, clip: Path) -> None:
    server = start(
        cameras={
            "front": lambda policy: play_repeatedly(lambda: open_source(clip)),
            "rear": lambda policy: StoppedCamera(BLACK),
        },
        policy=Fixed(period_frames=2),
    )
    # Before its one frame the camera behind is stale, too.
    eventually(lambda: all(live.counts.delivered for live in server.cameras.values()))
    eventually(lambda: server.ask("/health?camera=rear").status == 503)
    eventually(lambda: server.ask("/health?camera=front").status == 200)
    eventually(lambda: server.ask("/health").json["camera"] == "rear")
    answer = server.ask("/health")
    assert (answer.status, answer.json["state"]) == (503, "stale")
    assert set(answer.json["cameras"]) == {"front", "rear"}
    assert {each["name"]: each["state"] == "stale" for each in server.ask("/api/cameras").json}["rear"]


def test_metrics_are_told_by_camera(two: RunningServer) -> None:
    eventually(lambda: all(live.counts.delivered for live in two.cameras.values()))
    families = {each.name: each for each in text_string_to_metric_families(two.ask("/metrics").body.decode())}
    delivered = [s for s in families["edge_vseg_frames"].samples if s.labels["fate"] == "delivered"]
    assert {sample.labels["camera"]: sample.value for sample in delivered} == {"front": 1, "rear": 1}
    infos = families["edge_vseg_pipeline_info"].samples
    assert [sample.labels["camera"] for sample in infos] == ["front", "rear"]


def test_a_schedule_is_changed_for_one_camera_and_the_others_go_on(start: Start, clip: Path) -> None:
    opened: list[str] = []

    def repeat(name: str) -> Callable[[object], object]:
        def open_frames(policy: object) -> object:
            opened.append(name)
            return play_repeatedly(lambda: open_source(clip))

        return open_frames

    server = start(cameras={"front": repeat("front"), "rear": repeat("rear")}, policy=Deadline(milliseconds=30))
    eventually(lambda: all(live.counts.delivered > 3 for live in server.cameras.values()))
    answer = server.ask("/api/schedule?camera=rear", method="POST", body={"policy": "async"})
    assert answer.status == 200, answer.body
    assert opened == ["front", "rear", "rear"]
    policies = {name: live.policy.name for name, live in server.cameras.items()}  # type: ignore[union-attr]
    assert policies == {"front": "deadline", "rear": "async"}
    before = {name: live.counts.delivered for name, live in server.cameras.items()}
    eventually(lambda: all(live.counts.delivered > before[name] + 3 for name, live in server.cameras.items()))
    for live in server.cameras.values():
        counts = live.counts
        assert counts.captured == counts.delivered + counts.dropped + counts.failed + counts.in_flight


def test_a_page_hears_of_the_other_cameras(two: RunningServer) -> None:
    eventually(lambda: all(live.counts.delivered for live in two.cameras.values()))

    async def look() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(two.url + "stream?camera=rear") as socket:
            page = PageClient(socket)
            await page.look("camera")
            _, data = await page.picture()
            assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[24, 32].max() < 64
            assert set((await page.state())["cameras"]) == {"front", "rear"}

    asyncio.run(look())


def test_the_page_changes_from_one_camera_to_another(start: Start, clip: Path, tmp_path: Path) -> None:
    def repeat(policy: object) -> object:
        return play_repeatedly(lambda: open_source(clip))

    cameras = {"front": repeat, "left": repeat, "rear": lambda policy: StoppedCamera(RED)}
    server = start(cameras=cameras, policy=Deadline(milliseconds=30), max_age_ms=None)
    shots = Path(os.environ.get("EDGE_VSEG_SCREENSHOTS", tmp_path))

    async def use() -> None:
        async with open_browser(server.url) as browser:
            await browser.resize(1280, 900)
            await browser.until("document.getElementById('picture').dataset.number")
            assert await browser.value("document.querySelectorAll('#cameras button').length") == 3
            assert await browser.value("cameras.name") == "front"
            await browser.until("document.querySelector('#cameras [data-camera=rear] .dot').className === 'dot stale'")
            await browser.screenshot(shots / "cameras.png")
            await browser.value("document.querySelector('[data-camera=rear]').click()")
            await browser.until(
                "cameras.name === 'rear' && document.getElementById('veil-title').textContent === 'Stale'"
            )
            await browser.until("page.header && page.header.seq === 7")
            assert await browser.value("location.hash") == "#rear"
            await browser.resize(390, 844, dark=True)
            await browser.value("document.querySelector('[data-camera=left]').click()")
            await browser.until("page.header && page.header.seq !== 7")
            await browser.until("document.getElementById('source').textContent.includes('clip')")
            assert await browser.value("document.documentElement.scrollWidth") <= 390, "nothing sticks out on a phone"
            await browser.screenshot(shots / "cameras-phone.png")
            assert browser.problems == []

    asyncio.run(use())


def test_sources_get_names_and_weights() -> None:
    named = name_sources(None, ["front=rtsp://camera/a?x=1", "rtsp://user:pass=word@camera/b"], ["front=2.5"])
    assert [(each.name, each.address, each.weight) for each in named] == [
        ("front", "rtsp://camera/a?x=1", 2.5),
        ("camera2", "rtsp://user:pass=word@camera/b", 1.0),
    ]
    assert [each.name for each in name_sources("0", [], [])] == ["camera"]
    assert [each.name for each in name_sources("0", ["1"], [])] == ["camera1", "camera2"]


@pytest.mark.parametrize(
    ("others", "weights", "wrong"),
    [
        ([], [], "no source"),
        (["a=0", "a=1"], [], "two sources are called 'a'"),
        (["a=0", "b=1"], ["c=1"], "'c', but the sources are a, b"),
        (["a=0", "b=1"], ["a=heavy"], "NAME=WEIGHT"),
        (["a=0", "b=1"], ["a=0"], "positive"),
    ],
)
def test_sources_that_make_no_sense_are_refused(others: list[str], weights: list[str], wrong: str) -> None:
    with pytest.raises(OptionError, match=wrong):
        name_sources(None, others, weights)
