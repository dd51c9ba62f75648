"""What the server answers, over a real pipeline."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from reference_bundle import Recipe, expected_labels, write_bundle
from running_server import PATIENCE_S, Answer, PageClient, RunningServer

from edge_vseg import Frame, open_source
from edge_vseg.cli.options import needs_codec_motion
from edge_vseg.scheduling.policies import Fixed, Policy
from edge_vseg.serve.pictures import VIEWS
from edge_vseg.video import Source

Start = Callable[..., RunningServer]


class StoppedCamera(Source):
    """Gives one frame, and then nothing until it is closed."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__(name="camera")
        self._image: np.ndarray | None = image
        self._released = False

    @property
    def fps(self) -> float | None:
        return 30.0

    @property
    def is_live(self) -> bool:
        return True

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        image, self._image = self._image, None
        if image is not None:
            return Frame(image=image, seq=7, capture_ns=time.monotonic_ns())
        while not self._released:
            time.sleep(0.01)
        return None

    def _release(self) -> None:
        self._released = True


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def decode(png: bytes, how: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), how)


def test_latest_png_has_the_ids_of_the_newest_map(start: Start) -> None:
    image = np.random.default_rng(11).integers(0, 256, (48, 64, 3), np.uint8)
    server = start(open_frames=lambda policy: StoppedCamera(image), max_age_ms=60_000)
    eventually(lambda: server.live.counts.delivered > 0)
    answer = server.ask("/latest.png")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-seq"] == "7"
    assert 0 < float(answer.headers["x-age-ms"]) < 60_000
    np.testing.assert_array_equal(decode(answer.body), expected_labels(image))


def test_a_stale_map_is_not_handed_out_and_health_says_503(start: Start) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    server = start(open_frames=lambda policy: StoppedCamera(image))
    eventually(lambda: server.live.health.age_ms > 1000 and server.live.recorder.newest is not None)
    answer = server.ask("/latest.png")
    assert answer.status == 503
    assert "old" in answer.json["error"]
    health = server.ask("/health")
    assert health.status == 503
    assert health.json["state"] == "stale"
    assert "camera" in health.json["reason"]


def test_health_is_200_while_results_come(start: Start) -> None:
    server = start(max_age_ms=60_000)
    eventually(lambda: server.ask("/health").status == 200)
    assert server.ask("/health").json["state"] in ("ok", "degraded")


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_images_of_the_frame(start: Start, view: str) -> None:
    server = start(max_age_ms=60_000)
    eventually(lambda: server.live.counts.delivered > 0)
    answer = server.ask(f"/latest.png?view={view}")
    assert answer.status == 200, answer.body
    assert decode(answer.body).shape == (48, 64, 3)


def test_a_view_that_does_not_exist(start: Start) -> None:
    answer = start().ask("/latest.png?view=depth")
    assert answer.status == 400
    assert "overlay" in answer.json["error"]


