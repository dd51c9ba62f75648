"""An ordinary bundle becomes the first slot, also where a folder and a link cannot be exchanged in one step."""

from __future__ import annotations

import ctypes
import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reference_bundle import write_bundle
from retouch import rehash
from signed_bundles import sign
from update_device import Device, release

from edge_vseg.bundle import open_bundle
from edge_vseg.errors import DownloadError, UpdateError
from edge_vseg.trust.keys import SigningKey

Hash = Callable[[int], str]
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def before(device: Device, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hash of the ordinary bundle that is there, on a system whose C library has no such call."""
    write_bundle(device.bundle)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    return device.installed


def test_a_release_may_have_an_empty_file(tmp_path: Path, device: Device, key: SigningKey) -> None:
    root = write_bundle(tmp_path / "colours.evseg")
    (root / "notes.txt").touch()
    tree = json.loads((root / "manifest.json").read_bytes())
    tree["files"]["notes.txt"] = {}
    (root / "manifest.json").write_text(json.dumps(tree))
    rehash(root)
    sign(root, key, 1)
    device.update(root)
    assert (device.bundle / "notes.txt").read_bytes() == b""


def stop_before_the_link(device: Device, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise at the last rename of the first switch."""
    rename = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if self.is_symlink() and target == device.bundle:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)


def test_the_old_bundle_is_kept(before: str, device: Device, site: Path, hash_of: Hash) -> None:
    report = device.update(release(site, 1))
    assert device.installed == hash_of(1)
    assert report.previous is not None
    assert open_bundle(report.previous).sha256 == before
    assert sorted(p.name for p in device.bundle.parent.iterdir()) == ["colours.evseg", "colours.evseg.slots"]


def test_a_link_that_cannot_be_renamed(
    before: str, device: Device, site: Path, hash_of: Hash, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_before_the_link(device, OSError(errno.EIO, "Input/output error"), patch)
        with pytest.raises(UpdateError, match="is whole"):
            device.update(release(site, 1))
    assert device.installed == before
    assert not device.bundle.is_symlink()
    device.update(release(site, 1))
    assert device.installed == hash_of(1)


def test_an_update_that_installs_nothing_still_puts_the_old_bundle_back(
    before: str, device: Device, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_before_the_link(device, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            device.update(release(site, 1))
    assert not device.bundle.exists()
    with pytest.raises(DownloadError):
        device.update(tmp_path / "nothing")
    assert device.installed == before
    assert device.bundle.is_symlink()
