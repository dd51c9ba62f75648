"""Updates over HTTPS on loopback, from a server that cuts, lies, and stalls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from release_server import ReleaseServer
from update_device import Device

from edge_vseg.errors import DownloadError, OptionError, SignatureError
from edge_vseg.update import TransferLimits

Hash = Callable[[int], str]
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def robot(device: Device, server: ReleaseServer) -> Device:
    limits = TransferLimits(ca_file=server.ca_file, pause=lambda seconds: None)
    device.options = replace(device.options, transfer=limits)
    return device


def test_an_update_from_an_index(robot: Device, server: ReleaseServer, hash_of: Hash) -> None:
    for version in (1, 3):
        report = robot.update(f"{server.address}/{version}.json")
        assert (report.release.version, robot.installed) == (version, hash_of(version))
    assert "/colours-3.evseg/manifest.json" in server.behaviour.asked


def test_an_authority_that_nobody_named(device: Device, server: ReleaseServer) -> None:
    with pytest.raises(DownloadError, match="--ca-file"):
        device.update(f"{server.address}/1.json")


def test_a_cut_costs_what_was_in_flight(robot: Device, server: ReleaseServer, hash_of: Hash) -> None:
    server.behaviour.cuts, server.behaviour.cut_after, server.behaviour.cut_only = 3, 700, "frame.png"
    robot.update(f"{server.address}/2.json")
    assert robot.installed == hash_of(2)
    assert any("bytes=700-" in line for line in server.behaviour.asked), server.behaviour.asked


@pytest.mark.parametrize("length", [True, False], ids=["announced", "not announced"])
def test_a_server_without_ranges_begins_again(
    length: bool, robot: Device, server: ReleaseServer, hash_of: Hash
) -> None:
    """Where the length is not announced, only the file's size in the manifest tells that it was cut."""
    server.behaviour.cuts, server.behaviour.cut_after, server.behaviour.cut_only = 1, 700, "frame.png"
    server.behaviour.ranges, server.behaviour.length = False, length
    if length:
        robot.update(f"{server.address}/2.json")
    else:
        with pytest.raises(DownloadError, match="try again"):
            robot.update(f"{server.address}/2.json")
        robot.update(f"{server.address}/2.json")
    assert robot.installed == hash_of(2)


def test_a_transfer_that_failed_goes_on_the_next_time(robot: Device, server: ReleaseServer, hash_of: Hash) -> None:
    robot.update(f"{server.address}/1.json")
    server.behaviour.replace = lambda path, data: data if "frame.png" not in path else data[:200] + b"x" * len(data)
    with pytest.raises(DownloadError, match=r"larger|not the file"):
        robot.update(f"{server.address}/2.json")
    assert robot.installed == hash_of(1)
    server.behaviour.replace = lambda path, data: data
    server.behaviour.asked.clear()
    robot.update(f"{server.address}/2.json")
    assert robot.installed == hash_of(2)
    assert "/colours-2.evseg/manifest.json" not in server.behaviour.asked, "what was right is not fetched again"


def test_a_line_that_is_always_cut(robot: Device, server: ReleaseServer) -> None:
    server.behaviour.cuts, server.behaviour.cut_after = 10**6, 10
    with pytest.raises(DownloadError, match="cut off"):
        robot.update(f"{server.address}/1.json")
    assert not robot.bundle.exists()


def test_a_server_that_is_not_there(robot: Device) -> None:
    with pytest.raises(DownloadError, match="cannot be reached: Connection refused; check the address"):
        robot.update("https://127.0.0.1:1/1.json")


def test_a_server_in_trouble_is_asked_again(robot: Device, server: ReleaseServer) -> None:
    server.behaviour.errors = 2
    assert robot.update(f"{server.address}/1.json").status == "updated"
    with pytest.raises(DownloadError, match="404"):
        robot.update(f"{server.address}/nothing.json")


@pytest.mark.parametrize("file", ["manifest.json", "graph.npz"])
@pytest.mark.parametrize("damage", ["longer", "other"])
def test_a_server_that_lies(file: str, damage: str, robot: Device, server: ReleaseServer, hash_of: Hash) -> None:
    robot.update(f"{server.address}/1.json")

    def replaced(path: str, data: bytes) -> bytes:
        if not path.endswith(file):
            return data
        return data + b" " * (1 << 20) if damage == "longer" else data[:-1] + b"?"

    server.behaviour.replace = replaced
    with pytest.raises(DownloadError):
        robot.update(f"{server.address}/2.json")
    assert robot.installed == hash_of(1)


@pytest.mark.parametrize("location", ["../elsewhere", "/etc", "a/../../b", "https://other/x", "a?b", "a%2f..", ""])
def test_an_index_does_not_lead_elsewhere(location: str, robot: Device, server: ReleaseServer, site: Path) -> None:
    index = json.loads((site / "1.json").read_bytes()) | {"location": location}
    server.behaviour.replace = lambda path, data: json.dumps(index).encode()
    with pytest.raises(SignatureError, match="not an index"):
        robot.update(f"{server.address}/1.json")
    assert len(server.behaviour.asked) == 1


def test_an_index_without_end(robot: Device, server: ReleaseServer) -> None:
    server.behaviour.replace = lambda path, data: b"[" * (4 << 20)
    with pytest.raises(DownloadError, match="larger"):
        robot.update(f"{server.address}/1.json")


def test_redirects_lead_to_tls_only(robot: Device, server: ReleaseServer) -> None:
    server.behaviour.redirect = "http://127.0.0.1:9/1.json"
    with pytest.raises(DownloadError, match="without TLS"):
        robot.update(f"{server.address}/1.json")


def test_a_slow_server_is_given_up(robot: Device, server: ReleaseServer) -> None:
    seconds = iter(range(10**6))
    limits = replace(robot.options.transfer, seconds=5.0, clock=lambda: float(next(seconds)))
    with pytest.raises(DownloadError, match="more than 5 s"):
        robot.update(f"{server.address}/1.json", transfer=limits)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/1.json", "ftp://host/1.json", "file:///etc/hostname", "https://", "https://host/1.json?x=1"],
)
def test_addresses_that_are_not_taken(address: str, device: Device) -> None:
    with pytest.raises(OptionError):
        device.update(address)


def test_a_password_in_an_address_is_refused_and_not_repeated(device: Device) -> None:
    with pytest.raises(OptionError) as raised:
        device.update("https://user:hunter2@host/1.json")
    assert "hunter2" not in str(raised.value)


def test_a_file_that_holds_no_certificate(device: Device, server: ReleaseServer, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(OptionError, match="--ca-file"):
        device.update(f"{server.address}/1.json", transfer=TransferLimits(ca_file=tmp_path / "ca.pem"))
