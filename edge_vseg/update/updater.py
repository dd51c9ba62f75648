"""Bring a new bundle onto a device: verified, tried, switched to in one step, watched, and taken back if it fails.

The rules are those of The Update Framework (https://theupdateframework.io/specification): a release is signed by a key
that the device trusts beforehand, has not expired, and has a higher version than any that the device has trusted; the
manifest fixes every file. ADR 0016 says what of TUF is left out, and why.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edge_vseg.analysis.verification import check_files
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.reading import SIGNATURES_NAME
from edge_vseg.child_process import ProcessLimits
from edge_vseg.errors import (
    BundleError,
    OptionError,
    RejectedBundleError,
    RollbackError,
    SignatureError,
    UpdateError,
)
from edge_vseg.files import write_whole
from edge_vseg.input_files import whole_number
from edge_vseg.trust.envelope import encode_envelope
from edge_vseg.trust.keyring import Keyring, read_keyring
from edge_vseg.trust.release import Release
from edge_vseg.trust.verification import VerifiedRelease, check_expiry, read_signatures, verify_envelope
from edge_vseg.update.probe import probe_bundle
from edge_vseg.update.slot_state import PendingSwitch, SlotState, TrustedVersion
from edge_vseg.update.slots import Slots
from edge_vseg.update.sources import ReleaseSource, TransferLimits, open_release_source
from edge_vseg.update.staging import stage_release
from edge_vseg.update.watch import WatchOptions, restart_unit, watch_bundle

log = logging.getLogger(__name__)

Older: TypeAlias = Literal["refuse", "allow"]
Steps: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOptions:
    """How a bundle is updated.

    Attributes:
        keys: Trusted public keys; see :class:`~edge_vseg.trust.TrustPolicy`.
        older: What happens to a release that is older than one that was trusted here, or is of another name.
        rejected: What happens to a release that did not work here before.
        keep: Slots that are kept, the new one and the one before it included.
        transfer: Limits of the transfer.
        probe: What one variant may take when it is tried on this machine.
        watch: What is watched after the switch, and which service is restarted.
        now: The time of day, with a time zone.
    """

    keys: Path
    older: Older = "refuse"
    rejected: Older = "refuse"
    keep: int = 2
    transfer: TransferLimits = field(default_factory=TransferLimits)
    probe: ProcessLimits = field(default_factory=lambda: ProcessLimits(seconds=300.0))
    watch: WatchOptions = field(default_factory=WatchOptions)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc)

    def __post_init__(self) -> None:
        """Raise OptionError if fewer than two slots are kept: there would be no way back."""
        if self.keep < 2:
            raise OptionError(f"keep two slots or more, the new one and the one before it; got {self.keep}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update did.

    Attributes:
        status: ``updated``, or ``current`` if the newest release was there already.
        release: The release that is installed now.
        key_ids: Trusted keys that signed it.
        slot: Its folder.
        previous: Folder of the slot before; ``None`` if there was none.
    """

    status: Literal["updated", "current"]
    release: Release
    key_ids: tuple[str, ...]
    slot: Path
    previous: Path | None


def install_update(
    target: Path, origin: str, options: UpdateOptions, *, step: Steps = lambda name: None
) -> UpdateReport:
    """Update a bundle.

    Whatever ends it, at any moment, ``target`` is the old bundle or the new one, whole. What is left is used or removed
    by the next call.

    Args:
        target: The bundle's path, which becomes a link beside its slots; nothing may be there yet.
        origin: A folder with a signed bundle, the file of an index, or its HTTPS address.
        options: Keys, limits, what is watched.
        step: Called with the name of each step.

    Raises:
        SignatureError: If the release is not signed by a trusted key, has expired, or is of another bundle.
        RollbackError: If it is older than one that was trusted here.
        DownloadError: If it cannot be fetched as it was signed, or nothing is at ``origin``.
        OptionError: If ``origin`` is something else, or an address that is not HTTPS.
        RejectedBundleError: If it does not work on this machine; the bundle before it is in place again.
        UpdateError: If another update is under way, or the disk is full.
        BundleError: If something else than a bundle is at ``target``.
    """
    slots = Slots(target)
    try:
        with slots.locked():
            return _Update(slots, options, step).run(origin)
    except OSError as exc:
        raise UpdateError(
            f"{exc.filename or slots.root} cannot be written: {exc.strerror or exc}; {target} is whole, and the next"
            " update goes on from here"
        ) from exc


