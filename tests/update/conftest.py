"""A device with a bundle, a site with releases, and a server over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from signed_bundles import new_key, trust, write_signed

pytest.importorskip("cryptography")

from release_server import ReleaseServer
from update_device import Device

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import open_bundle
from edge_vseg.trust.keys import SigningKey
from edge_vseg.update import UpdateOptions, updater


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return new_key()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    """Releases 1, 2 and 3, each with an index; leave them as they are."""
    folder = tmp_path_factory.mktemp("site")
    for version in (1, 2, 3):
        write_signed(folder / f"colours-{version}.evseg", key, version, index=folder / f"{version}.json")
    return folder


@pytest.fixture
def device(tmp_path: Path, key: SigningKey) -> Device:
    (tmp_path / "robot").mkdir()
    options = UpdateOptions(keys=trust(tmp_path / "keys", key))
    return Device(bundle=tmp_path / "robot" / "colours.evseg", options=options)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The trial on this machine in this process, for tests of other steps: a second less for each."""
    tried: list[Path] = []

    def probe(bundle: Path, *_: object) -> None:
        check_files(open_bundle(bundle))
        tried.append(bundle)

    monkeypatch.setattr(updater, "probe_bundle", probe)
    return tried


@pytest.fixture(scope="session")
def running_server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseServer]:
    with ReleaseServer(site, tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def server(running_server: ReleaseServer, monkeypatch: pytest.MonkeyPatch) -> ReleaseServer:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running_server.behaviour = type(running_server.behaviour)()
    return running_server


@pytest.fixture
def hash_of(site: Path) -> Callable[[int], str]:
    return lambda version: open_bundle(site / f"colours-{version}.evseg").sha256
