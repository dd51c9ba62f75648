"""Updates to a bundle that was tuned with a companion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reference_bundle import Recipe, write_bundle
from signed_bundles import sign
from update_device import Device, release, state

from edge_vseg import Segmenter, open_bundle
from edge_vseg.bundle.manifest import CompanionSpec, ScheduleSpec
from edge_vseg.bundle.scheduled_copy import write_scheduled_copy
from edge_vseg.errors import RejectedBundleError
from edge_vseg.trust.keys import SigningKey


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
