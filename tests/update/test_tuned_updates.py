"""Updates to a bundle that was tuned with a companion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reference_bundle import Recipe, make_variant, write_bundle
from signed_bundles import sign
from update_device import Device, release, state

from edge_vseg import Segmenter, open_bundle
from edge_vseg.analysis.variant_check import VariantCheck
from edge_vseg.analysis.verification import check_variants
from edge_vseg.bundle.manifest import CompanionSpec, ScheduleSpec
from edge_vseg.bundle.scheduled_copy import write_scheduled_copy
from edge_vseg.errors import BundleWriteError, RejectedBundleError
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.trust.keys import SigningKey
from edge_vseg.trust.policy import TRUSTED_KEYS_VARIABLE
from edge_vseg.tuning.tuned_bundle import companion_place
from edge_vseg.update import probe

ARM_ONLY = make_variant("reference/int8-arm64", precision="int8", target="arm64")
NOT_INSTALLED = make_variant("absent/float", runtime="absent")


@pytest.fixture
def tuned(tmp_path: Path, site: Path, key: SigningKey, device: Device) -> Path:
    """A signed release whose companion lies beside the robot's bundle."""
    friend = write_bundle(device.bundle.with_name("fast.evseg"), Recipe(name="fast"))
    companion = CompanionSpec(name="fast.evseg", sha256=open_bundle(friend).sha256)
    schedule = ScheduleSpec(policy="async", companion=companion)
    (tmp_path / "tuned").mkdir()
    root = write_scheduled_copy(open_bundle(release(site, 1)), tmp_path / "tuned/colours.evseg", schedule).root
    sign(root, key, 2)
    return root


def test_the_companion_lies_beside_the_link(device: Device, site: Path, tuned: Path) -> None:
    """The trial is beside the slots, where the companion is not."""
    device.update(release(site, 1))
    device.update(tuned)
    assert device.installed == open_bundle(tuned).sha256
    Segmenter.open(device.bundle, runtime="reference").close()


def test_a_missing_companion_is_named_with_its_place(
    device: Device, site: Path, tuned: Path, hash_of: Callable[[int], str]
) -> None:
    device.update(release(site, 1))
    friend = device.bundle.with_name("fast.evseg")
    friend.rename(friend.with_name("elsewhere"))
    with pytest.raises(RejectedBundleError, match=f"copy it to {friend}, or choose a policy"):
        device.update(tuned)
    assert (device.installed, state(device)["rejected"]) == (hash_of(1), [open_bundle(tuned).sha256])
    friend.with_name("elsewhere").rename(friend)
    device.update(tuned, rejected="allow")
    assert device.installed == open_bundle(tuned).sha256


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (ScheduleSpec(policy="async", variant=NOT_INSTALLED.id), f"takes {NOT_INSTALLED.id}, which does not run here"),
        (ScheduleSpec(policy="regional"), "own schedule cannot be opened.* needs a tile"),
    ],
    ids=["variant", "tiles"],
)
def test_a_schedule_that_cannot_be_opened_here_is_refused(
    tmp_path: Path, device: Device, key: SigningKey, schedule: ScheduleSpec, message: str
) -> None:
    """Another variant runs, but a start takes the schedule's."""
    plain = write_bundle(tmp_path / "plain.evseg", Recipe(extra_variants=(NOT_INSTALLED,)))
    (tmp_path / "tuned").mkdir()
    root = write_scheduled_copy(open_bundle(plain), tmp_path / "tuned/colours.evseg", schedule).root
    sign(root, key, 1)
    with pytest.raises(RejectedBundleError, match=message):
        device.update(root)
    assert not device.bundle.exists()


@pytest.mark.skipif(cpu_features().architecture == "arm64", reason="a variant that this machine cannot run")
def test_a_bundle_tuned_on_another_machine_is_taken(
    tmp_path: Path, device: Device, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    """A start takes another variant then, and says so."""
    plain = write_bundle(tmp_path / "plain.evseg", Recipe(extra_variants=(ARM_ONLY,)))
    (tmp_path / "tuned").mkdir()
    schedule = ScheduleSpec(policy="async", variant=ARM_ONLY.id)
    root = write_scheduled_copy(open_bundle(plain), tmp_path / "tuned/colours.evseg", schedule).root
    sign(root, key, 1)
    device.update(root)
    assert f"was tuned with {ARM_ONLY.id}, which does not fit this machine" in caplog.text
    with Segmenter.open(device.bundle) as segmenter:
        assert segmenter.variant.id == "reference/float"


def test_a_variant_that_another_one_is_better_than_here_is_tried(
    tmp_path: Path, device: Device, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a graph for AVX2 where one for VNNI is there, too: tuned on a CPU without, it still runs."""
    narrow = make_variant("reference/int8-narrow", precision="int8")
    plain = write_bundle(tmp_path / "plain.evseg", Recipe(extra_variants=(narrow,)))
    skipped = [VariantCheck(id=narrow.id, status="skipped", detail="there is a better one")]
    monkeypatch.setattr(probe, "check_variants", lambda *args, **more: skipped + check_variants(*args, **more)[:1])
    (tmp_path / "tuned").mkdir()
    schedule = ScheduleSpec(policy="async", variant=narrow.id)
    root = write_scheduled_copy(open_bundle(plain), tmp_path / "tuned/colours.evseg", schedule).root
    sign(root, key, 1)
    device.update(root)
    assert device.bundle.exists()


def test_a_companion_that_this_machine_does_not_trust_is_refused(
    device: Device, tuned: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_KEYS_VARIABLE, str(device.options.keys))
    with pytest.raises(RejectedBundleError, match=r"fast\.evseg is not signed"):
        device.update(tuned)
    sign(device.bundle.with_name("fast.evseg"), key, 1)
    device.update(tuned, rejected="allow")
    Segmenter.open(device.bundle, runtime="reference").close()


def test_tuning_in_place_puts_a_companion_beside_the_link(
    tmp_path: Path, device: Device, site: Path, quick: list[Path]
) -> None:
    """Where the link leads to, no start would look for it, and the next update would remove it."""
    device.update(release(site, 1))
    friend = write_bundle(tmp_path / "fast.evseg", Recipe(name="fast"))
    assert companion_place(open_bundle(friend), device.bundle) == device.bundle.with_name("fast.evseg")
    with pytest.raises(BundleWriteError, match="would lie at .* itself"):
        companion_place(open_bundle(device.bundle), device.bundle)
