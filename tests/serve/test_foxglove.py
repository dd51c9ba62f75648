"""Foxglove's WebSocket, read by a client of its own and decoded by rosbags."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from running_server import PATIENCE_S, RunningServer
from test_pages import StoppedCamera, eventually

from edge_vseg import open_source
from edge_vseg.errors import BackendMissingError, OptionError
from edge_vseg.scheduling.policies import Fixed
from edge_vseg.serve import FoxgloveBridge, play_repeatedly

pytest.importorskip("foxglove")
Start = Callable[..., RunningServer]
MESSAGE = 1


@pytest.fixture
def bridges() -> Iterator[Callable[[RunningServer], FoxgloveBridge]]:
    made: list[FoxgloveBridge] = []

    def bridge(server: RunningServer) -> FoxgloveBridge:
        made.append(FoxgloveBridge(server.cameras, port=0))
        return made[-1]

    yield bridge
    for each in made:
        each.close()


class App:
    """What Foxglove's app does: hears of channels, subscribes, and takes messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.channels: dict[str, dict[str, Any]] = {}
        self._topics: dict[int, str] = {}

    async def until_advertised(self, *topics: str) -> None:
        while not set(topics) <= set(self.channels):
            await self._receive()

    async def subscribe(self, *topics: str) -> None:
        subscriptions = []
        for number, topic in enumerate(topics, 1):
            self._topics[number] = topic
            subscriptions.append({"id": number, "channelId": self.channels[topic]["id"]})
        await self._socket.send_json({"op": "subscribe", "subscriptions": subscriptions})

    async def messages(self, count: int) -> list[tuple[str, int, bytes]]:
        got: list[tuple[str, int, bytes]] = []
        while len(got) < count:
            data = await self._receive()
            if data is not None and data[0] == MESSAGE:
                number, time_ns = struct.unpack_from("<IQ", data, 1)
                got.append((self._topics[number], time_ns, data[13:]))
        return got

    async def _receive(self) -> bytes | None:
        message = await self._socket.receive(PATIENCE_S)
        if message.type is aiohttp.WSMsgType.BINARY:
            return message.data
        assert message.type is aiohttp.WSMsgType.TEXT, message
        told = json.loads(message.data)
        if told["op"] == "advertise":
            self.channels |= {channel["topic"]: channel for channel in told["channels"]}
        return None


def watch(bridge: FoxgloveBridge, use: Callable[[App], Any]) -> Any:
    async def connect() -> Any:
        address = f"ws://127.0.0.1:{bridge.port}"
        protocols = ("foxglove.sdk.v1",)
        async with aiohttp.ClientSession() as session, session.ws_connect(address, protocols=protocols) as socket:
            return await use(App(socket))

    return asyncio.run(asyncio.wait_for(connect(), 2 * PATIENCE_S))


def decode(channel: dict[str, Any], data: bytes) -> Any:
    """By the schema that the channel itself gives."""
    assert (channel["encoding"], channel["schemaEncoding"]) == ("cdr", "ros2msg")
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(channel["schema"], channel["schemaName"]))
    return store.deserialize_cdr(data, channel["schemaName"])


def test_the_app_gets_labels_pictures_classes_and_diagnostics(start: Start, clip: Path, bridges: Any) -> None:
    server = start(policy=Fixed(period_frames=2))
    eventually(lambda: server.live.counts.delivered > 0)
    wanted = ("/edge_vseg/labels", "/edge_vseg/overlay/compressed", "/edge_vseg/label_info", "/diagnostics")

    async def use(app: App) -> dict[str, Any]:
        await app.until_advertised(*wanted, "/edge_vseg/camera/compressed")
        await app.subscribe(*wanted)
        found: dict[str, Any] = {}
        while set(found) != set(wanted):
            for topic, time_ns, data in await app.messages(1):
                found[topic] = (time_ns, decode(app.channels[topic], data))
        return found

    found = watch(bridges(server), use)
    time_ns, labels = found["/edge_vseg/labels"]
    assert (labels.encoding, labels.height, labels.width) == ("mono8", 48, 64)
    assert labels.header.stamp.sec * 10**9 + labels.header.stamp.nanosec == time_ns
    assert set(np.unique(labels.data)) <= {0, 1, 2}
    picture = cv2.imdecode(np.asarray(found["/edge_vseg/overlay/compressed"][1].data), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    names = [each.class_name for each in found["/edge_vseg/label_info"][1].class_map]
    assert names == [label.name for label in server.live.labels] + ["UNLABELED"]
    (status,) = found["/diagnostics"][1].status
    assert {each.key for each in status.values} >= {"age_ms", "captured", "deadline missed"}
    assert isinstance(status.level, int)


def test_nothing_is_encoded_for_nobody(start: Start, bridges: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_vseg.serve import foxglove_bridge

    encoded: list[object] = []
    real = foxglove_bridge.encode_message
    monkeypatch.setattr(foxglove_bridge, "encode_message", lambda message: encoded.append(message) or real(message))
    server = start(policy=Fixed(period_frames=2))
    bridge = bridges(server)
    eventually(lambda: server.live.counts.delivered > 10)
    assert encoded == []

    async def use(app: App) -> None:
        await app.until_advertised("/edge_vseg/labels")
        await app.subscribe("/edge_vseg/labels")
        await app.messages(3)

    watch(bridge, use)
    assert {type(message).__name__ for message in encoded} == {"Image"}


def test_every_camera_has_topics_of_its_own(start: Start, clip: Path, bridges: Any) -> None:
    server = start(
        cameras={
            "front": lambda policy: play_repeatedly(lambda: open_source(clip)),
            "rear": lambda policy: StoppedCamera(np.zeros((48, 64, 3), np.uint8)),
        }
    )

    async def use(app: App) -> list[tuple[str, int, bytes]]:
        await app.until_advertised("/edge_vseg/front/labels", "/edge_vseg/rear/labels", "/diagnostics")
        await app.subscribe("/edge_vseg/front/labels", "/diagnostics")
        eventually_both = await app.messages(5)
        while not any(topic == "/diagnostics" for topic, _, _ in eventually_both):
            eventually_both += await app.messages(1)
        topic, _, data = next(each for each in eventually_both if each[0] == "/diagnostics")
        names = [each.name for each in decode(app.channels[topic], data).status]
        assert names == ["edge_vseg: front", "edge_vseg: rear"]
        return eventually_both

    assert any(topic == "/edge_vseg/front/labels" for topic, _, _ in watch(bridges(server), use))


def test_it_closes_and_its_port_is_free_again(start: Start) -> None:
    server = start()
    first = FoxgloveBridge(server.cameras, port=0)
    with pytest.raises(OptionError, match=str(first.port)):
        FoxgloveBridge(server.cameras, port=first.port)
    first.close()
    first.close()

    def opens_again() -> bool:  # the package lets go of the port a moment later
        try:
            FoxgloveBridge(server.cameras, port=first.port).close()
        except OptionError:
            return False
        return True

    eventually(opens_again)


def test_others_cannot_reach_it(start: Start) -> None:
    with pytest.raises(OptionError, match="SSH tunnel"):
        FoxgloveBridge(start().cameras, port=8765, host="0.0.0.0")


def test_without_its_package_it_says_what_to_install(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foxglove", None)
    with pytest.raises(BackendMissingError, match=r"edge-vseg\[foxglove\]"):
        FoxgloveBridge(start().cameras, port=0)
