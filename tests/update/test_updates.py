"""Updates from a folder: what is taken, what is refused, and what is there afterwards."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference_bundle import BIAS, STRIDE, WEIGHT, check_frame, write_bundle
from retouch import rehash
from signed_bundles import NOON, new_key, sign, trust, write_signed
from update_device import Device, release, state

from edge_vseg import Segmenter, open_bundle
from edge_vseg.child_process import ProcessLimits
from edge_vseg.errors import (
    BundleWriteError,
    DownloadError,
    ExpiredSignatureError,
    OptionError,
    RejectedBundleError,
    RevokedKeyError,
    RollbackError,
    SignatureError,
    UnsignedBundleError,
    UntrustedKeyError,
    UpdateError,
)
from edge_vseg.runtimes.backends.reference import write_reference
from edge_vseg.trust.keys import SigningKey
from edge_vseg.update import TransferLimits, WatchOptions

Hash = Callable[[int], str]
HERE = Path(__file__).parent


def test_the_first_bundle_of_a_device(device: Device, site: Path, hash_of: Hash) -> None:
    """With the real trial: a process of its own that runs the check frame."""
    report = device.update(release(site, 1))
    assert (report.status, report.release.version, report.previous) == ("updated", 1, None)
    assert device.installed == hash_of(1)
    assert device.bundle.is_symlink()
    assert not device.bundle.readlink().is_absolute(), "the folder can be moved"
    assert device.steps == ["reading the index", "fetching", "trying it on this machine", "switching", "cleaning up"]
    private = [path for path in report.slot.parent.iterdir() if path.name.startswith(".")]
    assert {path.name: path.stat().st_mode & 0o777 for path in private} == {".lock": 0o600, ".state.json": 0o600}
    Segmenter.open(device.bundle, runtime="reference").close()


@pytest.mark.usefixtures("quick")
def test_the_account_of_a_service_can_read_what_root_installs(device: Device, site: Path) -> None:
    mask = os.umask(0o077)
    try:
        slot = device.update(release(site, 1)).slot
    finally:
        os.umask(mask)
    folders = [slot.parent, slot, *(path for path in slot.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in slot.rglob("*") if path.is_file()} == {0o644}


@pytest.mark.usefixtures("quick")
def test_versions_count_up_and_two_stay(device: Device, site: Path, hash_of: Hash) -> None:
    for version in (1, 2, 3):
        report = device.update(site / f"{version}.json")
        assert (device.installed, report.release.version) == (hash_of(version), version)
    assert device.slots == {"2", "3"}
    assert report.previous is not None
    assert open_bundle(report.previous).sha256 == hash_of(2)
    assert state(device)["newest"] == {report.key_ids[0]: {"version": 3, "sha256": hash_of(3)}}


@pytest.mark.usefixtures("quick")
def test_a_bundle_that_is_there_becomes_the_first_slot(device: Device, site: Path, hash_of: Hash) -> None:
    write_bundle(device.bundle)
    before = device.installed
    report = device.update(release(site, 1))
    assert device.installed == hash_of(1)
    assert report.previous is not None
    assert open_bundle(report.previous).sha256 == before
    assert device.slots == {"0", "1"}


@pytest.mark.usefixtures("quick")
def test_what_runs_keeps_its_bundle_until_it_is_opened_again(device: Device, site: Path) -> None:
    device.update(release(site, 1))
    frame = check_frame()
    with Segmenter.open(device.bundle, runtime="reference") as running:
        before = running(frame).logits
        device.update(release(site, 3))
        np.testing.assert_array_equal(running(frame).logits, before)
    with Segmenter.open(device.bundle, runtime="reference") as again:
        np.testing.assert_allclose(again(frame).logits, before + 2, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_no_way_back_unless_asked(device: Device, site: Path, hash_of: Hash) -> None:
    device.update(release(site, 3))
    with pytest.raises(RollbackError, match="version 3 was trusted here"):
        device.update(release(site, 2))
    assert device.installed == hash_of(3)
    device.update(release(site, 1), older="allow")
    assert device.installed == hash_of(1)
    device.update(release(site, 2))
    assert device.installed == hash_of(2), "it counts from the version that it was taken back to"


@pytest.mark.usefixtures("quick")
def test_the_installed_version_counts_where_no_state_is_left(device: Device, site: Path) -> None:
    shutil.copytree(release(site, 2), device.bundle)
    with pytest.raises(RollbackError, match="version 2 was trusted here"):
        device.update(release(site, 1))


@pytest.mark.usefixtures("quick")
def test_a_version_has_one_content(device: Device, site: Path, tmp_path: Path, key: SigningKey, hash_of: Hash) -> None:
    device.update(release(site, 2))
    other = write_signed(tmp_path / "other.evseg", key, 7)
    sign(other, key, 2)
    with pytest.raises(RollbackError, match="another content"):
        device.update(other)
    assert device.installed == hash_of(2)


@pytest.mark.usefixtures("quick")
def test_the_newest_is_there_already(device: Device, site: Path, tmp_path: Path, key: SigningKey) -> None:
    """Its signature may be newer, which is how an index is kept from expiring."""
    device.update(release(site, 2))
    again = tmp_path / "again.evseg"
    shutil.copytree(release(site, 2), again)
    sign(again, key, 2, now=NOON + dt.timedelta(days=30))
    report = device.update(again)
    assert report.status == "current"
    assert (device.bundle / "signatures.json").read_bytes() == (again / "signatures.json").read_bytes()
    assert device.slots == {"2"}


@pytest.mark.usefixtures("quick")
def test_another_bundle_is_not_a_newer_one(device: Device, site: Path, tmp_path: Path, key: SigningKey) -> None:
    device.update(release(site, 1))
    other = write_signed(tmp_path / "other.evseg", key, 9, name="rails")
    with pytest.raises(SignatureError, match="'rails'"):
        device.update(other)
    assert device.update(other, older="allow").release.name == "rails"


@pytest.mark.usefixtures("quick")
def test_an_index_that_nobody_renews_is_refused(device: Device, tmp_path: Path, key: SigningKey) -> None:
    """Whoever holds back newer releases cannot do so for longer than this."""
    old = write_bundle(tmp_path / "old.evseg")
    sign(old, key, 1, lifetime=dt.timedelta(days=7))
    late = NOON + dt.timedelta(days=8)
    with pytest.raises(ExpiredSignatureError, match="2026-03-08"):
        device.update(old, now=lambda: late)
    assert not device.bundle.exists()
    device.update(old, now=lambda: NOON)


@pytest.mark.usefixtures("quick")
def test_strangers_and_the_unsigned_are_refused(device: Device, site: Path, tmp_path: Path, key: SigningKey) -> None:
    device.update(release(site, 1))
    before = device.installed
    unsigned = write_bundle(tmp_path / "unsigned.evseg")
    revoking = trust(tmp_path / "revoking", key, revoked=key.public.key_id)
    (tmp_path / "not mounted").mkdir()
    for origin, keys, error in (
        (unsigned, device.options.keys, UnsignedBundleError),
        (write_signed(tmp_path / "stranger.evseg", new_key(), 9), device.options.keys, UntrustedKeyError),
        (release(site, 2), revoking, RevokedKeyError),
        (tmp_path / "nothing", device.options.keys, DownloadError),
        (tmp_path / "not mounted", device.options.keys, DownloadError),
        (tmp_path, device.options.keys, OptionError),
    ):
        with pytest.raises(error):
            device.update(origin, keys=keys)
        assert device.installed == before
        assert "fetching" not in device.steps, "nothing is fetched before the signature is verified"


@pytest.mark.usefixtures("quick")
def test_a_stolen_key_cannot_block_updates_for_ever(
    device: Device, site: Path, tmp_path: Path, key: SigningKey
) -> None:
    thief = new_key()
    trust(device.options.keys, thief)
    huge = write_signed(tmp_path / "huge.evseg", thief, 2**53 - 1)
    device.update(huge)
    with pytest.raises(RollbackError):
        device.update(release(site, 3))
    trust(device.options.keys, revoked=thief.public.key_id)
    assert device.update(release(site, 3)).release.version == 3


@pytest.mark.parametrize("file", ["reference/float/graph.npz", "check/frame.png", "manifest.json"])
@pytest.mark.usefixtures("quick")
def test_files_of_two_releases_do_not_mix(file: str, device: Device, site: Path, tmp_path: Path, hash_of: Hash) -> None:
    device.update(release(site, 1))
    mixed = tmp_path / "mixed.evseg"
    shutil.copytree(release(site, 3), mixed)
    data = bytearray((mixed / file).read_bytes())
    data[-9] ^= 1
    (mixed / file).write_bytes(data)
    with pytest.raises(DownloadError, match="not the (one|file) that was signed"):
        device.update(mixed)
    assert device.installed == hash_of(1)
    assert device.update(release(site, 3)).release.version == 3


@pytest.mark.usefixtures("quick")
def test_what_the_manifest_does_not_list_stays_behind(device: Device, site: Path, tmp_path: Path) -> None:
    """No hash covers it, and a runtime may read it."""
    more = tmp_path / "more.evseg"
    shutil.copytree(release(site, 1), more)
    (more / "reference/float/graph.bin").write_bytes(b"x")
    report = device.update(more)
    assert not (report.slot / "reference/float/graph.bin").exists()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
@pytest.mark.usefixtures("quick")
def test_a_stick_with_traps(kind: str, device: Device, site: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.evseg"
    shutil.copytree(release(site, 1), trap)
    file = trap / "check/frame.png"
    file.unlink()
    {"fifo": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to("/etc/hostname")}[kind](file)
    with pytest.raises(DownloadError):
        device.update(trap)
    assert not device.bundle.exists()


def wrong_release(folder: Path, key: SigningKey, version: int) -> Path:
    """Whole and signed, but its network gives other labels than its check frame says."""
    root = write_bundle(folder / f"wrong-{version}.evseg")
    write_reference(root / "reference/float/graph.npz", WEIGHT[::-1].copy(), BIAS, STRIDE)
    rehash(root)
    sign(root, key, version)
    return root


def test_a_bundle_that_does_not_work_here_is_not_installed(
    device: Device, site: Path, tmp_path: Path, key: SigningKey, hash_of: Hash
) -> None:
    device.update(release(site, 1))
    wrong = wrong_release(tmp_path, key, 2)
    with pytest.raises(RejectedBundleError, match="wrong: reference/float"):
        device.update(wrong)
    assert device.installed == hash_of(1)
    with pytest.raises(RejectedBundleError, match="--retry"):
        device.update(wrong)
    assert "fetching" not in device.steps, "a timer that updates every hour does not fetch it every hour"
    with pytest.raises(RejectedBundleError, match="was stopped after 0 s"):
        device.update(wrong, rejected="allow", probe=ProcessLimits(seconds=0.01))


def test_a_trial_that_takes_too_long_is_ended(device: Device, site: Path) -> None:
    with pytest.raises(RejectedBundleError, match="was stopped after 0 s"):
        device.update(release(site, 1), probe=ProcessLimits(seconds=0.05))
    assert not device.bundle.exists()


def test_a_trial_that_takes_too_much_memory_is_ended(device: Device, site: Path) -> None:
    with pytest.raises(RejectedBundleError, match="does not work on this machine"):
        device.update(release(site, 1), probe=ProcessLimits(memory_bytes=4 << 20))


@pytest.mark.usefixtures("quick")
def test_two_updates_at_once(device: Device, site: Path) -> None:
    device.update(release(site, 1))
    with (device.bundle.with_name(f"{device.bundle.name}.slots") / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UpdateError, match="under way"):
            device.update(release(site, 2))
    device.update(release(site, 2))


@pytest.mark.usefixtures("quick")
def test_a_damaged_bundle_is_repaired(device: Device, site: Path, hash_of: Hash) -> None:
    device.update(release(site, 1))
    (device.bundle / "manifest.json").write_text("{")
    device.update(release(site, 1))
    assert device.installed == hash_of(1)


@pytest.mark.usefixtures("quick")
def test_flipped_bits_are_repaired(device: Device, site: Path, hash_of: Hash) -> None:
    """They leave all sizes as they are, so the bundle opens."""
    for _ in range(3):
        file = device.update(release(site, 1)).slot / "reference/float/graph.npz"
        assert device.installed == hash_of(1)
        data = bytearray(file.read_bytes())
        data[-9] ^= 1
        file.write_bytes(data)
    shutil.rmtree(file.parents[3])
    device.bundle.unlink()
    shutil.copytree(release(site, 1), device.bundle)  # the same in a bundle that is in no slot yet
    (device.bundle / "reference/float/graph.npz").write_bytes(data)
    assert device.update(release(site, 1)).status == "updated"
    assert device.installed == hash_of(1)
    assert device.update(release(site, 1)).status == "current"


@pytest.mark.usefixtures("quick")
def test_places_that_are_no_bundle(device: Device, site: Path) -> None:
    device.bundle.write_text("notes")
    with pytest.raises(BundleWriteError):
        device.update(release(site, 1))
    device.bundle.unlink()
    device.bundle.symlink_to(site)
    with pytest.raises(UpdateError, match="not to a slot"):
        device.update(release(site, 1))
    assert device.bundle.is_symlink()


@pytest.mark.usefixtures("quick")
def test_a_state_that_others_could_write_is_not_believed(device: Device, site: Path) -> None:
    report = device.update(release(site, 1))
    file = report.slot.parent / ".state.json"
    file.chmod(0o666)
    with pytest.raises(UpdateError, match="others may write"):
        device.update(release(site, 2))
    file.chmod(0o600)
    file.write_text("{}x")
    with pytest.raises(UpdateError, match="cannot be read"):
        device.update(release(site, 2))
    file.unlink()
    device.update(release(site, 2))


@pytest.mark.usefixtures("quick")
def test_size_limits(device: Device, site: Path) -> None:
    with pytest.raises(UpdateError, match="are allowed"):
        device.update(release(site, 1), transfer=TransferLimits(max_bytes=1000))
    assert not device.bundle.exists()


@pytest.mark.parametrize("options", [{"keep": 1}, {"probe": "late"}, {"transfer": "none"}, {"watch": "before"}])
def test_options_that_cannot_be(options: dict[str, object], device: Device) -> None:
    makers: dict[object, Callable[[], object]] = {
        "late": lambda: ProcessLimits(seconds=0),
        "none": lambda: TransferLimits(max_bytes=0),
        "before": lambda: WatchOptions(seconds=-1),
    }
    with pytest.raises(OptionError):
        replace(device.options, **{k: makers[v]() if v in makers else v for k, v in options.items()})  # type: ignore[arg-type]


def test_the_power_goes_at_every_operation_in_turn() -> None:
    done = subprocess.run([sys.executable, str(HERE / "kill_points.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    counts = json.loads(done.stdout)
    assert set(counts) == {"first", "bundle", "link", "taken back", "no exchange"}
    assert {name: each["gap"] for name, each in counts.items() if "gap" in each} == {"no exchange": 1}
    for each in counts.values():
        assert each["right"] == each["tried"] == each["operations"] > 20, counts
        assert {"old", "new"} <= set(each), "it was killed before and after the switch"


def test_damaged_releases_are_refused_or_right() -> None:
    """A short campaign; its command has an option for a long one."""
    words = [sys.executable, str(HERE / "mutated_releases.py"), "--cases", "100", "--seed", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for counts in json.loads(done.stdout).values():
        assert counts["tried"] == counts["refused"] + counts["right"] > 50
        assert counts["refused"] > 30


def test_the_demonstration_goes_as_it_says() -> None:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    words = [sys.executable, str(HERE / "demonstration.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for error in ("RollbackError", "UntrustedKeyError", "DownloadError", "RejectedBundleError", "RevokedKeyError"):
        assert error in done.stderr
