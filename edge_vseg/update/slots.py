"""Bundles in numbered slots beside a link, which is switched in one step.

::

    street.evseg -> street.evseg.slots/7-3fa9c1d20b4e
    street.evseg.slots/
      6-0b1c2d3e4f50/  7-3fa9c1d20b4e/   version, and the beginning of the manifest's SHA-256
      .incoming-…/                       a download that is not complete
      .state.json  .lock                 of `edge-vseg update` alone

What is open is never changed: a running program keeps the files of its slot until it opens the link again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_vseg.bundle import check_target
from edge_vseg.bundle.writing import exchange_at_once
from edge_vseg.errors import UpdateError
from edge_vseg.files import lock
from edge_vseg.update.slot_state import SlotState, read_slot_state, write_slot_state

_INCOMING = ".incoming-"
_STATE, _LOCK, _GONE = ".state.json", ".lock", ".gone-"


class Slots:
    """The slots of one bundle.

    Args:
        target: Path of the bundle: the link, a bundle that becomes the first slot, or nothing yet.

    Raises:
        UpdateError: If the path is a link to elsewhere.
        BundleWriteError: If it is something else than a bundle.
    """

    def __init__(self, target: Path) -> None:
        self.link = target.absolute()
        self.root = self.link.with_name(f"{self.link.name}.slots")
        self._new_link = self.link.with_name(f".{self.link.name}.switch")
        if self.link.is_symlink():
            self.current  # noqa: B018  # raises if it leads elsewhere
        else:
            check_target(self.link)

    @property
    def current(self) -> str:
        """The slot that the link leads to; empty if there is none, or the bundle is not in a slot yet."""
        if not self.link.is_symlink():
            return ""
        leads_to = self.link.readlink()
        if leads_to.parent != Path(self.root.name):
            raise UpdateError(f"{self.link} is a link to {leads_to}, not to a slot; give the bundle itself")
        return leads_to.name

    @property
    def state(self) -> SlotState:
        """What is remembered."""
        return read_slot_state(self.root / _STATE)

    def remember(self, state: SlotState) -> None:
        """Write the state."""
        write_slot_state(self.root / _STATE, state)

    def path(self, slot: str) -> Path:
        """Folder of a slot."""
        return self.root / slot

    def incoming(self, sha256: str) -> Path:
        """Where a release is fetched to."""
        return self.root / f"{_INCOMING}{sha256[:16]}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other updates of this bundle out.

        Raises:
            UpdateError: If one is under way.
        """
        if not self.root.is_dir():
            self.root.mkdir(parents=True)
            self.root.chmod(0o755)  # the account of the service reads here, whatever the umask
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if lock(descriptor) == "taken":
                raise UpdateError(f"another update of {self.link} is under way; wait until it has ended")
            yield
        finally:
            os.close(descriptor)

    def install(self, incoming: Path, slot: str) -> None:
        """Make a fetched release a slot; one of that name that is not in use is replaced."""
        target = self.path(slot)
        if target.exists():
            self._remove(target)
        incoming.rename(target)
        _flush(self.root)

    def switch(self, slot: str, previous: str) -> None:
        """Let the link lead to a slot.

        Args:
            slot: The slot; empty removes the link.
            previous: The slot that a bundle that lies at the link's place becomes.
        """
        self.tidy_link(previous)
        if not slot:
            self.link.unlink()
        else:
            self._new_link.symlink_to(Path(self.root.name) / slot)
            if self.link.is_dir() and not self.link.is_symlink():
                self._replace_bundle(self.path(previous))
            else:
                self._new_link.replace(self.link)
        _flush(self.link.parent)
        _flush(self.root)

    def tidy_link(self, previous: str) -> None:
        """Finish what a switch left when the power went: an unused link, or the bundle that was at its place.

        Where entries cannot be exchanged, nothing may be at its place: the link then leads to the bundle before.
        """
        if previous and not os.path.lexists(self.link) and self.path(previous).is_dir():
            self.link.symlink_to(Path(self.root.name) / previous)
        if self._new_link.is_symlink():
            self._new_link.unlink()
        elif self._new_link.exists() and previous:
            if self.path(previous).exists():
                self._remove(self.path(previous))
            self._new_link.rename(self.path(previous))

    def _replace_bundle(self, previous: Path) -> None:
        """Put the new link at the bundle's place, and the bundle into a slot."""
        if previous.exists():
            self._remove(previous)
        if exchange_at_once(self._new_link, self.link):
            self._new_link.rename(previous)
            return
        self.link.rename(previous)  # until the next line nothing is there, which tidy_link repairs
        try:
            self._new_link.rename(self.link)
        except OSError:
            previous.rename(self.link)
            raise

    def prune(self, keep: Collection[str], incoming: Path | None) -> None:
        """Remove all slots but some, and all downloads but one."""
        ours = {self.root / _LOCK, self.root / _STATE, incoming, *(self.path(slot) for slot in keep)}
        for path in self.root.iterdir():
            if path not in ours:
                self._remove(path)

    def tidy(self) -> None:
        """Remove what killed updates left, but for downloads, which go on."""
        for path in self.root.glob(".*"):
            if path.name not in (_LOCK, _STATE) and not path.name.startswith(_INCOMING):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        """Rename first, so that no half-removed bundle stands under a slot's name."""
        if path.is_dir() and not path.is_symlink():
            gone = path if path.name.startswith(_GONE) else path.with_name(f"{_GONE}{path.name}")
            if gone != path:
                shutil.rmtree(gone, ignore_errors=True)
                path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