class _Update:
    """One update, while the slots are locked."""

    def __init__(self, slots: Slots, options: UpdateOptions, step: Steps) -> None:
        self._slots = slots
        self._options = options
        self._step = step
        self._keyring: Keyring = read_keyring(options.keys)

    def run(self, origin: str) -> UpdateReport:
        self._recover()
        self._step("reading the index")
        source = open_release_source(origin, self._options.transfer)
        verified = verify_envelope(source.envelope, self._keyring, source.where)
        check_expiry(verified.release, self._options.now(), "refuse", source.where)
        installed = self._installed()
        self._check_version(verified.release, installed, source.where)
        if installed is not None and installed.sha256 == verified.release.sha256 and _is_whole(installed):
            return self._renew(source, verified, installed)
        slot = self._new_slot(verified.release)
        bundle = self._fetch(source, verified, slot)
        self._trust(verified)
        self._step("trying it on this machine")
        self._probe_new(bundle.root, verified.release.sha256)
        previous = self._previous(installed)
        if bundle.root != self._slots.path(slot):
            self._slots.install(bundle.root, slot)
        self._switch(slot, previous, verified.release.sha256)
        self._step("cleaning up")
        self._slots.prune(self._kept(slot, previous), None)
        return self._report("updated", verified, slot, previous)

    def _recover(self) -> None:
        """Confirm or take back a switch that was not watched to its end."""
        state = self._slots.state
        pending = state.pending
        self._slots.tidy()
        self._slots.tidy_link("" if pending is None else pending.previous)
        if pending is None:
            return
        if self._slots.current == pending.slot:
            self._step("trying what an interrupted update left")
            try:
                self._try_current()
            except RejectedBundleError:
                self._take_back(pending, pending.sha256)
                return
        self._slots.remember(msgspec.structs.replace(state, pending=None))

    def _installed(self) -> Bundle | None:
        """The bundle that is there; ``None`` also for one that is damaged, which an update repairs."""
        try:
            return open_bundle(self._slots.link)
        except BundleError as exc:
            if self._slots.link.exists():
                log.warning("the installed bundle cannot be opened: %s", exc)
            return None

    def _new_slot(self, release: Release) -> str:
        name = slot_name(release.version, release.sha256)
        # The slot in use is never written to, even if it is damaged.
        return f"{name}-again" if name == self._slots.current else name

    def _check_version(self, release: Release, installed: Bundle | None, where: str) -> None:
        """Raise RollbackError for a step back, SignatureError for another bundle."""
        state = self._slots.state
        if release.sha256 in state.rejected and self._options.rejected == "refuse":
            raise RejectedBundleError(
                f"{where}: version {release.version} did not work on this machine before; release another one, or try"
                " it again with --retry"
            )
        if self._options.older == "allow":
            return
        name = state.name or (installed.manifest.name if installed is not None else release.name)
        if release.name != name:
            raise SignatureError(
                f"{where} is a release of {release.name!r}, and this is {name!r}; give the index of that, or"
                " --allow-rollback to take another bundle"
            )
        newest = self._newest(state, installed)
        if newest is None or release.version > newest.version:
            return
        if release.version < newest.version:
            raise RollbackError(
                f"{where} has version {release.version}, and version {newest.version} was trusted here; release a"
                " higher one, or go back with --allow-rollback"
            )
        if release.sha256 != newest.sha256:
            raise RollbackError(
                f"{where} has version {release.version} with another content than the one trusted here; release a"
                " higher version, or take this one with --allow-rollback"
            )

    def _newest(self, state: SlotState, installed: Bundle | None) -> TrustedVersion | None:
        """The newest trusted version; without a state, that of the installed bundle if its signature holds."""
        newest = state.newest_trusted(self._keyring.revoked)
        if newest is not None or installed is None:
            return newest
        try:
            envelope = read_signatures(installed)
            release = None if envelope is None else verify_envelope(envelope, self._keyring, "").release
        except SignatureError:
            return None
        if release is None or release.sha256 != installed.sha256:
            return None
        return TrustedVersion(version=release.version, sha256=release.sha256)

    def _renew(self, source: ReleaseSource, verified: VerifiedRelease, installed: Bundle) -> UpdateReport:
        """The bundle stays; its signatures may be newer, or expire later."""
        data = encode_envelope(source.envelope)
        path = installed.root / SIGNATURES_NAME
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
        self._trust(verified)
        return self._report("current", verified, self._slots.current, "")

    def _fetch(self, source: ReleaseSource, verified: VerifiedRelease, slot: str) -> Bundle:
        """The release in its slot, if it is still there, or else fetched."""
        self._step("fetching")
        if self._slots.path(slot).exists():
            try:
                kept = open_bundle(self._slots.path(slot))
                check_files(kept)
                if kept.sha256 == verified.release.sha256:
                    write_whole(kept.root / SIGNATURES_NAME, encode_envelope(source.envelope))
                    return kept
            except BundleError:
                pass  # what is damaged is fetched again
        incoming = self._slots.incoming(verified.release.sha256)
        self._slots.prune(self._all_slots(), incoming)
        bundle = stage_release(source, verified.release, incoming, self._options.transfer)
        if bundle.sha256 != verified.release.sha256:
            raise UpdateError(f"{incoming} was changed by somebody else; try again")
        return bundle

    def _trust(self, verified: VerifiedRelease) -> None:
        """Remember the version: from now on nothing older is taken."""
        state, release = self._slots.state, verified.release
        newest = dict(state.newest)
        for key_id in verified.key_ids:
            known = newest.get(key_id)
            if known is None or known.version < release.version or self._options.older == "allow":
                newest[key_id] = TrustedVersion(version=release.version, sha256=release.sha256)
        if self._options.older == "allow":
            # Asked to go back, the device counts from there.
            newest = {key_id: each for key_id, each in newest.items() if each.version <= release.version}
        self._slots.remember(msgspec.structs.replace(state, name=release.name, newest=newest))

    def _probe_new(self, bundle: Path, sha256: str) -> None:
        try:
            self._try(bundle)
        except RejectedBundleError:
            self._reject(sha256)
            raise

    def _previous(self, installed: Bundle | None) -> str:
        """Slot of the installed bundle, or the one that it becomes."""
        if self._slots.current or not self._slots.link.exists():
            return self._slots.current
        return "0-damaged" if installed is None else slot_name(0, installed.sha256)

    def _switch(self, slot: str, previous: str, sha256: str) -> None:
        pending = PendingSwitch(slot=slot, sha256=sha256, previous=previous)
        self._slots.remember(msgspec.structs.replace(self._slots.state, pending=pending))
        self._step("switching")
        self._slots.switch(slot, previous)
        try:
            self._restart()
            if self._options.watch.seconds > 0:
                self._step("watching")
                watch_bundle(self._options.watch, self._try_current)
        except BaseException as exc:
            self._take_back(pending, sha256 if isinstance(exc, RejectedBundleError) else "")
            if isinstance(exc, RejectedBundleError):
                back = "the bundle before it is in place again" if previous else "there is none in its place"
                raise RejectedBundleError(f"{exc}; {back}") from exc
            raise
        self._slots.remember(msgspec.structs.replace(self._slots.state, pending=None))

    def _take_back(self, pending: PendingSwitch, sha256: str) -> None:
        self._step("taking it back")
        self._slots.switch(pending.previous, "")
        state = msgspec.structs.replace(self._slots.state, pending=None)
        self._slots.remember(state)
        if sha256:
            self._reject(sha256)
        if pending.previous:
            self._restart()

    def _reject(self, sha256: str) -> None:
        state = self._slots.state
        rejected = (*(each for each in state.rejected if each != sha256), sha256)
        self._slots.remember(msgspec.structs.replace(state, rejected=rejected))

    def _restart(self) -> None:
        if self._options.watch.restart_unit:
            self._step(f"restarting {self._options.watch.restart_unit}")
            restart_unit(self._options.watch.restart_unit)

    def _try(self, bundle: Path) -> None:
        probe_bundle(bundle, self._options.keys, self._options.probe, self._slots.link.parent)

    def _try_current(self) -> None:
        self._try(self._slots.link)

    def _all_slots(self) -> set[str]:
        return {path.name for path in self._slots.root.iterdir() if not path.name.startswith(".")}

    def _kept(self, slot: str, previous: str) -> set[str]:
        """The current and the previous slot, and the newest of the others up to ``keep``."""
        kept = {slot, previous} - {""}
        others = sorted(self._all_slots() - kept, key=slot_version, reverse=True)
        return kept | set(others[: self._options.keep - len(kept)])

    def _report(
        self, status: Literal["updated", "current"], verified: VerifiedRelease, slot: str, previous: str
    ) -> UpdateReport:
        return UpdateReport(
            status=status,
            release=verified.release,
            key_ids=verified.key_ids,
            slot=self._slots.path(slot) if slot else self._slots.link,
            previous=self._slots.path(previous) if previous else None,
        )


def _is_whole(installed: Bundle) -> bool:
    """Whether the files of a bundle are those of its manifest; a card or disk may have lost bits since."""
    try:
        check_files(installed)
    except BundleError as exc:
        log.warning("the installed bundle is damaged, and is fetched again: %s", exc)
        return False
    return True


def slot_name(version: int, sha256: str) -> str:
    """Name of a slot; version 0 is the bundle that was there before slots."""
    return f"{version}-{sha256[:12]}"


def slot_version(slot: str) -> int:
    """The version in a slot's name; -1 for other names."""
    version = whole_number(slot.partition("-")[0])
    return -1 if version is None else version
