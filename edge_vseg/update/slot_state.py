"""What a device remembers of its updates: the newest version that it has trusted, and a switch under way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from edge_vseg.errors import UpdateError
from edge_vseg.files import write_whole
from edge_vseg.input_files import others_may_write, read_regular

SCHEMA = 1
MAX_STATE_BYTES = 1 << 20
MAX_REJECTED = 32


class TrustedVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest version that a key has signed, as far as this device knows, and the manifest of that release."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    sha256: str


class PendingSwitch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A switch that is not confirmed yet.

    ``slot`` is the new one, with the manifest ``sha256``; ``previous`` is empty if there was no bundle before.
    """

    slot: str
    sha256: str
    previous: str


class SlotState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state.

    Attributes:
        schema: Of this file.
        name: Of the bundle.
        newest: By key id. A key that is revoked later does not count any more, so that whoever had it cannot have
            blocked all updates with a huge version.
        pending: A switch under way.
        rejected: Manifests of releases that did not work here; they are not tried again unless asked.
    """

    schema: int = SCHEMA
    name: str = ""
    newest: Mapping[str, TrustedVersion] = msgspec.field(default_factory=dict)
    pending: PendingSwitch | None = None
    rejected: tuple[str, ...] = ()

    def newest_trusted(self, revoked: Collection[str]) -> TrustedVersion | None:
        """The newest version by keys that are not revoked; ``None`` if there is none."""
        # A bundle that is revoked keeps its version: what is older stays behind it.
        found = [each for key_id, each in self.newest.items() if key_id not in revoked]
        return max(found, key=lambda each: each.version, default=None)


def read_slot_state(path: Path) -> SlotState:
    """Read the state; a device without one has trusted nothing yet.

    Raises:
        UpdateError: If it is damaged, or others could have written it.
    """
    try:
        if path.is_symlink() or others_may_write(path):
            raise UpdateError(
                f"{path} is a link, or others may write it, so it says nothing; remove it if you trust it"
            )
        state = msgspec.json.decode(read_regular(path, MAX_STATE_BYTES), type=SlotState)
    except FileNotFoundError:
        return SlotState()
    except (OSError, ValueError, RecursionError) as exc:
        raise UpdateError(
            f"{path} cannot be read: {exc}; remove it, and versions count from the installed bundle on"
        ) from exc
    if state.schema != SCHEMA:
        raise UpdateError(f"{path} has schema {state.schema}, and this edge-vseg reads {SCHEMA}; update edge-vseg")
    return state


def write_slot_state(path: Path, state: SlotState) -> None:
    """Write the state atomically; only this account can read it.

    Raises:
        OSError: If it cannot be written.
    """
    kept = msgspec.structs.replace(state, rejected=state.rejected[-MAX_REJECTED:])
    write_whole(path, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n", mode=0o600)