def test_metrics_are_read_by_prometheus_and_agree_with_the_pipeline(start: Start) -> None:
    server = start(policy=Fixed(period_frames=2))
    eventually(lambda: server.live.counts.delivered > 5)
    before = server.live.counts
    answer = server.ask("/metrics")
    after = server.live.counts
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    fates = {sample.labels["fate"]: sample.value for sample in families["edge_vseg_frames"].samples}
    for fate in ("captured", "delivered", "dropped", "failed"):
        assert getattr(before, fate) <= fates[fate] <= getattr(after, fate)
    in_flight = families["edge_vseg_frames_in_flight"].samples[0].value
    assert fates["captured"] == fates["delivered"] + fates["dropped"] + fates["failed"] + in_flight
    totals = [s for s in families["edge_vseg_latency_seconds"].samples if s.labels["step"] == "total"]
    buckets = [sample.value for sample in totals if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert before.delivered <= buckets[-1] <= after.delivered + 1
    states = {sample.labels["state"]: sample.value for sample in families["edge_vseg_health"].samples}
    assert sum(states.values()) == 1
    assert set(states) == {"ok", "degraded", "stale", "failed"}
    assert families["edge_vseg_pipeline_info"].samples[0].labels["policy"] == "fixed"


def test_a_pixel_has_class_age_and_certainty(start: Start) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (0, 0, 255)  # red on the left, for the red class; the rest is that of the largest bias
    server = start(open_frames=lambda policy: StoppedCamera(image))
    eventually(lambda: server.live.counts.delivered > 0)
    left, right = server.ask("/api/pixel?x=0.1&y=0.5").json, server.ask("/api/pixel?x=0.9&y=0.5").json
    assert (left["class"], right["class"]) == ("red", "green")
    assert left["color"] == [255, 0, 0]
    assert (left["x"], left["y"], left["seq"]) == (6, 24, 7)
    assert left["age_ms"] == 0
    assert left["certainty"] == pytest.approx(1.0, abs=0.01)
    assert left["frame_age_ms"] > 0


@pytest.mark.parametrize("query", ["", "?x=2&y=0", "?x=nan&y=0", "?x=0.5", "?x=0.5&y=0.5&number=a"])
def test_a_pixel_that_does_not_exist(start: Start, query: str) -> None:
    assert start().ask(f"/api/pixel{query}").status == 400


def test_the_schedule_is_changed_while_it_runs(start: Start) -> None:
    server = start()
    eventually(lambda: server.live.counts.delivered > 2)
    before = server.live.counts
    changed = server.ask("/api/schedule", method="POST", body={"policy": "fixed", "parameters": {"period_frames": 3}})
    assert changed.status == 200, changed.body
    state = server.ask("/api/state").json
    assert state["schedule"]["policy"] == "fixed"
    assert state["schedule"]["parameters"]["period_frames"] == 3
    eventually(lambda: server.live.recorder.newest.result.source != "inferred")  # type: ignore[union-attr]
    counts = server.live.counts
    assert counts.delivered > before.delivered
    assert counts.captured == counts.delivered + counts.dropped + counts.failed + counts.in_flight


def test_what_a_change_replaces_is_freed_at_once(start: Start) -> None:
    """It holds sessions and images, and the collector may not come for a long time."""
    server = start()
    eventually(lambda: server.live.counts.delivered > 0)
    pipeline = weakref.ref(server.live._stand.pipeline)
    gc.disable()
    try:
        server.live.change(Fixed(period_frames=3))
        assert pipeline() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"policy": "fastest"}, 400, "known: every-frame"),
        ({"policy": "fixed", "parameters": {"period_frames": 0}}, 400, "period_frames"),
        ({"policy": "fixed", "parameters": {"period": 3}}, 400, "period_frames"),
        ({"policy": "sliced"}, 400, "slice"),
        ({"policy": "deadline", "parameters": {"milliseconds": True}}, 400, "got `bool`"),
        ({"policy": "fixed", "threads": 4}, 400, "threads"),
        (b"{", 400, "truncated"),
        (b'{"policy": "deadline", "parameters": {"milliseconds": NaN}}', 400, "malformed"),
    ],
)
def test_a_schedule_that_cannot_be_leaves_the_old_one(start: Start, body: object, status: int, reason: str) -> None:
    server = start(policy=Fixed(period_frames=2))
    answer = server.ask("/api/schedule", method="POST", body=body)
    assert answer.status == status
    assert reason in answer.json["error"]
    assert server.live.phase == "running"
    done = server.live.counts.delivered
    eventually(lambda: server.live.counts.delivered > done)
    assert server.ask("/api/state").json["schedule"]["policy"] == "fixed"


def test_a_bundle_that_an_update_has_replaced_is_not_shown_under_the_old_names(
    start: Start, plain_bundle: Path, tmp_path: Path
) -> None:
    newer = write_bundle(tmp_path / "newer.evseg", Recipe(bias=np.array([9, 0, 0], np.float32)))
    link = tmp_path / "installed.evseg"
    link.symlink_to(plain_bundle)
    server = start(bundle=link)
    link.unlink()
    link.symlink_to(newer)
    answer = server.ask("/api/schedule", method="POST", body={"policy": "fixed"})
    assert answer.status == 503
    assert "another bundle than the one" in answer.json["error"]
    assert server.live.phase == "running"
    done = server.live.counts.delivered
    eventually(lambda: server.live.counts.delivered > done)
    assert server.ask("/api/state").json["schedule"]["policy"] == "every-frame"


