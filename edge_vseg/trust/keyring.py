"""The public keys that a machine trusts, and what it trusts no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import SignatureError
from edge_vseg.input_files import others_may_write, read_regular
from edge_vseg.trust.keys import PublicKey, read_public_key

REVOKED_NAME = "revoked"
MAX_REVOKED_BYTES = 1024 * 1024
MAX_KEYS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Trusted keys.

    Attributes:
        folder: Where they come from.
        keys: By id, those that are not revoked, too.
        revoked: Ids of keys, and hashes of manifests of single bundles.
    """

    folder: Path
    keys: Mapping[str, PublicKey]
    revoked: frozenset[str]


def read_keyring(folder: Path) -> Keyring:
    """Read a folder with public keys, ``*.pem``, and perhaps a file ``revoked``; or a single key.

    ``revoked`` has on each line the id of a key or the SHA-256 of a bundle's manifest, in hex; what follows ``#`` is a
    remark. What cannot be understood is an error: a typing mistake must not bring a revoked key back.

    Raises:
        SignatureError: If there is no key, something cannot be read, or others may write there.
    """
    try:
        single = folder.is_file()
        paths = [folder] if single else sorted(path for path in folder.iterdir() if path.suffix == ".pem")
        for path in paths if single else (folder, *paths):
            if others_may_write(path):
                raise SignatureError(f"others may write to {path}, so it cannot say whom to trust; chmod go-w it")
        revoked = frozenset() if single else _read_revoked(folder / REVOKED_NAME)
    except OSError as exc:
        raise SignatureError(
            f"the trusted keys at {folder} cannot be read: {exc.strerror or exc}; give a folder with public keys, *.pem"
        ) from exc
    if not paths or len(paths) > MAX_KEYS:
        raise SignatureError(
            f"{folder} has {len(paths)} keys (*.pem), expected 1 to {MAX_KEYS}; copy public keys there"
        )
    keys = [read_public_key(path) for path in paths]
    return Keyring(folder=folder, keys={key.key_id: key for key in keys}, revoked=revoked)


def _read_revoked(path: Path) -> frozenset[str]:
    if not path.exists() and not path.is_symlink():
        return frozenset()
    if others_may_write(path):
        raise SignatureError(f"others may write to {path}, so it cannot say whom to trust; chmod go-w it")
    found = set()
    text = read_regular(path, MAX_REVOKED_BYTES).decode("utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition("#")[0].strip().lower()
        if word and not re.fullmatch(r"[0-9a-f]{64}", word):
            raise SignatureError(
                f"{path}, line {number}: expected the id of a key or the SHA-256 of a bundle, 64 hex digits; correct it"
            )
        if word:
            found.add(word)
    return frozenset(found)