def test_a_source_that_cannot_be_opened_again_is_a_failure(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_vseg.errors import VideoNotFoundError
    from edge_vseg.serve import live

    monkeypatch.setattr(live, "OPEN_PAUSE_S", 0.0)
    opened: list[Policy | None] = []

    def open_once(policy: Policy | None) -> Source:
        opened.append(policy)
        if len(opened) > 1:
            raise VideoNotFoundError("there is no camera /dev/video0")
        return StoppedCamera(np.zeros((48, 64, 3), np.uint8))

    server = start(open_frames=open_once)
    answer = server.ask("/api/schedule", method="POST", body={"policy": "fixed"})
    assert answer.status == 503
    assert len(opened) == 1 + live.OPEN_TRIES
    health = server.ask("/health")
    assert (health.status, health.json["state"]) == (503, "failed")
    assert "/dev/video0" in health.json["reason"]


def test_a_source_without_what_the_policy_needs_leaves_the_old_schedule(start: Start) -> None:
    opened: list[str] = []

    def images() -> Iterator[np.ndarray]:
        while True:
            time.sleep(0.01)
            yield np.zeros((48, 64, 3), np.uint8)

    def open_frames(policy: Policy | None) -> Source:
        codec = needs_codec_motion(policy)
        opened.append("codec" if codec else "plain")
        # Images of a program have no motion vectors.
        return open_source(images(), live=True, codec_motion=codec)

    server = start(open_frames=open_frames, policy=Fixed(period_frames=2))
    eventually(lambda: server.live.counts.delivered > 2)
    body = {"policy": "fixed", "parameters": {"period_frames": 3, "motion": "codec"}}
    answer = server.ask("/api/schedule", method="POST", body=body)
    assert answer.status == 400
    assert "motion" in answer.json["error"]
    assert opened == ["plain", "codec", "plain"], "it does not pass by itself, so it is not tried again"
    assert server.live.phase == "running"
    done = server.live.counts.delivered
    eventually(lambda: server.live.counts.delivered > done)
    assert server.live.policy == Fixed(period_frames=2)


def test_while_the_source_is_reopened_the_last_picture_stays_and_is_called_stale(start: Start) -> None:
    may_open, opened = threading.Event(), []

    def open_frames(policy: Policy | None) -> Source:
        if opened:
            assert may_open.wait(PATIENCE_S)
        opened.append(policy)
        return StoppedCamera(np.zeros((48, 64, 3), np.uint8))

    server = start(open_frames=open_frames, max_age_ms=60_000)
    eventually(lambda: server.live.counts.delivered > 0)
    before = server.live.counts
    answers: list[Answer] = []
    body = {"policy": "fixed"}
    changing = threading.Thread(target=lambda: answers.append(server.ask("/api/schedule", method="POST", body=body)))
    changing.start()
    try:
        eventually(lambda: server.live.phase == "reopening")
        health = server.ask("/health")
        assert (health.status, health.json["state"]) == (503, "stale")
        assert "fixed" in health.json["reason"]
        assert server.live.counts.delivered == before.delivered
        assert server.live.counts.in_flight == 0
        assert server.ask("/latest.png").status == 503
        assert server.ask("/api/schedule", method="POST", body=body).status == 409

        async def look() -> None:
            async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as socket:
                page = PageClient(socket)
                await page.look("overlay")
                assert (await page.picture())[0]["seq"] == 7
                assert (await page.state())["phase"] == "reopening"

        asyncio.run(look())
    finally:
        may_open.set()
        changing.join(PATIENCE_S)
    assert answers[0].status == 200
    eventually(lambda: server.live.counts.delivered > before.delivered)
    assert server.live.phase == "running"


def test_pictures_and_states_come_to_a_page(start: Start) -> None:
    server = start(policy=Fixed(period_frames=2))

    async def look() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as socket:
            page = PageClient(socket)
            await page.look("labels")
            numbers = []
            for _ in range(3):
                header, data = await page.picture()
                assert decode(data, cv2.IMREAD_COLOR).shape == (48, 64, 3)
                assert header["view"] == "labels"
                assert 0 < header["age_ms"] <= header["labels_age_ms"] + 1e-6
                numbers.append(header["number"])
            assert numbers == sorted(set(numbers))
            state = await page.state()
            assert state["phase"] == "running"
            while not state["timeline"]["frames"]:  # the first one is sent before any frame is done
                state = await page.state()
            frames = state["timeline"]["frames"]
            assert all(frame["begin"] <= frame["end"] <= 0 for frame in frames)
            await page.look("camera")
            while (await page.picture())[0]["view"] != "camera":
                pass

    asyncio.run(look())


@pytest.mark.parametrize("message", ["{", '{"view": "depth"}', '{"run": "rm"}', '{"shown": "3"}'])
def test_a_page_that_says_something_else_is_dropped(start: Start, message: str) -> None:
    server = start()

    async def say() -> int | None:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as socket:
            await socket.send_str(message)
            async for _ in socket:
                pass
            return socket.close_code

    assert asyncio.run(asyncio.wait_for(say(), PATIENCE_S)) == 1008


def test_credentials_of_the_source_are_never_shown(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_vseg.serve import live

    monkeypatch.setattr(live, "OPEN_PAUSE_S", 0.0)
    opened: list[Policy | None] = []

    def open_frames(policy: Policy | None) -> Source:
        opened.append(policy)
        if len(opened) == 1:
            return StoppedCamera(np.zeros((48, 64, 3), np.uint8))
        return open_source("rtsp://operator:hunter22@127.0.0.1:1/door?key=hunter22")

    server = start(open_frames=open_frames)
    answers = [server.ask("/api/schedule", method="POST", body={"policy": "fixed"})]
    assert answers[0].status == 503
    assert b"127.0.0.1:1/door" in answers[0].body
    answers += [server.ask(path) for path in ("/health", "/api/state", "/api/server", "/metrics", "/latest.png")]
    assert not [answer.body for answer in answers if b"hunter22" in answer.body or b"operator" in answer.body]
